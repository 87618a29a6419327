"""Results files: what goes in comes out, nothing is lost, nothing is overwritten."""

import json
import multiprocessing
import os

import pytest
import torch

from tra_mini import results


def a_run(seed=0, mechanism="tra", seconds=1.5):
    """A run as experiments.run returns it."""
    row = {"split": "sparse", "p_ignore": 0.98, "length": 64, "n": 4, "exact_match": 0.75}
    row |= {"low": 0.3, "high": 0.95, "reads": 8, "per_read": 0.875}
    config = {"mechanism": mechanism, "seed": seed, "steps": 10}
    return {"config": config, "train_seconds": seconds, "rows": [row]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.json"


class TestRoundTrip:
    def test_a_kept_run_comes_back(self, path):
        """keep, then load or finished: the same run."""
        results.keep(path, a_run())
        assert results.load(path)["runs"] == results.finished(path) == [a_run()]

    def test_no_file_holds_no_runs(self, path):
        """And asking does not make one."""
        assert results.finished(path) == []
        assert not path.exists()

    def test_the_form_is_the_designed_one(self, path):
        """The fields that tests, figures and notebooks read."""
        results.keep(path, a_run())
        contents = json.loads(path.read_text())
        assert list(contents) == ["schema", "experiment", "environment", "runs"]
        assert contents["schema"] == results.SCHEMA == 1
        assert contents["experiment"] == "tiny"
        version = torch.__version__.partition("+")[0]
        assert contents["environment"] == {"torch": version, "threads": 1, "device": "cpu"}

    def test_one_line_a_run(self, path):
        """So that comparing two files shows which runs differ; sorted, whatever finished first."""
        for seed in (2, 0, 1):
            results.keep(path, a_run(seed))
        lines = path.read_text().splitlines()
        assert [json.loads(line.rstrip(","))["config"]["seed"] for line in lines[1:-1]] == [0, 1, 2]

    def test_the_order_of_finishing_leaves_no_trace(self, tmp_path):
        """The same runs kept in any order are the same bytes."""
        for folder, order in (("one", (0, 1, 2)), ("other", (2, 0, 1))):
            (tmp_path / folder).mkdir()
            for seed in order:
                results.keep(tmp_path / folder / "tiny.json", a_run(seed))
        texts = [(tmp_path / name / "tiny.json").read_bytes() for name in ("one", "other")]
        assert texts[0] == texts[1]

    def test_a_run_of_the_same_config_is_replaced_and_others_stay(self, path):
        """One run a config, the latest."""
        results.keep(path, a_run(seed=0))
        results.keep(path, a_run(seed=1))
        results.keep(path, a_run(seed=0, seconds=9.9))
        assert results.finished(path) == [a_run(seed=0, seconds=9.9), a_run(seed=1)]

    def test_exact_matches_gathers_seeds(self):
        """{(split, mechanism, length): a value for each seed}."""
        runs = [a_run(0), a_run(1), a_run(0, "rope")]
        assert results.exact_matches(runs) == {
            ("sparse", "tra", 64): [0.75, 0.75],
            ("sparse", "rope", 64): [0.75],
        }


def changed(path, **fields):
    """Rewrites some fields of the file at path."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


SPOILT = {
    "another schema": lambda path: changed(path, schema=2),
    "another environment": lambda path: changed(path, environment={"torch": "1.0"}),
    "no environment": lambda path: path.write_text('{"schema": 1, "runs": []}'),
    "cut off": lambda path: path.write_text(path.read_text()[:-20]),
    "empty": lambda path: path.write_text(""),
    "not a results file": lambda path: path.write_text("[1, 2]"),
    "a number": lambda path: path.write_text("7"),
    "a run without rows": lambda path: changed(path, runs=[{"config": {}, "train_seconds": 0}]),
    "a run that is a word": lambda path: changed(path, runs=["run"]),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}


class TestSetAside:
    @pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
    def test_what_cannot_be_used_is_kept_under_another_name(self, path, spoil, capsys):
        """Its contents stay as they were, a line says where, and the name is free for new runs."""
        results.keep(path, a_run())
        spoil(path)
        contents = path.read_bytes()
        assert results.finished(path) == []
        assert not path.exists()
        assert (path.parent / "tiny.json.aside-1").read_bytes() == contents
        said = capsys.readouterr().out
        assert said.count("\n") == 1
        assert said.endswith(f"set aside as {path}.aside-1\n")

    def test_nothing_set_aside_is_overwritten(self, path):
        """The second one is aside-2, the third aside-3."""
        for number in (1, 2, 3):
            path.write_text(f"broken in the way {number}")
            results.finished(path)
        for number in (1, 2, 3):
            aside = path.with_name(f"tiny.json.aside-{number}")
            assert aside.read_text() == f"broken in the way {number}"

    def test_keeping_a_run_beside_a_broken_file(self, path):
        """keep sets it aside too, rather than overwrite it."""
        path.write_text("broken")
        results.keep(path, a_run())
        assert results.load(path)["runs"] == [a_run()]
        assert path.with_name("tiny.json.aside-1").read_text() == "broken"

    @pytest.mark.parametrize("name", sorted(set(SPOILT) - {"another environment"}))
    def test_load_refuses_and_touches_nothing(self, path, name):
        """Reading, as figures and notebooks do, names the file and leaves it where it is."""
        results.keep(path, a_run())
        SPOILT[name](path)
        contents = path.read_bytes()
        with pytest.raises(ValueError, match=r"tiny\.json (is cut off|has schema)"):
            results.load(path)
        assert path.read_bytes() == contents

    def test_another_environment_can_still_be_read(self, path):
        """Figures are drawn from results computed elsewhere."""
        results.keep(path, a_run())
        changed(path, environment={"torch": "1.0"})
        assert results.load(path)["runs"] == [a_run()]


class TestCrash:
    @pytest.mark.parametrize("name", ["fsync", "replace"])
    def test_in_the_middle_of_writing(self, path, monkeypatch, name):
        """The old file stays whole, and keeping works again afterwards."""
        results.keep(path, a_run(0))
        before = path.read_bytes()

        def crash(*arguments):
            raise OSError("crashed")

        with monkeypatch.context() as patched:
            patched.setattr(os, name, crash)
            with pytest.raises(OSError, match="crashed"):
                results.keep(path, a_run(1))
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.glob(f"{path.name}*")] == [path.name]
        results.keep(path, a_run(1))
        assert results.finished(path) == [a_run(0), a_run(1)]

    def test_the_text_is_on_disk_before_it_takes_the_name(self, path, monkeypatch):
        """First flushed, then renamed: a power cut leaves the old text or the new."""
        done = []
        for name in ("fsync", "replace"):
            real = getattr(os, name)
            monkeypatch.setattr(
                os, name, lambda *given, name=name, real=real: (done.append(name), real(*given))
            )
        results.keep(path, a_run())
        assert done == ["fsync", "replace"]


def keep_five(path, worker):
    """What one of several processes does: keep five runs of its own."""
    for seed in range(5):
        results.keep(path, a_run(seed, mechanism=f"worker {worker}"))


def test_several_processes_lose_nothing(path):
    """Four processes keep five runs each, in the same file, at the same time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tra_mini.results"])  # imports torch once, not four times
    workers = [context.Process(target=keep_five, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    kept = {
        (run["config"]["mechanism"], run["config"]["seed"]) for run in results.load(path)["runs"]
    }
    assert kept == {(f"worker {worker}", seed) for worker in range(4) for seed in range(5)}
    assert not list(path.parent.glob("*.aside-*"))


class TestCheckWritable:
    def test_makes_the_folder_and_leaves_nothing_in_it(self, tmp_path):
        """A folder that is not there yet is made, with its parents."""
        results.check_writable(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []

    @pytest.mark.parametrize("below", ["plain file", "plain file/folder"])
    def test_a_plain_file_is_no_folder(self, tmp_path, below):
        """The message names the folder asked for."""
        (tmp_path / "plain file").write_text("here")
        with pytest.raises(ValueError) as refused:
            results.check_writable(tmp_path / below)
        assert f"folder is {tmp_path / below}; allowed: one that can be written" in str(
            refused.value
        )
        assert (tmp_path / "plain file").read_text() == "here"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_without_permission(self, tmp_path):
        """Found out before the run, not after it."""
        tmp_path.chmod(0o500)
        with pytest.raises(ValueError, match="allowed: one that can be written"):
            results.check_writable(tmp_path)

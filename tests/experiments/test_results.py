"""Results files: what goes in comes out, nothing is lost, nothing is overwritten."""

import json
import math
import multiprocessing
import os

import laboratory
import pytest

from experiments import results

HERE = results.environment()


def a_run(seed=0, mechanism="tra", seconds=1.5):
    """A run as runs.run returns it."""
    config = {"mechanism": mechanism, "seed": seed, "steps": 10}
    row = {"split": "sparse", "length": 64, "n": 4, "exact_match": 0.75}
    return {"config": config, "train_seconds": seconds, "rows": [row]}


def keep(path, run):
    results.keep(path, run, HERE)


def kept(path):
    """The runs that an experiment would find, in the file's order."""
    return list(results.finished(path, HERE).values())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.json"


# What goes in comes out


def test_a_kept_run_comes_back(path):
    """Under its identity; where there is no file, looking does not make one."""
    assert kept(path) == []
    assert not path.exists()
    keep(path, a_run())
    assert results.load(path)["runs"] == [a_run()]
    assert results.finished(path, HERE) == {results.identity(a_run()["config"]): a_run()}


def test_the_order_of_finishing_leaves_no_trace(tmp_path):
    """The same runs kept in any order are the same bytes: a line a run, sorted."""
    for folder, order in (("one", (0, 1, 2)), ("other", (2, 0, 1))):
        (tmp_path / folder).mkdir()
        for seed in order:
            keep(tmp_path / folder / "tiny.json", a_run(seed))
    text = (tmp_path / "one" / "tiny.json").read_text(encoding="utf-8")
    assert text == (tmp_path / "other" / "tiny.json").read_text(encoding="utf-8")
    lines = text.splitlines()[1:-1]
    assert [json.loads(line.rstrip(","))["config"]["seed"] for line in lines] == [0, 1, 2]


def test_a_run_of_the_same_config_is_replaced_and_others_stay(path):
    """One run a config, the latest, in whatever order its settings are."""
    keep(path, a_run(seed=0))
    keep(path, a_run(seed=1))
    again = a_run(seed=0, seconds=9.9)
    again["config"] = dict(reversed(again["config"].items()))
    keep(path, again)
    assert kept(path) == [again, a_run(seed=1)]


def test_identity_does_not_depend_on_the_order_of_keys():
    """At any depth; but on every value and every name."""
    one = {"a": 1, "b": {"c": [1, 2], "d": 0.5}}
    other = {"b": {"d": 0.5, "c": [1, 2]}, "a": 1}
    assert results.identity(one) == results.identity(other)
    changes = ({}, {"a": 2}, {"b": {"c": [2, 1], "d": 0.5}}, {"e": 1})
    assert len({results.identity({**one, **change}) for change in changes}) == 4


# What cannot be used


def changed(path, **fields):
    """Rewrites some fields of the file at path."""
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8"
    )


def changed_row(path, **values):
    """Rewrites some values of the row in the file at path."""
    run = a_run()
    run["rows"][0].update(values)
    changed(path, runs=[run])


SPOILT = {
    "another schema": lambda path: changed(path, schema=2),
    "no environment": lambda path: path.write_text('{"schema": 1, "runs": []}', encoding="utf-8"),
    "cut off": lambda path: path.write_text(
        path.read_text(encoding="utf-8")[:-20], encoding="utf-8"
    ),
    "empty": lambda path: path.write_text("", encoding="utf-8"),
    "a list": lambda path: path.write_text("[1, 2]", encoding="utf-8"),
    "a number": lambda path: path.write_text("7", encoding="utf-8"),
    "a run without rows": lambda path: changed(path, runs=[{"config": {}, "train_seconds": 0}]),
    "a run that is a word": lambda path: changed(path, runs=["run"]),
    "a run twice": lambda path: changed(path, runs=[a_run(), a_run(seconds=2)]),
    "a share above 1": lambda path: changed_row(path, exact_match=1.25),
    "a share below 0": lambda path: changed_row(path, per_read=-0.1),
    "a loss that is no number": lambda path: changed_row(path, loss=math.nan),
    "infinite bits": lambda path: changed_row(path, bits_per_byte=math.inf),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "lists in lists": lambda path: path.write_text("[" * 200_000, encoding="utf-8"),
    "runs in runs": lambda path: path.write_text('{"runs":' * 200_000, encoding="utf-8"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_cannot_be_used_is_refused_and_set_aside(path, spoil, capsys):
    """Reading it, as figures do, names the file and leaves it; an experiment sets it aside.

    There its contents stay as they were, a line says where, and the name is free for new runs.
    """
    keep(path, a_run())
    spoil(path)
    contents = path.read_bytes()
    with pytest.raises(ValueError, match=r"tiny\.json (is cut off|has schema|holds a run)"):
        results.load(path)
    assert path.read_bytes() == contents
    assert kept(path) == []
    assert not path.exists()
    assert (path.parent / "tiny.json.aside-1").read_bytes() == contents
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith(f"set aside as {path}.aside-1")


def test_another_environment_can_be_read_but_not_added_to(path):
    """Figures are drawn from results computed elsewhere; new runs start a file of their own."""
    keep(path, a_run())
    changed(path, environment={"torch": "1.0"})
    assert results.load(path)["runs"] == [a_run()]
    assert kept(path) == []
    assert results.load(f"{path}.aside-1")["runs"] == [a_run()]


def test_nothing_set_aside_is_overwritten(path):
    """The second one is aside-2, the third aside-3; keep sets aside too."""
    for number in (1, 2, 3):
        path.write_text(f"broken in the way {number}", encoding="utf-8")
        keep(path, a_run())
        assert kept(path) == [a_run()]
    for number in (1, 2, 3):
        aside = path.with_name(f"tiny.json.aside-{number}")
        assert aside.read_text(encoding="utf-8") == f"broken in the way {number}"


# Writing


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("moment", ["fill", "fsync", "replace"])
def test_writing_that_fails_leaves_nothing_behind(path, moment, error, monkeypatch):
    """Neither a half-written file nor a part of one; the old one stays whole."""

    def stop(*arguments):
        raise error("stopped")

    def fill(file):
        file.write(b"half of ")
        if moment == "fill":
            stop()

    for files in ([], [path]):
        for file in files:
            file.write_text("as it was", encoding="utf-8")
        with monkeypatch.context() as patched:
            if moment != "fill":
                patched.setattr(os, moment, stop)
            with pytest.raises(error, match="stopped"):
                results.write(path, fill)
        assert list(path.parent.iterdir()) == files
    assert path.read_text(encoding="utf-8") == "as it was"


def test_the_text_is_on_disk_before_it_takes_the_name(path, monkeypatch):
    """First flushed, then renamed: a power cut leaves the old text or the new."""
    sizes = []
    fsync = os.fsync

    def watched(number):
        assert not path.exists()
        sizes.append(os.fstat(number).st_size)
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    results.write(path, lambda file: file.write(b"all of it"))
    assert sizes == [len(path.read_bytes())]


def test_several_processes_lose_nothing(path):
    """Four processes keep five runs each, in the same file, at the same time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.results"])  # imports torch once, not four times
    workers = [
        context.Process(target=laboratory.keep_five, args=(path, worker, a_run(), HERE))
        for worker in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    configs = [run["config"] for run in kept(path)]
    cells = {(config["mechanism"], config["seed"]) for config in configs}
    assert cells == {(worker, seed) for worker in range(4) for seed in range(5)}
    assert not list(path.parent.glob("*.aside-*"))


def test_a_folder_is_tried_before_any_work(tmp_path):
    """One that is not there yet is made, with its parents; a plain file is refused."""
    results.check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "plain file").write_text("here", encoding="utf-8")
    for folder in (tmp_path / "plain file", tmp_path / "plain file" / "folder"):
        with pytest.raises(ValueError, match=f"^folder {folder} cannot be written to"):
            results.check_writable(folder)
    assert (tmp_path / "plain file").read_text(encoding="utf-8") == "here"


def test_a_device_is_a_processor_or_a_gpu_of_nvidia_with_a_file_of_its_own(tmp_path):
    """Elsewhere FoX lacks its float64 (mps), or nothing is computed at all (meta)."""
    for device in ("mps", "mps:0", "meta", "xpu"):
        message = rf"^device is '{device}', which cannot be used here \(allowed: cpu, cuda\)$"
        with pytest.raises(ValueError, match=message):
            results.check_device(device)
    assert results.environment("cpu:0") != results.environment("cpu")
    assert results.path_of("tiny", tmp_path) == tmp_path / "tiny.json"
    assert results.path_of("tiny", tmp_path, "cuda:1") == tmp_path / "tiny_cuda1.json"


def test_a_full_disk_names_the_file_and_leaves_it_as_it_was(tmp_path, monkeypatch):
    """The system's own message names none."""
    path = tmp_path / "kept.json"
    path.write_text("before", encoding="utf-8")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'$"):
        results.write(path, lambda file: file.write(b"after"))
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]

"""The command line: what it prints, what it draws, and errors in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tra_mini
from tra_mini import MECHANISMS, __main__, plots, results
from tra_mini.grids import EXPERIMENTS

ROOT = Path(tra_mini.__file__).parents[1]


def a_value(config, split, length):
    """A made-up exact match for each row of a run."""
    place = list(MECHANISMS).index(config["mechanism"])
    return (place * 13 + config["seed"] * 7 + len(split) + length // 64) % 21 / 20


def made_up(config):
    """A run of a config, with made-up results in the designed form."""
    rows = [
        {"split": split, "p_ignore": p_ignore, "length": length, "n": 20}
        | {"exact_match": a_value(config, split, length), "low": 0.0, "high": 1.0}
        | {"reads": 20, "per_read": 0.5, "loss": 0.25}
        for split, p_ignore in config["testing"]["splits"].items()
        for length in config["testing"]["lengths"]
    ]
    return {"config": config, "train_seconds": 1.0, "rows": rows}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package, which takes the folder it is in for its root, and made-up results."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        ROOT / "tra_mini", folder / "tra_mini", ignore=shutil.ignore_patterns("__pycache__")
    )
    (folder / "figures" / "results").mkdir(parents=True)
    contents = {"schema": results.SCHEMA, "experiment": "headline", "environment": {}}
    contents["runs"] = [made_up(config) for config in EXPERIMENTS["headline"]]
    (folder / "figures" / "results" / "headline.json").write_text(json.dumps(contents))
    return folder


def command(folder, *arguments):
    """Runs python -m tra_mini in a folder -> its exit code and what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "tra_mini", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class TestCommands:
    def test_figures_redraws_what_has_results(self, copy):
        """Every figure whose results are there, and no other; it is what its function draws."""
        done = command(copy, "figures")
        assert (done.returncode, done.stderr) == (0, "")
        drawn = copy / "figures" / "headline.svg"
        assert done.stdout == f"drawn: {drawn}\n"
        runs = [made_up(config) for config in EXPERIMENTS["headline"]]
        expected = plots.length_generalisation(runs, ("tra", "fox", "alibi", "rope"))
        plots.save(expected, copy / "expected.svg")
        assert drawn.read_bytes() == (copy / "expected.svg").read_bytes()

    def test_broken_results_are_one_line_of_error(self, copy):
        """No traceback: the file and what is wrong with it."""
        folder = copy / "broken"
        shutil.copytree(copy / "tra_mini", folder / "tra_mini")
        (folder / "figures" / "results").mkdir(parents=True)
        path = folder / "figures" / "results" / "headline.json"
        path.write_text('{"schema": 1, "runs": [')
        done = command(folder, "figures")
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        assert line.startswith(f"tra_mini: {path} is cut off or no results file")
        assert path.exists()

    def test_help_lists_the_commands(self, capsys):
        """python -m tra_mini --help."""
        with pytest.raises(SystemExit) as stopped:
            __main__.main(["--help"])
        assert stopped.value.code == 0
        said = capsys.readouterr().out
        assert said.startswith("usage: python -m tra_mini")
        for name in ("reproduce", "figures", "train"):
            assert f"\n    {name} " in said


class TestArguments:
    @pytest.mark.parametrize("arguments", [["reproduce"], ["figures"], ["train"]])
    def test_every_command_has_help(self, arguments, capsys):
        """And asking for it does nothing else."""
        with pytest.raises(SystemExit) as stopped:
            __main__.main([*arguments, "--help"])
        assert stopped.value.code == 0
        assert f"usage: python -m tra_mini {arguments[0]}" in capsys.readouterr().out

    def test_an_unknown_mechanism_lists_the_known_ones(self, capsys):
        """Exit code 2, as command lines do, and every allowed name."""
        with pytest.raises(SystemExit) as stopped:
            __main__.main(["train", "--mechanism", "none"])
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        assert "'none'" in said
        assert all(mechanism in said for mechanism in MECHANISMS)

    @pytest.mark.parametrize("arguments", [[], ["no such command"], ["train", "--seed", "x"]])
    def test_what_cannot_be_understood_exits_with_2(self, arguments, capsys):
        """With the usage."""
        with pytest.raises(SystemExit) as stopped:
            __main__.main(arguments)
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith("usage: python -m tra_mini")

    def test_numbers_that_make_no_sense_are_one_line(self):
        """What a function refuses, the command says, without a traceback."""
        with pytest.raises(SystemExit) as stopped:
            __main__.main(["train", "--steps", "0"])
        assert stopped.value.code == "tra_mini: steps is 0; allowed: 1 or more"

    @pytest.mark.parametrize("full", [False, True])
    def test_reproduce_runs_its_experiments_then_draws(self, full, monkeypatch, capsys):
        """The headline, or with --full all of flip-flop; their tables; the figures."""
        done = []

        def run_experiment(name, device, executor):
            assert (device, executor) == ("cpu", None)
            done.append(name)
            return [made_up(EXPERIMENTS[name][0]) | {"started": len(done)}]

        monkeypatch.setattr(__main__, "run_experiment", run_experiment)
        monkeypatch.setattr(__main__, "figures", lambda: done.append("figures"))
        __main__.main(["reproduce", "--full"] if full else ["reproduce"])
        expected = (
            ["recipe", "flip_flop", "flip_flop_long", "flip_flop_far"] if full else ["headline"]
        )
        assert done == [*expected, "figures"]
        said = capsys.readouterr().out
        assert said.count("worst seed / mean") >= len(expected)
        needed = [line for line in said.splitlines() if line.startswith("Seeds that needed")]
        assert [line.split(": ")[1] == "none" for line in needed] == [
            number == 0 for number in range(len(expected))
        ]

    def test_one_experiment_by_its_name_on_a_device(self, monkeypatch):
        """Both reach run_experiment; --full and a name together are refused."""
        done = []
        monkeypatch.setattr(__main__, "figures", lambda: None)
        monkeypatch.setattr(
            __main__, "run_experiment", lambda name, **where: done.append((name, where)) or []
        )
        monkeypatch.setattr(__main__, "table", lambda runs: "")
        __main__.main(["reproduce", "--experiment", "paper", "--device", "cuda"])
        assert done == [("paper", {"device": "cuda", "executor": None})]
        with pytest.raises(SystemExit):
            __main__.main(["reproduce", "--full", "--experiment", "paper"])

    def test_a_device_that_does_not_exist_is_one_line(self):
        """Of both commands that compute."""
        for command in ("reproduce", "train"):
            with pytest.raises(SystemExit) as stopped:
                __main__.main([command, "--device", "abacus"])
            assert stopped.value.code.startswith("tra_mini: device is 'abacus', which cannot be")

    @pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError, KeyboardInterrupt])
    def test_errors_and_interrupts_are_one_line(self, error, monkeypatch):
        """Whatever went wrong, its message follows the program's name."""

        def fail():
            raise error("what went wrong")

        monkeypatch.setattr(__main__, "figures", fail)
        with pytest.raises(SystemExit) as stopped:
            __main__.main(["figures"])
        assert stopped.value.code.strip() == "tra_mini: what went wrong"


def test_table_shows_worst_and_mean():
    """A block a split, a line a mechanism, a column a length: minimum and mean over the seeds."""
    grid = EXPERIMENTS["headline"]
    blocks = __main__.table([made_up(config) for config in grid]).strip().split("\n\n")
    testing = grid[0]["testing"]
    assert len(blocks) == len(testing["splits"])
    for block, split in zip(blocks, testing["splits"], strict=True):
        title, head, *lines = block.splitlines()
        assert title.startswith(plots.SPLIT_TITLE[split])
        assert head.split() == ["length", *map(str, testing["lengths"])]
        assert [line.split()[0] for line in lines] == ["tra", "fox", "alibi", "rope"]
        for line in lines:
            mechanism, *cells = line.split()
            configs = [config for config in grid if config["mechanism"] == mechanism]
            assert len(configs) == 3
            for cell, length in zip(cells, testing["lengths"], strict=True):
                worst, mean = map(float, cell.split("/"))
                values = [a_value(config, split, length) for config in configs]
                assert worst == pytest.approx(min(values), abs=0.0051)
                assert mean == pytest.approx(sum(values) / 3, abs=0.0051)


def test_a_table_need_not_be_complete():
    """Mechanisms without a run are left out."""
    text = __main__.table([made_up(EXPERIMENTS["headline"][0])])
    assert " tra " in text
    assert " fox " not in text

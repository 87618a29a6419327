"""The class's experiment: one seed a member, thirty files merged of which five are bad."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tra_mini import results
from tra_mini.evaluation import wilson_interval
from tra_mini.experiments import sequences

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import class_experiment as tool
import class_files as files


def a_run(config, wrong=0):
    """A made-up run of a config that could be true: as many sequences are wrong at each length."""
    rows = []
    for split, p_ignore in config["testing"]["splits"].items():
        for length in config["testing"]["lengths"]:
            n = sequences(length, config["testing"]["tokens"])
            reads = files.reads(config["seed"], p_ignore, length, n)
            low, high = wilson_interval(n - wrong, n)
            row = {"split": split, "p_ignore": p_ignore, "length": length, "n": n}
            row |= {"exact_match": (n - wrong) / n, "low": low, "high": high, "reads": reads}
            rows.append(row | {"per_read": (reads - wrong) / reads, "loss": 0.01})
    return {"config": config, "train_seconds": 30.0, "started": 1, "rows": rows}


def a_file(seed, wrong=0, **settings):
    """The text of a class file, with a true digest."""
    runs = [a_run(config | settings, wrong) for config in files.configs(seed)]
    return files.text(runs, environment=results.ENVIRONMENT)


def with_true_digest(seed, change):
    """A class file after change(its runs), with the digest of what it holds then."""
    runs = [a_run(config) for config in files.configs(seed)]
    change(runs)
    return files.text(runs, environment=results.ENVIRONMENT)


@pytest.fixture
def folder(tmp_path):
    """Thirty files, of which five are bad; seeds 20 to 24 have a wrong sequence at each length."""
    for seed in range(25):
        (tmp_path / f"class_{seed}.json").write_text(a_file(seed, wrong=int(seed >= 20)))
    (tmp_path / "class_3 (1).json").write_text(a_file(3))
    (tmp_path / "class_30.json").write_text(a_file(30, steps=900))
    (tmp_path / "class_31.json").write_text(a_file(31)[:2000])
    changed = a_file(32, wrong=1).replace('"exact_match": 0.9375', '"exact_match": 1.0')
    (tmp_path / "class_32.json").write_text(changed)
    edited = with_true_digest(33, lambda runs: runs[1]["rows"][0].update(per_read=0.5))
    (tmp_path / "class_33.json").write_text(edited)
    return tmp_path


def test_thirty_files_of_which_five_are_bad(folder, capsys):
    """Each bad one is named with its reason in a line; the twenty-five others are merged."""
    rows = tool.class_merge(folder, folder)
    said = capsys.readouterr().out.splitlines()
    reasons = {
        "class_3.json": "holds seed 3 again, which class_3 (1).json holds",
        "class_30.json": "was run with other settings",
        "class_31.json": "is cut off",
        "class_32.json": "was changed after it was written",
        "class_33.json": "contradicts itself at in_distribution, length 64",
    }
    assert len(said) == 5
    for line, (name, reason) in zip(said, reasons.items(), strict=True):
        assert line.startswith(f"refused: {name} {reason}")
        assert str(folder) not in line
    assert {row["seeds"] for row in rows} == {25} and {row["exact_seeds"] for row in rows} == {20}
    assert len(rows) == 2 * 2 * 3
    row = next(row for row in rows if (row["mechanism"], row["length"]) == ("fox", 1024))
    assert row["mean"] == pytest.approx((20 + 5 * 15 / 16) / 25)
    assert [row["low"], row["high"]] == list(wilson_interval(row["mean"] * 25, 25))


def test_the_figure_draws_every_seed_and_the_interval_of_their_mean():
    """Eight seeds, two of them with a wrong sequence: lines from the runs, a band from the rows."""
    runs = [a_run(config, int(seed > 5)) for seed in range(8) for config in files.configs(seed)]
    rows = tool.curve(runs)
    figure = tool.draw(runs, rows)
    assert "8 seeds" in figure.get_suptitle()
    for ax, split in zip(figure.axes, ("in_distribution", "sparse"), strict=True):
        assert len(ax.lines) == 1 + 2 * (8 + 1)  # the training length, each seed, the mean
        for band, mechanism in zip(ax.collections, ("tra", "fox"), strict=True):
            drawn = {tuple(point) for point in band.get_paths()[0].vertices}
            mine = [row for row in rows if (row["mechanism"], row["split"]) == (mechanism, split)]
            assert len(mine) == 3
            for row in mine:
                assert {(row["length"], row["low"]), (row["length"], row["high"])} <= drawn


def test_the_merged_file_is_a_results_file_of_all_seeds(folder, capsys):
    """And merging once more, with it in the folder, leaves the same bytes."""
    rows = tool.class_merge(folder, folder)
    first = (folder / "class.json").read_bytes()
    contents = results.load(folder / "class.json")
    assert contents["seeds"] == list(range(25)) and contents["curve"] == rows
    assert len(contents["runs"]) == 50 and contents["environment"] == results.ENVIRONMENT
    tool.class_merge(folder, folder)
    assert (folder / "class.json").read_bytes() == first
    assert len(capsys.readouterr().out.splitlines()) == 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        "\x00\x01",
        json.dumps({"schema": 1, "environment": {}, "runs": [{"config": 1}]}),
        files.text([], environment=results.ENVIRONMENT),
        with_true_digest(1, lambda runs: runs.pop()),
        with_true_digest(1, lambda runs: runs[0]["rows"].pop()),
        with_true_digest(1, lambda runs: runs[0].update(rows=None)),
        with_true_digest(1, lambda runs: runs[0]["rows"][2].update(reads=5)),
        with_true_digest(1, lambda runs: runs[0]["rows"][2].update(n=160)),
        with_true_digest(1, lambda runs: runs[0]["rows"][2].update(low=0.99)),
        with_true_digest(1, lambda runs: runs[0]["rows"][2].update(loss=float("nan"))),
        with_true_digest(1, lambda runs: runs[0]["rows"][2].update(exact_match="1")),
        with_true_digest(1, lambda runs: runs[1]["config"].update(seed=2)),
        a_file(1).replace("tra", "TRA"),
    ],
)
def test_whatever_else_is_in_a_file_costs_only_that_file(tmp_path, capsys, text):
    """A line, no traceback; alone it leaves nothing to merge."""
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match="no class file that can be merged"):
        tool.class_merge(tmp_path, tmp_path / "out")
    [said] = capsys.readouterr().out.splitlines()
    assert said.startswith("refused: bad.json ")
    (tmp_path / "good.json").write_text(a_file(1))
    assert {row["seeds"] for row in tool.class_merge(tmp_path, tmp_path / "out")} == {1}


def command(folder, *arguments):
    """Runs a copy's tool -> exit code, what it printed, what it said went wrong."""
    done = subprocess.run(
        [sys.executable, "tools/class_experiment.py", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_real_run_of_three_steps_can_be_merged_where_its_settings_hold(tmp_path, capsys):
    """In a copy of the project that trains three steps; the project itself refuses its file."""
    shutil.copytree(ROOT / "tra_mini", tmp_path / "tra_mini")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    path = tmp_path / "tra_mini" / "recipes.py"
    recipe = 'TRAINING = {"steps": 1000'
    assert path.read_text().count(recipe) == 1
    path.write_text(path.read_text().replace(recipe, 'TRAINING = {"steps": 3'))
    returned, out, error = command(tmp_path, "run", 7, tmp_path / "class")
    assert (returned, error) == (0, "")
    assert out == f"written: {tmp_path / 'class' / 'class_7.json'}\n"
    returned, out, error = command(tmp_path, "merge", "class", "merged")
    assert (returned, error) == (0, "")
    assert len(out.splitlines()) == 12 and "of 1 seeds" in out
    assert (tmp_path / "merged" / "class.svg").read_text().startswith("<?xml")
    with pytest.raises(ValueError, match="no class file"):
        tool.class_merge(tmp_path / "class", tmp_path / "out")
    assert "other settings" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("run",), ("run", ""), ("run", "1.5"), ("merge", "")])
def test_a_missing_seed_or_folder_shows_how_to_call_it(arguments):
    """Nothing is trained."""
    with pytest.raises(SystemExit, match="An experiment for a whole class"):
        tool.main(*arguments)


def test_a_seed_too_large_or_a_folder_that_is_not_there_is_one_line(tmp_path):
    """The allowed range is named."""
    with pytest.raises(SystemExit, match="^class: SEED is 1000000; allowed: 0 to 999999$"):
        tool.main("run", "1000000")
    with pytest.raises(SystemExit, match="^class: .*none holds no class file"):
        tool.main("merge", str(tmp_path / "none"))


def test_the_stored_class_is_whole():
    """The notebooks read it: its digest, every number in it, and the curve drawn from its runs."""
    contents = results.load(ROOT / "figures" / "results" / "class.json")
    assert contents.pop("digest") == files.digest(contents)
    assert contents["curve"] == tool.curve(contents["runs"])
    for run in contents["runs"]:
        assert run["config"] in files.configs(run["config"]["seed"])
        files.check_rows(run["config"]["seed"], run["rows"])

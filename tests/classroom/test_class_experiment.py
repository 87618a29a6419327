"""The class's experiment: one seed a member, thirty files merged of which five are bad."""

import functools
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import results
from experiments.runs import sequences
from tra_mini import plots
from tra_mini.evaluation import wilson_interval

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import class_experiment as tool
import class_files


def made_up_run(config, errors=0):
    """A run of a config that could be true: so many sequences are wrong at each length."""
    rows = []
    for split, p_ignore in config["testing"]["splits"].items():
        for length in config["testing"]["lengths"]:
            n = sequences(length, config["testing"]["tokens"])
            reads = class_files.count_reads(config["seed"], p_ignore, length, n)
            low, high = wilson_interval(n - errors, n)
            row = {
                "split": split,
                "p_ignore": p_ignore,
                "length": length,
                "n": n,
                "exact_match": (n - errors) / n,
                "low": low,
                "high": high,
                "reads": reads,
                "per_read": (reads - errors) / reads,
                "loss": 0.01,
            }
            rows.append(row)
    return {"config": config, "train_seconds": 30.0, "rows": rows}


def made_up_runs(seed, errors=0):
    """What one member of the class could hand in."""
    return [made_up_run(config, errors) for config in class_files.configs(seed)]


def file_text(runs):
    """A class file with the digest of what it holds."""
    return class_files.file_text(runs, environment=results.environment())


def changed_file(seed, change):
    """The same after change(its runs): the digest is true, the runs may not be."""
    runs = made_up_runs(seed)
    change(runs)
    return file_text(runs)


def other_steps(runs):
    for run in runs:
        run["config"]["steps"] = 900


@pytest.fixture
def folder(tmp_path):
    """Thirty files, of which five are bad; seeds 20 to 24 have a wrong sequence at each length."""
    texts = {f"class_{seed}.json": file_text(made_up_runs(seed)) for seed in range(20)}
    for seed in range(20, 25):
        texts[f"class_{seed}.json"] = file_text(made_up_runs(seed, errors=1))
    texts["class_3 (1).json"] = file_text(made_up_runs(3))
    texts["class_30.json"] = changed_file(30, other_steps)
    texts["class_31.json"] = file_text(made_up_runs(31))[:2000]
    one_error = file_text(made_up_runs(32, errors=1))
    texts["class_32.json"] = one_error.replace('"exact_match": 0.9375', '"exact_match": 1.0')
    texts["class_33.json"] = changed_file(33, lambda runs: runs[1]["rows"][0].update(per_read=0.5))
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_thirty_files_of_which_five_are_bad(folder, capsys):
    """Each bad one is named with its reason in a line; the twenty-five others are merged."""
    rows = tool.class_merge(folder, folder)
    lines = capsys.readouterr().out.splitlines()
    reasons = {
        "class_3.json": "holds seed 3 again, which class_3 (1).json holds",
        "class_30.json": "was run with other settings",
        "class_31.json": "is cut off",
        "class_32.json": "was changed after it was written",
        "class_33.json": "contradicts itself at in_distribution, length 64",
    }
    for line, (name, reason) in zip(lines, reasons.items(), strict=True):
        assert line.startswith(f"refused: {name} {reason}")
        assert str(folder) not in line
    assert {row["seeds"] for row in rows} == {25} and {row["exact_seeds"] for row in rows} == {20}
    assert len(rows) == 2 * 2 * 3
    row = next(row for row in rows if (row["mechanism"], row["length"]) == ("fox", 1024))
    assert row["mean"] == pytest.approx((20 + 5 * 15 / 16) / 25)
    assert [row["low"], row["high"]] == list(wilson_interval(row["mean"] * 25, 25))


def test_the_figure_draws_every_seed_and_the_interval_of_their_mean():
    """Eight seeds, two of them with a wrong sequence: lines from the runs, a band from the rows.

    TRA comes last and as an open ring, so that it neither lies under FoX nor hides it.
    """
    runs = []
    for seed in range(8):
        runs += made_up_runs(seed, errors=int(seed > 5))
    rows = tool.class_curve(runs)
    figure = tool.draw(runs, rows)
    assert "8 seeds" in figure.get_suptitle()
    plots.check_whole(figure)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["TRA", "FoX"]
    for ax, split in zip(figure.axes, ("in_distribution", "sparse"), strict=True):
        assert len(ax.lines) == 1 + 2 * (8 + 1)  # the training length, each seed, the mean
        fox, tra = [line for line in ax.lines if line.get_marker() != "None"]
        assert tra is ax.lines[-1]
        assert (tra.get_label(), tra.get_fillstyle()) == ("TRA", "none")
        assert tra.get_linewidth() > fox.get_linewidth()
        for line, mechanism in ((fox, "fox"), (tra, "tra")):
            means = [row["mean"] for row in rows if row["mechanism"] == mechanism]
            assert list(line.get_ydata()) == pytest.approx(means[:3])
        for band, mechanism in zip(ax.collections, ("fox", "tra"), strict=True):
            drawn = {tuple(point) for point in band.get_paths()[0].vertices}
            panel = [row for row in rows if (row["mechanism"], row["split"]) == (mechanism, split)]
            assert len(panel) == 3
            for row in panel:
                assert {(row["length"], row["low"]), (row["length"], row["high"])} <= drawn


def test_the_merged_file_is_a_results_file_of_all_seeds(folder, capsys):
    """And merging once more, with it in the folder, leaves the same bytes."""
    rows = tool.class_merge(folder, folder)
    first = (folder / "class.json").read_bytes()
    contents = results.load(folder / "class.json")
    assert contents["seeds"] == list(range(25)) and contents["curve"] == rows
    assert len(contents["runs"]) == 50 and contents["environment"] == results.environment()
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
        file_text([]),
        changed_file(1, lambda runs: runs.pop()),
        changed_file(1, lambda runs: runs[0]["rows"].pop()),
        changed_file(1, lambda runs: runs[0].update(rows=None)),
        changed_file(1, lambda runs: runs[0]["rows"][2].update(reads=5)),
        changed_file(1, lambda runs: runs[0]["rows"][2].update(n=160)),
        changed_file(1, lambda runs: runs[0]["rows"][2].update(low=0.99)),
        changed_file(1, lambda runs: runs[0]["rows"][2].update(loss=float("nan"))),
        changed_file(1, lambda runs: runs[0]["rows"][2].update(exact_match="1")),
        changed_file(1, lambda runs: runs[1]["config"].update(seed=2)),
        changed_file(1, lambda runs: [run["config"].update(seed=1.5) for run in runs]),
        changed_file(1, lambda runs: [run["config"].update(seed=10**30) for run in runs]),
        file_text(made_up_runs(1)).replace("tra", "TRA"),
    ],
)
def test_whatever_else_is_in_a_file_costs_only_that_file(tmp_path, capsys, text):
    """A line, no traceback; alone it leaves nothing to merge."""
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="no class file that can be merged"):
        tool.class_merge(tmp_path, tmp_path / "out")
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("refused: bad.json ")
    (tmp_path / "good.json").write_text(file_text(made_up_runs(1)), encoding="utf-8")
    assert {row["seeds"] for row in tool.class_merge(tmp_path, tmp_path / "out")} == {1}


ODD = [None, True, "", "text", [], {}, -1, 0.5, 1e400, -1e400, 10**400, "\ud800", [[[]]]]
POSSIBLE = [("loss", True), ("loss", 0.5), *[("torch", odd) for odd in ("", "text", "\ud800")]]
UNUSED = {"train_seconds", "threads", "device", "experiment"}  # by merging


def places(value, path=()):
    """The path of every value in a file's contents; of a list the first stands for all."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def test_no_value_in_a_file_aborts_the_merge(tmp_path, capsys, monkeypatch):
    """Each in turn becomes something odd, under a digest that is true."""
    monkeypatch.setattr(class_files, "count_reads", functools.cache(class_files.count_reads))
    text = file_text(made_up_runs(1))
    (tmp_path / "class_1.json").write_text(text, encoding="utf-8")
    odd_files = {}
    for path, odd in itertools.product(places(json.loads(text)), ODD):
        contents = json.loads(text)
        parent = contents
        for key in path[:-1]:
            parent = parent[key]
        if parent[path[-1]] == odd or (path[-1], odd) in POSSIBLE:
            continue
        parent[path[-1]] = odd
        if path != ("digest",):
            del contents["digest"]
            contents["digest"] = class_files.digest(contents)
        name = f"odd_{len(odd_files)}.json"
        odd_files[name] = path
        (tmp_path / name).write_text(json.dumps(contents), encoding="utf-8")
    assert len(odd_files) > 300

    rows = tool.class_merge(tmp_path, tmp_path / "out")
    assert {row["seeds"] for row in rows} == {1}
    refused = {}
    for line in capsys.readouterr().out.splitlines():
        _, name, reason = line.split(maxsplit=2)
        refused[name] = reason
    assert refused.keys() == odd_files.keys()
    for name, reason in refused.items():
        whole = reason == "holds seed 1 again, which class_1.json holds"
        assert whole == bool(UNUSED & set(odd_files[name])), (odd_files[name], reason)


@pytest.mark.parametrize("name", ["class_1.json.txt", "class_1", "von Ada/class_1 (2).JSON"])
def test_a_file_is_read_whatever_its_name(tmp_path, capsys, monkeypatch, name):
    """And what is no class file is named; hidden files are passed over. A tilde is the home."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(file_text(made_up_runs(1)), encoding="utf-8")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    tool.main("merge", "~", "~/out")
    odd_name, photo, *curve = capsys.readouterr().out.splitlines()
    assert odd_name.startswith("refused: caf\\udce9 is cut off or no results file")
    assert photo.startswith("refused: photo.jpg is cut off or no results file")
    assert len(curve) == 12


@pytest.fixture
def quick_copy(tmp_path):
    """A copy of the project that trains three steps."""
    for name in ("tra_mini", "experiments", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "experiments" / "grids.py"
    text = path.read_text(encoding="utf-8")
    assert text.count("update(steps=1000,") == 1
    path.write_text(text.replace("update(steps=1000,", "update(steps=3,"), encoding="utf-8")
    return tmp_path


def command(folder, *arguments):
    """Runs a copy's tool -> the lines that it printed. It must succeed without a warning."""
    environment = os.environ.copy()
    environment["PYTHONPATH"] = str(folder)
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "tools/class_experiment.py", *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_real_run_of_three_steps_can_be_merged_where_its_settings_hold(quick_copy, capsys):
    """It ends with its results and the file to hand in; the project itself refuses that file."""
    path = quick_copy / "class" / "class_7.json"
    *lines, last = command(quick_copy, "run", 7, path.parent)
    assert last == f"Hand in this file: {path}"
    rows = [row for run in results.load(path)["runs"] for row in run["rows"]]
    printed = [float(share) for line in lines[2:] for share in re.findall(r"\d\.\d\d\b", line)[-3:]]
    assert printed == [math.floor(100 * row["exact_match"]) / 100 for row in rows]

    lines = command(quick_copy, "merge", "class", "merged")
    assert len(lines) == 12
    for line, row in zip(lines, rows, strict=True):
        assert f"mean {row['exact_match']:.2f}" in line and line.endswith("of 1 seeds")
    assert (quick_copy / "merged" / "class.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(ValueError, match="no class file"):
        tool.class_merge(quick_copy / "class", quick_copy / "out")
    assert "other settings" in capsys.readouterr().out


def test_a_share_below_one_is_never_printed_as_one():
    """One error in 256 strings is no perfect model."""
    lines = tool.summary(made_up_runs(0, errors=1)).splitlines()
    assert len(lines) == 1 + 2 * 2
    for line in lines[1:]:
        assert line.split()[-3:] == ["0.99", "0.98", "0.93"]


@pytest.mark.parametrize(
    "arguments",
    [(), ("run",), ("run", ""), ("run", "1.5"), ("run", "1", "a", "b"), ("merge", "")],
)
def test_a_missing_seed_or_folder_shows_how_to_call_it(arguments):
    """Nothing is trained."""
    with pytest.raises(SystemExit) as stop:
        tool.main(*arguments)
    assert stop.value.code == tool.__doc__


def test_a_seed_too_large_or_a_folder_that_is_not_there_is_one_line(tmp_path):
    """The allowed range is named."""
    with pytest.raises(SystemExit, match="^class: SEED is 1000000; allowed: 0 to 999999$"):
        tool.main("run", "1000000")
    with pytest.raises(SystemExit, match="^class: .*none holds no class file"):
        tool.main("merge", str(tmp_path / "none"))


def test_the_stored_class_is_whole():
    """The notebooks read it: its digest, every number in it, and the curve drawn from its runs."""
    contents = results.load(ROOT / "figures" / "results" / "class.json")
    assert contents.pop("digest") == class_files.digest(contents)
    assert contents["curve"] == tool.class_curve(contents["runs"])
    for run in contents["runs"]:
        assert run["config"] in class_files.configs(run["config"]["seed"])
        class_files.check_rows(run["config"]["seed"], run["rows"])

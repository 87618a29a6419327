"""The command line: what it prints, what it draws, and errors in one line."""

import os
import re
import subprocess
import sys

import pytest
from laboratory import config, copy_packages, made_up, write_results

from experiments import __main__, charts, results, runs
from experiments.grids import EXPERIMENTS, PAPER, flip_flop_config
from experiments.tables import TABLES
from tra_mini import MECHANISMS, plots


def share(config, split, length):
    place = list(MECHANISMS).index(config["mechanism"])
    return (place * 13 + config["seed"] * 7 + len(split) + length // 64) % 21 / 20


def one_line(arguments):
    """The one line in which a command says why it stops."""
    with pytest.raises(SystemExit) as stopped:
        __main__.main(arguments)
    message = stopped.value.code.strip()
    assert "\n" not in message
    return message


def test_redraw_as_a_process(tmp_path):
    """It draws what has results as the figure's function does, and writes every page's numbers."""
    copy_packages(tmp_path)
    done = [made_up(one, share) for one in EXPERIMENTS["headline"]]
    write_results(tmp_path / "figures" / "results" / "headline.json", done)
    for page in ("README.md", "figures/README.md"):
        (tmp_path / page).write_text(
            "<!-- table headline -->\nold\n<!-- end -->\n", encoding="utf-8"
        )
    (tmp_path / "figures" / "explore.html").write_text(
        "<!-- model -->\nold\n<!-- end -->\n", encoding="utf-8"
    )
    (tmp_path / "figures" / "results" / "explore.json").write_text("[1, 2]\n", encoding="utf-8")
    command = subprocess.run(
        [sys.executable, "-B", "-m", "experiments", "redraw"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    drawn = tmp_path / "figures" / "headline.svg"
    assert (command.returncode, command.stderr) == (0, "")
    assert command.stdout == f"drawn: {drawn}\n"
    plots.save(charts.headline(done), tmp_path / "expected.svg")
    assert drawn.read_bytes() == (tmp_path / "expected.svg").read_bytes()
    table = f"<!-- table headline -->\n{TABLES['headline'](done)}\n<!-- end -->\n"
    for page in ("README.md", "figures/README.md"):
        assert (tmp_path / page).read_text(encoding="utf-8") == table
    assert "[1, 2]" in (tmp_path / "figures" / "explore.html").read_text(encoding="utf-8")


@pytest.fixture
def computed(monkeypatch):
    """What reproduce would compute and draw, in order."""
    computed = []

    def run_experiment(name, device, executor):
        computed.append((name, device, executor))
        return [made_up(EXPERIMENTS[name][0], share)]

    monkeypatch.setattr(__main__, "run_experiment", run_experiment)
    monkeypatch.setattr(__main__, "redraw", lambda: computed.append("redraw") or [])
    return computed


@pytest.mark.parametrize("names", [["recipe", "paper"], ["headline"], []])
def test_reproduce_computes_what_is_named_then_draws(names, computed, capsys):
    """Without a name the headline; a table each."""
    names_computed = names or ["headline"]
    __main__.main(["reproduce", *names, "--device", "cuda"])
    assert computed == [*((name, "cuda", None) for name in names_computed), "redraw"]
    printed = capsys.readouterr().out
    tables = [TABLES[name]([made_up(EXPERIMENTS[name][0], share)]) for name in names_computed]
    assert printed == "".join(f"\n{table}\n\n" for table in tables)


def test_what_does_not_exist_is_one_line_before_any_work(computed, monkeypatch):
    """An experiment, even where the names before it are known; a device, of both commands."""
    message = one_line(["reproduce", "headline", "no such"])
    assert message.startswith("experiments: name is 'no such'; allowed: ")
    assert all(name in message for name in EXPERIMENTS)
    assert computed == []
    monkeypatch.undo()
    monkeypatch.setattr(results, "check_writable", None)  # as where nothing can be written
    for command in ("reproduce", "train"):
        message = one_line([command, "--device", "abacus"])
        assert message.startswith("experiments: device is 'abacus', which cannot be used here")


@pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError, KeyboardInterrupt])
def test_errors_and_interrupts_are_one_line(error, monkeypatch):
    """Whatever went wrong, its message follows the program's name."""

    def fail():
        raise error("what went wrong")

    monkeypatch.setattr(__main__, "redraw", fail)
    assert one_line(["redraw"]) == "experiments: what went wrong"


def test_train_reaches_training_with_every_setting(monkeypatch):
    """Mechanism, seed and device; the authors' numbers and the published set, alone or together."""
    calls = []
    monkeypatch.setattr(__main__, "train", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(__main__, "on_published", lambda *arguments: calls.append(arguments))
    __main__.main(["train"])
    __main__.main(["train", "fox", "--paper"])
    __main__.main(["train", "--data", "a/set"])
    __main__.main(["train", "fox", "--data", "a/set", "--paper", "--device", "cuda", "--seed", "4"])
    assert calls == [
        (flip_flop_config("tra", 0), "cpu"),
        ({**flip_flop_config("fox", 0), **PAPER}, "cpu"),
        ("a/set", flip_flop_config("tra", 0), "cpu"),
        ("a/set", {**flip_flop_config("fox", 4), **PAPER}, "cuda"),
    ]


@pytest.mark.parametrize("seed", ["20000000000000", "-1"])
def test_an_impossible_seed_is_one_line_before_training(monkeypatch, tmp_path, seed):
    monkeypatch.setattr(runs, "MODELS", tmp_path / "models")
    assert f", seed {seed}; allowed: " in one_line(["train", "--seed", seed])
    assert not (tmp_path / "models").exists()


def test_train_prints_how_well_the_model_does(monkeypatch, tmp_path, capsys):
    """A line a kind of strings, a number for each length from the training length on."""
    monkeypatch.setattr(runs, "MODELS", tmp_path)
    monkeypatch.setattr(__main__, "LENGTHS", [4, 8, 16])
    monkeypatch.setattr(__main__, "flip_flop_config", config)
    __main__.main(["train", "rope"])
    parameters, kept, *lines = capsys.readouterr().out.splitlines()
    assert re.search(r"^[\d,]+ parameters, trained in \d+ s$", parameters)
    assert [f"kept in {path}" for path in tmp_path.iterdir()] == [kept]
    assert [line.split()[0] for line in lines] == ["in_distribution", "sparse", "dense"]
    assert all(line.split()[1::2] == ["8:", "16:"] for line in lines)
    assert all(0 <= float(share) <= 1 for line in lines for share in line.split()[2::2])

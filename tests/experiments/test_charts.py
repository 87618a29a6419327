"""Figures: every seed is drawn, no two mechanisms look alike, and redraw stops at nothing."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from laboratory import config, made_up, write_results
from matplotlib.figure import Figure

from experiments import charts, stored
from experiments.charts import ABLATION, RIVALS, SPLIT_TITLE, TRAINING_LENGTH
from experiments.grids import EXPERIMENTS, SPLITS
from tra_mini import MECHANISMS
from tra_mini.plots import STYLE

LENGTHS = [64, 128, 256]
SEEDS = range(3)


def exact_match(mechanism, seed, split, length):
    """A made-up value for each run and row, such that no seed is the worst at every length."""
    mixed = 7 * list(MECHANISMS).index(mechanism) + 3 * seed * length // 64 + 5 * len(split)
    return mixed % 11 / 10


def value(config, split, length):
    return exact_match(config["mechanism"], config["seed"], split, length)


def values_of(mechanism, split):
    """A list for each seed, with a value for each length."""
    return [[exact_match(mechanism, seed, split, length) for length in LENGTHS] for seed in SEEDS]


def worst(mechanism, split):
    return [min(values) for values in zip(*values_of(mechanism, split), strict=True)]


RUNS = [
    made_up(config(mechanism, seed, testing={"splits": SPLITS, "lengths": LENGTHS}), value)
    for seed in SEEDS
    for mechanism in MECHANISMS
]
COST = [
    {"form": form, "T": T, "forward_ms": T / 8, "both_ms": both, "memory_mb": memory}
    for form, both, memory in (
        ("naive", 7.0, 5.0),
        ("blocked", 6.0, 1.0),
        ("early", None, 2.0),
        ("fused", 5.0, None),
    )
    for T in (256, 512)
]


def curves(ax):
    """The lines of a panel, faint ones and marked ones, without that at the training length."""
    training, *lines = ax.lines
    assert list(training.get_xdata()) == [TRAINING_LENGTH, TRAINING_LENGTH]
    faint = [line for line in lines if line.get_marker() == "None"]
    marked = [line for line in lines if line.get_marker() != "None"]
    return faint, marked


def points(line):
    return list(line.get_xdata()), list(line.get_ydata())


@pytest.mark.parametrize(
    ("draw", "drawn_from"),
    [
        (charts.length_generalisation, RUNS),
        (charts.headline, RUNS),
        (charts.ablation, RUNS),
        (charts.cost, COST),
    ],
)
def test_no_two_lines_of_a_panel_look_alike(draw, drawn_from):
    """Colour alone tells them apart, and so do marker and line style, as drawn."""
    for ax in draw(drawn_from).axes:
        marked = [line for line in ax.lines if line.get_marker() != "None"]
        assert len(marked) >= 2
        assert len({line.get_color() for line in marked}) == len(marked)
        assert len({(line.get_marker(), line.get_linestyle()) for line in marked}) == len(marked)


def test_everything_has_a_name_of_its_own():
    """Every mechanism, and every kind of strings."""
    assert set(STYLE) == set(MECHANISMS)
    assert len({label for label, *_ in STYLE.values()}) == len(STYLE)
    for grid in EXPERIMENTS.values():
        for one in grid:
            assert "task" in one or set(one["testing"]["splits"]) <= set(SPLIT_TITLE)


def test_length_generalisation_draws_every_seed_and_the_worst():
    """A faint line for each seed with that run's values, and the minimum over seeds marked."""
    figure = charts.length_generalisation(RUNS)
    assert "3 seeds" in figure.get_suptitle()
    [legend] = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [STYLE[mechanism][0] for mechanism in RIVALS]
    for ax, split in zip(figure.axes, SPLITS, strict=True):
        assert ax.get_title() == SPLIT_TITLE[split]
        faint, marked = curves(ax)
        for mechanism, line in zip(reversed(RIVALS), marked, strict=True):  # TRA last: on top
            label, *look = STYLE[mechanism]
            assert line.get_label() == label
            assert [line.get_color(), line.get_marker(), line.get_linestyle()] == look
            assert points(line) == (LENGTHS, worst(mechanism, split))
            seeds = [list(other.get_ydata()) for other in faint if other.get_color() == look[0]]
            assert seeds == values_of(mechanism, split)


def test_ablation_draws_every_seed_and_the_worst():
    """In each of six panels, no mechanism twice: three splits, a faint line a seed."""
    mechanisms = [mechanism for row in ABLATION.values() for mechanism in row]
    assert len(set(mechanisms)) == 6
    for ax, mechanism in zip(charts.ablation(RUNS).axes, mechanisms, strict=True):
        faint, marked = curves(ax)
        assert len(faint) == len(SPLITS) * len(SEEDS)
        values = {line.get_label(): list(line.get_ydata()) for line in marked}
        assert values == {SPLIT_TITLE[split]: worst(mechanism, split) for split in SPLITS}


def test_cost_draws_every_measurement():
    """A line for each form in each panel; what was not measured is left out."""
    measured = ([[32, 64]] * 4, [[7, 7], [6, 6], [5, 5]], [[5, 5], [1, 1], [2, 2]])
    for ax, values in zip(charts.cost(COST).axes, measured, strict=True):
        drawn = [points(line) for line in ax.lines if len(line.get_ydata())]
        assert drawn == [([256, 512], value) for value in values]


def test_tasks_show_the_worst_seed_and_round_nothing_up_to_one():
    """A square for each mechanism and length, with its number."""

    def run(mechanism, seed, shares):
        rows = [
            {"split": task, "length": length, "per_read": share}
            for task in ("recall", "parity")
            for length, share in zip((32, 64), shares, strict=True)
        ]
        return {"config": {"mechanism": mechanism, "seed": seed}, "rows": rows}

    runs = [run("tra", 5, (1.0, 0.999)), run("tra", 6, (1.0, 1.0)), run("fox", 5, (0.5, 0.25))]
    drawn = [ax for ax in charts.tasks(runs).axes if ax.get_title()]
    assert [ax.get_title() for ax in drawn] == ["recall", "parity"]
    for ax in drawn:
        assert [label.get_text() for label in ax.get_yticklabels()] == ["TRA", "FoX"]
        assert [text.get_text() for text in ax.texts] == ["1.00", "<1", "0.50", "0.25"]


def test_language_draws_the_worst_seed_by_length_and_one_by_position():
    """Every value that was handed in, in the panel where it belongs."""

    def run(mechanism, seed, bits):
        by_position = [[1, 1, 5.0 + bits], [2, 2, 4.0], [3, 4, 3.0]]
        row = {"split": "text", "bits_per_byte": bits, "by_position": by_position}
        rows = [{**row, "length": 2}, {**row, "length": 4}]
        return {"config": {"mechanism": mechanism, "seed": seed}, "rows": rows}

    runs = [run("tra", 5, 2.0), run("tra", 6, 2.5), run("fox", 5, 1.0)]
    by_length, by_position = (
        {line.get_label(): points(line) for line in ax.lines} for ax in charts.language(runs).axes
    )
    assert by_length["TRA"] == ([2, 4], [2.5, 2.5])
    assert by_length["FoX"] == ([2, 4], [1.0, 1.0])
    assert by_position["TRA"] == ([1, 2, 3], [7.0, 4.0, 3.0])


# Redrawing


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """A folder of figures with some results: complete, interrupted, cut off or missing."""
    folder = tmp_path / "figures" / "results"
    monkeypatch.setattr(charts, "RESULTS", folder)
    monkeypatch.setattr(charts, "stored", partial(stored, folder=folder))
    write_results(folder / "headline.json", [made_up(EXPERIMENTS["headline"][0], value)])
    flip_flop = [made_up(one, value) for one in EXPERIMENTS["flip_flop"]]
    write_results(folder / "flip_flop.json", flip_flop)
    (folder / "tasks.json").write_text('{"schema": 1, "runs": [', encoding="utf-8")
    (folder / "cost.json").write_text(json.dumps({"table": COST}), encoding="utf-8")
    (folder.parent / "headline.svg").write_text("the picture before", encoding="utf-8")
    return folder.parent


def test_redraw_goes_on_with_the_other_figures(figures, capsys):
    """An interrupted headline.json, a broken file and a missing one stop no other figure."""
    drawn = charts.redraw()
    complete = ["length_generalisation.svg", "ablation.svg", "cost.svg"]
    assert drawn == [figures / name for name in complete]
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split(";")[0] for line in lines]
    assert starts == ["not drawn: headline.svg", "not drawn: tasks.svg"]
    assert (figures / "headline.svg").read_text(encoding="utf-8") == "the picture before"
    assert {path.name for path in figures.iterdir()} == {*complete, "headline.svg", "results"}


def test_a_picture_that_cannot_be_written_leaves_the_old_one(figures, monkeypatch):
    """A disk that fills up: no half a picture, and no part of one."""
    shutil.rmtree(figures / "results")
    headline = [made_up(one, value) for one in EXPERIMENTS["headline"]]
    write_results(figures / "results" / "headline.json", headline)

    def full_disk(figure, target, **settings):
        if hasattr(target, "write"):
            target.write(b"half a picture")
        else:
            Path(target).write_text("half a picture", encoding="utf-8")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        charts.redraw()
    assert (figures / "headline.svg").read_text(encoding="utf-8") == "the picture before"
    assert {path.name for path in figures.iterdir()} == {"headline.svg", "results"}

"""Figures: every seed is drawn, no two mechanisms look alike, and redraw stops at nothing."""

import errno
import json
import math
import shutil
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
from laboratory import config, made_up, write_results
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from experiments import charts, stored
from experiments.charts import ABLATION, FIVE, ORDER, SPLIT_STYLE, SPLIT_TITLE, TRAINING_LENGTH
from experiments.compute import stored_in_favour
from experiments.grids import EXPERIMENTS, HEADLINE, SPLITS
from tra_mini import MECHANISMS, plots
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


TESTING = {"splits": SPLITS, "lengths": LENGTHS}
RUNS = [
    made_up(config(mechanism, seed, testing=TESTING), value)
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


def text_run(config, bits):
    """A made-up run on text: bits_per_byte is bits; by position it falls from 3 more."""
    by_position = [[1, 1, bits + 3], [2, 2, bits + 1], [3, 4, bits]]
    rows = [
        {"split": "text", "length": length, "bits_per_byte": bits, "by_position": by_position}
        for length in config["testing"]["lengths"]
    ]
    return {"config": config, "rows": rows}


TEXT = [
    text_run(config(mechanism, seed, testing={"lengths": [2, 4]}), 1 + place + seed / 4)
    for seed in range(2)
    for place, mechanism in enumerate(FIVE)
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


def panels(figure):
    """Its axes, without those that are empty."""
    return [ax for ax in figure.axes if ax.axison]


# Looks


def test_everything_has_a_name_of_its_own():
    """Every mechanism, and every kind of strings."""
    assert set(STYLE) == set(MECHANISMS)
    compared = EXPERIMENTS["flip_flop"] + EXPERIMENTS["tasks"]
    assert set(ORDER) == {one["mechanism"] for one in compared}
    assert len({label for label, *_ in STYLE.values()}) == len(STYLE)
    for grid in EXPERIMENTS.values():
        for one in grid:
            assert "task" in one or set(one["testing"]["splits"]) <= set(SPLIT_TITLE)


def as_seen(colour):
    """A colour's place in Oklab, where distances are about as large as they seem (Ottosson 2020).

    Black is (0, 0, 0), white (1, 0, 0).
    """
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(colour)
    )
    long = (0.41222147 * red + 0.53633254 * green + 0.05144599 * blue) ** (1 / 3)
    medium = (0.21190350 * red + 0.68069955 * green + 0.10739696 * blue) ** (1 / 3)
    short = (0.08830246 * red + 0.28171884 * green + 0.62997870 * blue) ** (1 / 3)
    return (
        0.21045426 * long + 0.79361779 * medium - 0.00407205 * short,
        1.97799850 * long - 2.42859221 * medium + 0.45059371 * short,
        0.02590404 * long + 0.78277177 * medium - 0.80867577 * short,
    )


def test_no_two_mechanisms_look_alike():
    """Whether by colour or, printed in black, by marker with line style."""
    for (one, (_, *look)), (other, (_, *other_look)) in combinations(STYLE.items(), 2):
        assert math.dist(as_seen(look[0]), as_seen(other_look[0])) > 0.1, (one, other)
        assert look[1:] != other_look[1:], (one, other)


@pytest.mark.parametrize(
    ("draw", "drawn_from"),
    [
        (charts.length_generalisation, RUNS),
        (charts.headline, RUNS),
        (charts.mechanisms, RUNS),
        (charts.ablation, RUNS),
        (charts.cost, COST),
        (charts.language, TEXT),
    ],
)
def test_no_two_lines_of_a_panel_look_alike(draw, drawn_from):
    """Colour alone tells them apart, and so do marker and line style, as drawn."""
    for ax in panels(draw(drawn_from)):
        marked = [line for line in ax.lines if line.get_marker() != "None"]
        assert len(marked) >= 2
        assert len({line.get_color() for line in marked}) == len(marked)
        assert len({(line.get_marker(), line.get_linestyle()) for line in marked}) == len(marked)


# Each figure


def test_length_generalisation_draws_every_seed_and_the_worst():
    """A faint line for each seed with that run's values, and the minimum over seeds marked."""
    figure = charts.length_generalisation(RUNS)
    assert "3 seeds" in figure.get_suptitle()
    for ax, split in zip(figure.axes, SPLITS, strict=True):
        assert ax.get_title() == SPLIT_TITLE[split]
        faint, marked = curves(ax)
        for mechanism, line in zip(reversed(FIVE), marked, strict=True):  # TRA last: on top
            label, *look = STYLE[mechanism]
            assert line.get_label() == label
            assert [line.get_color(), line.get_marker(), line.get_linestyle()] == look
            assert points(line) == (LENGTHS, worst(mechanism, split))
            seeds = [list(other.get_ydata()) for other in faint if other.get_color() == look[0]]
            assert seeds == values_of(mechanism, split)


def test_the_headline_draws_its_mechanisms_alone():
    for ax in charts.headline(RUNS).axes:
        _, marked = curves(ax)
        assert [line.get_label() for line in marked] == [STYLE[name][0] for name in HEADLINE][::-1]


ALIKE = [made_up(run["config"], lambda *_: 1.0) for run in RUNS]


@pytest.mark.parametrize(
    ("draw", "drawn_from"),
    [
        (charts.length_generalisation, RUNS),
        (charts.length_generalisation, ALIKE),  # all lines end in one point
        (charts.language, TEXT),
        (charts.language, [text_run(run["config"], 2 + run["config"]["seed"]) for run in TEXT]),
    ],
)
def test_every_line_is_named_once_at_its_end(draw, drawn_from):
    """In its colour, at the height of its end or above, over no other label and no panel."""
    figure = draw(drawn_from)
    figure.draw_without_rendering()
    for ax in figure.axes:
        lines = {line.get_label(): line for line in ax.lines if line.get_marker() != "None"}
        assert sorted(label.get_text() for label in ax.texts) == sorted(lines)
        assert len(lines) == len(FIVE)
        for label in ax.texts:
            line = lines[label.get_text()]
            assert label.get_color() == line.get_color()
            assert label.xy[1] >= line.get_ydata()[-1]
        boxes = [label.get_window_extent() for label in ax.texts]
        boxes += [other.get_window_extent() for other in figure.axes]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_mechanisms_draws_each_worst_seed_over_all_the_others():
    """A panel each, in order: three kinds of strings in colour, pale the sparse ones of all."""
    figure = charts.mechanisms(RUNS)
    pale_values = sorted(worst(mechanism, "sparse") for mechanism in ORDER)
    for ax, mechanism in zip(panels(figure), ORDER, strict=True):
        assert ax.get_title() == STYLE[mechanism][0]
        pale, marked = curves(ax)
        assert sorted(list(line.get_ydata()) for line in pale) == pale_values
        assert {line.get_color() for line in pale} == {"0.85"}
        assert all(line.zorder < marked[0].zorder for line in pale)
        for split, look, line in zip(SPLITS, SPLIT_STYLE, marked, strict=True):
            assert line.get_label() == SPLIT_TITLE[split]
            assert (line.get_color(), line.get_marker(), line.get_linestyle()) == look
            assert points(line) == (LENGTHS, worst(mechanism, split))
    assert all(ax.get_xticklabels() for ax in panels(figure)[-4:])  # below each of four columns
    [legend] = figure.legends
    entries = [text.get_text() for text in legend.get_texts()]
    assert entries == ["sparse, the other mechanisms", *(SPLIT_TITLE[split] for split in SPLITS)]
    assert figure.get_supylabel().endswith("the worst of 3 seeds")


def test_ablation_draws_every_seed_and_the_worst():
    """In each of six panels, no mechanism twice: three splits, a faint line a seed."""
    mechanisms = [mechanism for row in ABLATION.values() for mechanism in row]
    assert len(set(mechanisms)) == 6
    fewer = [run for run in RUNS if run["config"] != config("rope", 0, testing=TESTING)]
    figure = charts.ablation(fewer)
    assert "3 seeds" in figure.get_suptitle()  # of the six, whatever the others have
    for ax, mechanism in zip(figure.axes, mechanisms, strict=True):
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


def test_tasks_show_the_worst_seed_where_it_was_learned():
    """A square for each mechanism and length, with its number, rounded down; or not learned."""

    def run(mechanism, seed, shares):
        rows = [
            {"split": task, "length": length, "per_read": share}
            for task in ("recall", "parity")
            for length, share in zip((32, 64), shares, strict=True)
        ]
        return {"config": {"mechanism": mechanism, "seed": seed}, "rows": rows}

    runs = [run("tra", 5, (1.0, 0.999)), run("tra", 6, (0.99, 1.0)), run("fox", 5, (0.98, 0.25))]
    drawn = [ax for ax in charts.tasks(runs).axes if ax.get_title()]
    assert [ax.get_title() for ax in drawn] == ["recall", "parity"]
    for ax in drawn:
        assert [label.get_text() for label in ax.get_yticklabels()] == ["TRA", "FoX"]
        assert [text.get_text() for text in ax.texts] == ["0.99", "0.99", "not learned: 0.98"]


def test_language_draws_the_worst_seed_by_length_and_one_by_position():
    """Five mechanisms; the worst has the highest cost, and by position the first seed is drawn."""
    by_length, by_position = (
        {line.get_label(): points(line) for line in ax.lines} for ax in charts.language(TEXT).axes
    )
    for place, mechanism in enumerate(FIVE):
        label = STYLE[mechanism][0]
        assert by_length[label] == ([2, 4], [1.25 + place, 1.25 + place])
        assert by_position[label] == ([1, 2, 3], [4.0 + place, 2.0 + place, 1.0 + place])


def full_size(name):
    """Made-up contents of the results that a figure is drawn from, with every run of their grid."""
    if name == "cost":
        return COST
    grid = EXPERIMENTS[{"in favour": "flip_flop"}.get(name, name)]
    if name == "language":
        return [text_run(one, 2 + list(MECHANISMS).index(one["mechanism"]) / 50) for one in grid]
    return [made_up(one, lambda *_: 1.0) for one in grid]


@pytest.mark.parametrize("file", charts.FIGURES)
def test_every_figure_is_saved_whole(file, tmp_path):
    """With as many lines and labels as it will have; saving refuses what is cut off."""
    name, draw = charts.FIGURES[file]
    plots.save(draw(full_size(name)), tmp_path / file)
    assert (tmp_path / file).stat().st_size > 10_000


# Redrawing


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """A folder of figures with some results: complete, interrupted, cut off or missing."""
    folder = tmp_path / "figures" / "results"
    monkeypatch.setattr(charts, "RESULTS", folder)
    for read in (stored, stored_in_favour):
        monkeypatch.setattr(charts, read.__name__, partial(read, folder=folder))
    write_results(folder / "headline.json", [made_up(EXPERIMENTS["headline"][0], value)])
    for name in ("flip_flop", "flip_flop_four_heads"):
        runs = [made_up(one, value) for one in EXPERIMENTS[name]]
        write_results(folder / f"{name}.json", runs)
    (folder / "tasks.json").write_text('{"schema": 1, "runs": [', encoding="utf-8")
    (folder / "cost.json").write_text(json.dumps({"table": COST}), encoding="utf-8")
    (folder.parent / "headline.svg").write_text("the picture before", encoding="utf-8")
    return folder.parent


def test_redraw_goes_on_with_the_other_figures(figures, capsys):
    """An interrupted headline.json, a broken file and a missing one stop no other figure."""
    drawn = charts.redraw()
    complete = ["length_generalisation.svg", "mechanisms.svg", "ablation.svg", "cost.svg"]
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
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        charts.redraw()
    assert (figures / "headline.svg").read_text(encoding="utf-8") == "the picture before"
    assert {path.name for path in figures.iterdir()} == {"headline.svg", "results"}

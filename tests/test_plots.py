"""Figures: the same bytes from the same runs, every seed drawn, no two mechanisms alike."""

import matplotlib
import pytest

from tra_mini import MECHANISMS, charts, plots
from tra_mini.grids import EXPERIMENTS, SPLITS
from tra_mini.recipes import TRAINING

LENGTHS = [64, 128, 256]
SEEDS = range(3)


def exact_match(mechanism, seed, split, length):
    """A made-up value for each run and row, such that no seed is the worst at every length."""
    mixed = 7 * list(MECHANISMS).index(mechanism) + 3 * seed * length // 64 + 5 * len(split)
    return mixed % 11 / 10


RUNS = [
    {
        "config": {"mechanism": mechanism, "seed": seed},
        "train_seconds": 1.0,
        "rows": [
            {
                "split": split,
                "p_ignore": p_ignore,
                "length": length,
                "n": 10,
                "exact_match": exact_match(mechanism, seed, split, length),
                "per_read": 1.0,
            }
            for split, p_ignore in SPLITS.items()
            for length in LENGTHS
        ],
    }
    for seed in SEEDS
    for mechanism in MECHANISMS
]
COST = [
    {"form": form, "T": T, "forward_ms": T / 9, "both_ms": both and T / both, "memory_mb": memory}
    for form, both, memory in (
        ("naive", 3, 5.0),
        ("blocked", 3, 1.0),
        ("early", None, 2.0),
        ("fused", 3, None),
    )
    for T in (256, 512)
]
COST_LINES = (  # of each panel
    [[256 / 9, 512 / 9]] * 4,
    [[256 / 3, 512 / 3]] * 3,
    [[5.0, 5.0], [1.0, 1.0], [2.0, 2.0]],
)
FIGURES = {
    "length_generalisation": lambda: plots.length_generalisation(RUNS),
    "headline": lambda: plots.length_generalisation(RUNS, ("tra", "fox", "alibi", "rope")),
    "ablation": lambda: plots.ablation(RUNS),
    "cost": lambda: charts.cost(COST),
}


def styles(lines):
    """Colour, marker and line style of each."""
    return [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines]


def curves(ax):
    """The lines of a panel, faint ones and marked ones, without that at the training length."""
    lines = [line for line in ax.lines if len(line.get_xdata()) == len(LENGTHS)]
    assert len(lines) == len(ax.lines) - 1
    return (
        [line for line in lines if line.get_marker() == "None"],
        [line for line in lines if line.get_marker() != "None"],
    )


class TestStyles:
    def test_every_mechanism_has_one(self):
        """And nothing else has."""
        assert set(plots.STYLE) == set(MECHANISMS)

    def test_labels_differ(self):
        """So a legend names each."""
        labels = [label for label, *_ in plots.STYLE.values()]
        assert len(set(labels)) == len(labels)

    def test_rivals_differ_even_without_colour(self):
        """Marker and line style alone tell a figure's mechanisms apart, and so do colours alone."""
        drawn = [plots.STYLE[mechanism] for mechanism in plots.RIVALS]
        assert len({(marker, line) for _, _, marker, line in drawn}) == len(drawn)
        assert len({colour for _, colour, _, _ in drawn}) == len(drawn)

    @pytest.mark.parametrize("name", FIGURES)
    def test_no_two_lines_of_a_panel_look_alike(self, name):
        """Marker and line style, as drawn, differ pairwise even without the colour."""
        for ax in FIGURES[name]().axes:
            marked = [line for line in ax.lines if line.get_marker() != "None"]
            assert len(marked) >= 2
            assert len({(marker, line) for _, marker, line in styles(marked)}) == len(marked)

    def test_every_split_has_a_title(self):
        """Those of every experiment on flip-flops."""
        for grid in EXPERIMENTS.values():
            for config in (config for config in grid if "task" not in config):
                assert set(config["testing"]["splits"]) <= set(plots.SPLIT_TITLE)

    def test_the_ablation_is_a_grid_of_mechanisms(self):
        """Two by three, no mechanism twice, TRA where both ideas meet."""
        nothing_removed, removed = plots.ABLATION.values()
        assert nothing_removed == ("nope", "distance_only", "contextual_only")
        assert removed == ("sparsity_only", "sparsity_raw", "tra")
        assert len(plots.DISTANCES) == 3


@pytest.fixture(scope="module")
def figure():
    """All mechanisms and splits; drawn once, looked at many times."""
    return plots.length_generalisation(RUNS)


class TestLengthGeneralisation:
    def test_a_panel_a_split(self, figure):
        """Titled by the split."""
        assert [ax.get_title() for ax in figure.axes] == [plots.SPLIT_TITLE[s] for s in SPLITS]

    def test_every_seed_is_drawn(self, figure):
        """A faint line for each seed of each mechanism, with that run's values."""
        for ax, split in zip(figure.axes, SPLITS, strict=True):
            faint, _ = curves(ax)
            drawn = sorted(tuple(line.get_ydata()) for line in faint)
            assert drawn == sorted(
                tuple(exact_match(mechanism, seed, split, length) for length in LENGTHS)
                for mechanism in plots.RIVALS
                for seed in SEEDS
            )

    def test_the_marked_line_is_the_worst_seed_at_each_length(self, figure):
        """One for each mechanism: the minimum over its seeds, length by length."""
        for ax, split in zip(figure.axes, SPLITS, strict=True):
            _, marked = curves(ax)
            by_label = {line.get_label(): line for line in marked}
            assert len(by_label) == len(marked) == len(plots.RIVALS)
            for mechanism in plots.RIVALS:
                line = by_label[plots.STYLE[mechanism][0]]
                assert list(line.get_xdata()) == LENGTHS
                assert list(line.get_ydata()) == [
                    min(exact_match(mechanism, seed, split, length) for seed in SEEDS)
                    for length in LENGTHS
                ]

    def test_a_mechanism_looks_the_same_everywhere(self, figure):
        """In every panel its faint and marked lines have the colour and line of its style."""
        for ax in figure.axes:
            faint, marked = curves(ax)
            for line in marked:
                [style] = [s for s in plots.STYLE.values() if s[0] == line.get_label()]
                assert styles([line]) == [style[1:]]
                assert sum(line.get_color() == other.get_color() for other in faint) == len(SEEDS)

    def test_the_training_length_is_marked(self, figure):
        """By a dotted line in every panel."""
        for ax in figure.axes:
            assert [list(ax.lines[0].get_xdata())] == [[TRAINING["length"]] * 2]

    def test_the_legend_names_what_is_drawn(self, figure):
        """Every mechanism, TRA first."""
        [legend] = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        assert names == [plots.STYLE[mechanism][0] for mechanism in plots.RIVALS]

    def test_the_title_counts_the_seeds(self, figure):
        """As many as there are."""
        assert "3 seeds" in figure.get_suptitle()

    def test_only_the_mechanisms_asked_for(self):
        """Others may be among the runs."""
        figure = plots.length_generalisation(RUNS, mechanisms=("tra", "nope"), splits=("sparse",))
        [ax] = figure.axes
        faint, marked = curves(ax)
        assert [line.get_label() for line in marked] == ["NoPE", "TRA"]  # TRA last: on top
        assert len(faint) == 2 * len(SEEDS)


def test_ablation_draws_every_seed_and_the_worst():
    """In each of six panels: three splits, a faint line a seed, the minimum marked."""
    axes = iter(plots.ablation(RUNS).axes)
    for row in plots.ABLATION.values():
        for mechanism in row:
            faint, marked = curves(next(axes))
            assert len(faint) == len(SPLITS) * len(SEEDS)
            worst = {line.get_label(): list(line.get_ydata()) for line in marked}
            assert worst == {
                plots.SPLIT_TITLE[split]: [
                    min(exact_match(mechanism, seed, split, length) for seed in SEEDS)
                    for length in LENGTHS
                ]
                for split in SPLITS
            }


def test_cost_draws_every_measurement():
    """A line for each form in each panel; what was not measured is left out."""
    for ax, measured in zip(charts.cost(COST).axes, COST_LINES, strict=True):
        drawn = [list(line.get_ydata()) for line in ax.lines if len(line.get_ydata())]
        assert drawn == measured
        assert all(list(line.get_xdata()) in ([256, 512], []) for line in ax.lines)


class TestSave:
    @pytest.mark.parametrize("name", ["length_generalisation", "ablation", "cost"])
    def test_the_same_figure_is_the_same_bytes(self, name, tmp_path):
        """Drawn twice: equal files, with neither date nor version in them."""
        for copy in ("one", "other"):
            plots.save(FIGURES[name](), tmp_path / copy / "figure.svg")
        text = (tmp_path / "one" / "figure.svg").read_text()
        assert text == (tmp_path / "other" / "figure.svg").read_text()
        assert "<svg" in text
        assert "<dc:date>" not in text
        assert matplotlib.__version__ not in text

    def test_leaves_matplotlibs_settings_alone(self, tmp_path):
        """What is drawn afterwards is drawn as before."""
        before = dict(matplotlib.rcParams)
        plots.save(charts.cost(COST), tmp_path / "figure.svg")
        assert dict(matplotlib.rcParams) == before


def test_the_tasks_figure_shows_the_worst_seed_and_rounds_nothing_up_to_one():
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
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert names == ["TRA", "FoX"]
        assert [text.get_text() for text in ax.texts] == ["1.00", "<1", "0.50", "0.25"]


def test_the_language_figure_draws_the_worst_seed_by_length_and_one_by_position():
    """Every value that was handed in, in the panel where it belongs."""

    def run(mechanism, seed, more):
        rows = [
            {"split": "text", "length": length, "bits_per_byte": more + length / 1000}
            | {"by_position": [[1, 1, 5.0 + more], [2, 2, 4.0], [3, 4, 3.0]]}
            for length in (2, 4)
        ]
        return {"config": {"mechanism": mechanism, "seed": seed}, "rows": rows}

    runs = [run("tra", 5, 2.0), run("tra", 6, 2.5), run("fox", 5, 1.0)]
    by_length, by_position = charts.language(runs).axes
    first, second = (line for line in by_length.lines if line.get_label()[0] != "_")
    assert (first.get_label(), second.get_label()) == ("TRA", "FoX")
    assert list(first.get_xdata()) == [2, 4] and list(first.get_ydata()) == [2.502, 2.504]
    assert list(second.get_ydata()) == [1.002, 1.004]
    lines = [line for line in by_position.lines if line.get_label()[0] != "_"]
    assert list(lines[0].get_xdata()) == [1, 2, 3] and list(lines[0].get_ydata()) == [7.0, 4.0, 3.0]

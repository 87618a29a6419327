"""One function a figure; one colour, marker and line style a mechanism, the same everywhere."""

import io
from collections import Counter
from pathlib import Path

import matplotlib
from IPython.display import Image, display
from matplotlib.figure import Figure

from tra_mini.grids import SPLITS
from tra_mini.recipes import TRAINING

STYLE = {  # Okabe and Ito's colours and four more; marker and line tell mechanisms apart in grey
    "tra": ("TRA", "#D55E00", "o", "-"),
    "fox": ("FoX", "#0072B2", "s", "-"),
    "alibi": ("ALiBi", "#009E73", "^", "-"),
    "cope": ("CoPE", "#CC79A7", "D", "--"),
    "rope": ("RoPE", "#E69F00", "v", "--"),
    "sinusoidal": ("sinusoidal", "#56B4E9", "P", ":"),
    "nope": ("NoPE", "#000000", "x", ":"),
    "contextual_only": ("contextual distance only", "#0072B2", "D", "-"),
    "distance_only": ("raw distance only", "#009E73", "v", "-"),
    "sparsity_raw": ("removal, raw distance", "#CC79A7", "s", "--"),
    "sparsity_only": ("removal only", "#E69F00", "^", ":"),
    "ssmax": ("SSMax", "#999999", "<", "--"),
    "entmax": ("entmax", "#6A3D9A", "h", "-"),
    "stick_breaking": ("stick-breaking", "#8B5A2B", "*", "-."),
    "lstm": ("LSTM (no attention)", "#B8A200", "X", "-."),
    "tra_beside_nope": ("half TRA, half NoPE", "#CC79A7", ">", "-"),
    "tra_beside_local": ("half TRA, half raw distance", "#56B4E9", "p", "-"),
    "tra_annealed": ("TRA, removal annealed", "#F0A080", "d", "-"),
    "tra_slow_gates": ("TRA, gates near 1", "#A0A040", "1", "--"),
    "tra_spread_gates": ("TRA, gates spread", "#A0A040", "2", ":"),
    "tra_low_threshold": ("TRA, threshold -1", "#A0A040", "3", "-."),
}
RIVALS = ("tra", "fox", "alibi", "cope", "rope", "sinusoidal", "nope")
RIVALS += ("ssmax", "entmax", "stick_breaking", "lstm")
DISTANCES = ("no distance", "raw distance", "contextual distance")
ABLATION = {  # a row of the figure by removal: a mechanism for each of the DISTANCES
    "nothing removed": ("nope", "distance_only", "contextual_only"),
    "scores ≤ 0 removed": ("sparsity_only", "sparsity_raw", "tra"),
}
SPLIT_STYLE = (("#009E73", "o", "-"), ("#D55E00", "s", "--"), ("#0072B2", "^", ":"))
SPLIT_TITLE = {
    "in_distribution": "as in training (ignore 0.8)",
    "sparse": "sparse (ignore 0.98)",
    "dense": "dense (ignore 0.1)",
    "very_sparse": "very sparse (ignore 0.999)",
}


def curve(run, split, value="exact_match"):
    """Lengths and values of a run's rows of one split."""
    rows = [row for row in run["rows"] if row["split"] == split]
    return [row["length"] for row in rows], [row[value] for row in rows]


def draw_lengths(ax, title=None):
    """The common frame: length on a log axis, the training length marked."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:.0f}")
    ax.set_ylim(-0.04, 1.06)
    ax.axvline(TRAINING["length"], color="0.5", linestyle=":", linewidth=1)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.set_title(title, fontsize=11)


def draw_seeds(ax, runs, split, mechanism, colour, marker, line, label):
    """A faint line for every seed of a mechanism, a marked one for the worst at each length."""
    curves = [curve(run, split) for run in runs if run["config"]["mechanism"] == mechanism]
    for lengths, values in curves:
        ax.plot(lengths, values, color=colour, linestyle=line, linewidth=0.8, alpha=0.45)
    worst = [min(values) for values in zip(*(values for _, values in curves), strict=True)]
    ring = {"markersize": 10, "fillstyle": "none"} if mechanism == "tra" else {}  # hides no other
    ax.plot(curves[0][0], worst, color=colour, marker=marker, linestyle=line, label=label, **ring)


def finish(figure, title, runs, columns):
    """The title, which says what the lines are, and the legend below all panels."""
    counts = Counter(run["config"]["mechanism"] for run in runs)
    seeds = " or ".join(str(count) for count in sorted({*counts.values()}, reverse=True))
    figure.suptitle(
        f"{title}, trained at {TRAINING['length']} tokens (dotted). Faint lines: each of {seeds}"
        " seeds; marked line: the worst of them"
    )
    handles, labels = figure.axes[0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": min(columns, 7), "frameon": False}
    figure.legend(handles[::-1], labels[::-1], **place)


def length_generalisation(runs, mechanisms=RIVALS, splits=tuple(SPLITS)):
    """Exact match against length, a panel a split, a line a mechanism."""
    figure = Figure(figsize=(3.6 * len(splits), 4.2), layout="constrained")
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for ax, split in zip(axes, splits, strict=True):
        draw_lengths(ax, SPLIT_TITLE[split])
        for mechanism in reversed(mechanisms):
            label, colour, marker, line = STYLE[mechanism]
            draw_seeds(ax, runs, split, mechanism, colour, marker, line, label)
        ax.set_xlabel("length (tokens)")
    axes[0].set_ylabel("sequences without an error (share)")
    finish(figure, "Flip-flops", runs, len(mechanisms))
    return figure


def ablation(runs):
    """Exact match against length: rows by removal, columns by distance, a line a split."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for row, (removal, mechanisms) in zip(axes, ABLATION.items(), strict=True):
        row[0].set_ylabel("sequences without an error")
        for ax, distance, mechanism in zip(row, DISTANCES, mechanisms, strict=True):
            draw_lengths(ax, f"{removal},\n{distance} ({mechanism})")
            for split, style in zip(SPLITS, SPLIT_STYLE, strict=True):
                draw_seeds(ax, runs, split, mechanism, *style, SPLIT_TITLE[split])
    for ax in axes[-1]:
        ax.set_xlabel("length (tokens)")
    finish(figure, "Removal by distance", runs, 3)
    return figure


def show(figure, alt):
    """Displays a figure in a notebook, as a PNG with alternative text that says what is seen."""
    png = io.BytesIO()
    figure.savefig(png, dpi=110, facecolor="white", metadata={"Software": None})
    display(Image(png.getvalue(), alt=alt))


def save(figure, path):
    """Writes an SVG without date, version or random ids: the same figure gives the same bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "tra_mini", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})

"""One function a figure; one colour, marker and line style a mechanism, the same everywhere."""

import io
from pathlib import Path

import matplotlib
from IPython.display import Image, display
from matplotlib.figure import Figure

from tra_mini.experiments import SPLITS, TRAINING

STYLE = {  # Okabe and Ito's colours; marker and line tell mechanisms apart in greyscale
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
}
RIVALS = ("tra", "fox", "alibi", "cope", "rope", "sinusoidal", "nope")
GRID = {  # the ablation: rows by removal, columns by distance
    "nothing removed": {
        "no distance": "nope",
        "raw": "distance_only",
        "contextual": "contextual_only",
    },
    "score ≤ 0 removed": {
        "no distance": "sparsity_only",
        "raw": "sparsity_raw",
        "contextual": "tra",
    },
}
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
    ax.set_ylim(-0.04, 1.06)
    ax.axvline(TRAINING["length"], color="0.5", linestyle=":", linewidth=1)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.set_title(title)


def draw_seeds(ax, runs, split, mechanism, colour, marker, line, label):
    """A faint line for every seed of a mechanism, and a marked line through the worst at each length."""
    curves = [curve(run, split) for run in runs if run["config"]["mechanism"] == mechanism]
    for lengths, values in curves:
        ax.plot(lengths, values, color=colour, linestyle=line, linewidth=0.8, alpha=0.45)
    worst = [min(values) for values in zip(*(values for _, values in curves), strict=True)]
    ax.plot(curves[0][0], worst, color=colour, marker=marker, linestyle=line, label=label)


def seeds_of(runs):
    return len({run["config"]["seed"] for run in runs})


def length_generalisation(runs, mechanisms=RIVALS, splits=tuple(SPLITS)):
    """Exact match against length, a panel a split: a faint line for every seed, the marked line for the worst."""
    figure = Figure(figsize=(3.6 * len(splits), 4.2), layout="constrained")
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for ax, split in zip(axes, splits, strict=True):
        draw_lengths(ax, SPLIT_TITLE[split])
        for mechanism in reversed(mechanisms):
            label, colour, marker, line = STYLE[mechanism]
            draw_seeds(ax, runs, split, mechanism, colour, marker, line, label)
        ax.set_xlabel("length (tokens)")
    axes[0].set_ylabel("sequences without an error (share)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="outside lower center",
        ncols=len(mechanisms),
        frameon=False,
    )
    figure.suptitle(
        f"Flip-flops, trained at {TRAINING['length']} tokens (dotted); {seeds_of(runs)} seeds: faint lines"
        " each, marked line the worst at each length"
    )
    return figure


def ablation(runs):
    """Removal (rows) by distance (columns): the worst of all seeds against length, a line a split."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    lines = {
        "in_distribution": ("#009E73", "o", "-"),
        "sparse": ("#D55E00", "s", "--"),
        "dense": ("#0072B2", "^", ":"),
    }
    for row, (removal, by_distance) in zip(axes, GRID.items(), strict=True):
        row[0].set_ylabel(f"{removal}\n\nexact match (share)")
        for ax, (distance, mechanism) in zip(row, by_distance.items(), strict=True):
            draw_lengths(ax, f"{distance}: {STYLE[mechanism][0]}")
            for split, (colour, marker, line) in lines.items():
                draw_seeds(ax, runs, split, mechanism, colour, marker, line, SPLIT_TITLE[split])
    for ax in axes[-1]:
        ax.set_xlabel("length (tokens)")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    figure.suptitle(
        f"Removal by distance, {seeds_of(runs)} seeds: faint lines each, marked line the worst"
    )
    return figure


def cost(table):
    """Time and memory of one attention layer against length: the literal TRA, ours, and fused softmax attention."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = {
        "forward_ms": "forward (ms)",
        "both_ms": "forward and backward (ms)",
        "memory_mb": "extra memory, forward (MB)",
    }
    styles = {
        "naive": ("#000000", "x", ":"),
        "blocked": ("#D55E00", "o", "-"),
        "fused": ("#0072B2", "s", "--"),
    }
    labels = {
        "naive": "TRA, whole matrix, literally",
        "blocked": "TRA, ours",
        "fused": "softmax, torch's fused",
    }
    for ax, (quantity, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for form, (colour, marker, line) in styles.items():
            points = [
                (row["T"], row[quantity])
                for row in table
                if row["form"] == form and row.get(quantity)
            ]
            ax.plot(
                *zip(*points, strict=True),
                color=colour,
                marker=marker,
                linestyle=line,
                label=labels[form],
            )
        ax.set(xscale="log", yscale="log", xlabel="length T (tokens)", title=title)
        ax.set_xscale("log", base=2)
        ax.grid(color="0.92")
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def show(figure, alt):
    """Displays a figure in a notebook as a PNG with alternative text, which says what is to be seen."""
    png = io.BytesIO()
    figure.savefig(png, dpi=110, facecolor="white", metadata={"Software": None})
    display(Image(png.getvalue(), alt=alt))


def save(figure, path):
    """Writes an SVG without a date, a version or random ids, so that redrawing the same figure leaves the same bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "tra_mini", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})

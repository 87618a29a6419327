"""One function a figure, each drawn from stored results; redraw() draws them all."""

import json
from collections import Counter
from functools import partial

from matplotlib.figure import Figure

from experiments.compute import stored
from experiments.grids import HEADLINE, SPLITS
from experiments.results import RESULTS, by_seed, write
from tra_mini import plots
from tra_mini.plots import STYLE

TRAINING_LENGTH = 64
ORDER = (  # of mechanisms in figures and legends
    *("tra", "fox", "alibi", "cope", "rope", "sinusoidal", "nope"),
    *("contextual_only", "distance_only", "sparsity_raw", "sparsity_only"),
    *("ssmax", "entmax", "stick_breaking", "lstm"),
)
RIVALS = tuple(name for name in ORDER if "only" not in name and name != "sparsity_raw")
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
    ax.axvline(TRAINING_LENGTH, color="0.5", linestyle=":", linewidth=1)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.set_title(title, fontsize=11)


def draw_seeds(ax, runs, split, mechanism, colour, marker, line, label):
    """A faint line for every seed of a mechanism, a marked one for the worst at each length."""
    curves = [curve(run, split) for run in runs if run["config"]["mechanism"] == mechanism]
    for lengths, values in curves:
        ax.plot(lengths, values, color=colour, linestyle=line, linewidth=0.8, alpha=0.45)
    worst = [min(values) for values in zip(*(values for _, values in curves), strict=True)]
    ring = {}
    if mechanism == "tra":  # an open ring hides no other marker
        ring = {"markersize": 10, "fillstyle": "none"}
    ax.plot(curves[0][0], worst, color=colour, marker=marker, linestyle=line, label=label, **ring)


def finish(figure, title, runs, columns):
    """The title, which says what the lines are, and the legend below all panels."""
    counts = Counter(run["config"]["mechanism"] for run in runs)
    seeds = " or ".join(str(count) for count in sorted(set(counts.values()), reverse=True))
    figure.suptitle(
        f"{title}, trained at {TRAINING_LENGTH} tokens (dotted). Faint lines: each of {seeds}"
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


def headline(runs):
    """length_generalisation of the mechanisms that `make reproduce` computes."""
    return length_generalisation(runs, HEADLINE)


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


COST_PANELS = {
    "forward_ms": "forward (ms)",
    "both_ms": "forward and backward (ms)",
    "memory_mb": "extra memory, forward (MB)",
}
COST_FORMS = {
    "naive": ("#000000", "x", ":", "TRA to the letter, whole matrix"),
    "blocked": ("#D55E00", "o", "-", "TRA in blocks of rows, ours"),
    "early": ("#CC79A7", "D", "-.", "TRA stopping early, ours"),
    "fused": ("#0072B2", "s", "--", "plain softmax, torch's fused kernel"),
}


def cost(table):
    """Time and memory of an attention layer against length; table: see benchmark.py."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, (quantity, title) in zip(axes, COST_PANELS.items(), strict=True):
        for form, (colour, marker, line, label) in COST_FORMS.items():
            rows = [row for row in table if row["form"] == form and row[quantity]]
            lengths = [row["T"] for row in rows]
            values = [row[quantity] for row in rows]
            ax.plot(lengths, values, color=colour, marker=marker, linestyle=line, label=label)
        ax.set(yscale="log", xlabel="length T (tokens)", title=title)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.grid(color="0.92")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def tasks(runs):
    """A panel a task: the worst seed's share of correct answers, mechanisms by lengths."""
    values = by_seed(runs, "per_read")
    panels = dict.fromkeys(task for task, _, _ in values)
    computed = {mechanism for _, mechanism, _ in values}
    names = [name for name in ORDER if name in computed]
    figure = Figure(figsize=(12.6, 9.2), layout="constrained")
    axes = figure.subplots(2, len(panels) // 2, sharey=True)
    for ax, task in zip(axes.flat, panels, strict=True):
        lengths = sorted({length for where, _, length in values if where == task})
        worst = [[min(values[task, name, length]) for length in lengths] for name in names]
        ax.imshow(worst, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for row, shares in enumerate(worst):
            for column, share in enumerate(shares):
                colour = "black" if share > 0.5 else "white"
                ax.text(column, row, cell(share), ha="center", va="center", color=colour)
        ax.set_xticks(range(len(lengths)), lengths)
        ax.set_yticks(range(len(names)), [STYLE[name][0] for name in names])
        ax.set_title(task.replace("_", " "))
        ax.set_xlabel("length (tokens)")
    figure.suptitle("Share of right answers, worst seed; training ended at the shortest length")
    return figure


def cell(share):
    """A share as two digits, of which 1.00 means: without an error."""
    shown = f"{share:.2f}"
    return "<1" if shown == "1.00" and share < 1 else shown


def language(runs):
    """Bits a byte by the length of context, worst seed; at the longest by position, first seed."""
    values = by_seed(runs, "bits_per_byte")
    computed = {mechanism for _, mechanism, _ in values}
    lengths = sorted({length for _, _, length in values})
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    by_length, by_position = figure.subplots(1, 2, sharey=True)
    lowest = []
    for name in ORDER:
        if name not in computed:
            continue
        label, colour, marker, line = STYLE[name]
        style = {"color": colour, "marker": marker, "linestyle": line, "label": label}
        worst = [max(values["text", name, length]) for length in lengths]
        by_length.plot(lengths, worst, **style)
        first_run = next(run for run in runs if run["config"]["mechanism"] == name)
        firsts, _, bits = zip(*first_run["rows"][-1]["by_position"], strict=True)
        by_position.plot(firsts, bits, **style)
        lowest.append(min(worst))
    seed = first_run["config"]["seed"]
    by_length.set_xlabel("all, worst seed, by the length of context (bytes)")
    by_position.set_xlabel(f"at {lengths[-1]:,}, seed {seed}, by the bytes before")
    for ax in (by_length, by_position):
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.axvline(lengths[0], color="0.5", linestyle=":", linewidth=1)
        ax.grid(color="0.92")
    by_length.set_ylim(min(lowest) - 0.15, min(lowest) + 2.2)
    by_length.set_ylabel("bits a byte (less is better)")
    figure.suptitle(
        f"Unseen source code, trained on {lengths[0]} bytes (dotted); what leaves goes on upwards"
    )
    handles, labels = by_length.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


FIGURES = {  # file: the results that it is drawn from, and how
    "headline.svg": ("headline", headline),
    "length_generalisation.svg": ("flip_flop", length_generalisation),
    "ablation.svg": ("flip_flop", ablation),
    "cost.svg": ("cost", cost),
    "tasks.svg": ("tasks", tasks),
    "language.svg": ("language", language),
}


def read(name):
    """What a figure is drawn from: the runs of an experiment, or the table of the benchmark."""
    if name == "cost":
        return json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))["table"]
    return stored(name)


def redraw():
    """Redraws every figure whose results are complete -> the files drawn. No training."""
    drawn = []
    for file, (name, draw) in FIGURES.items():
        path = RESULTS.parent / file
        try:
            figure = draw(read(name))
        except FileNotFoundError:
            continue  # computed on the reader's machine, and not yet
        except (LookupError, ValueError) as error:
            print(f"not drawn: {file}; the runs of {name} are not all there ({error!r})")
            continue
        write(path, partial(plots.save, figure))
        drawn.append(path)
    return drawn

"""One function a figure, each drawn from stored results; redraw() draws them all."""

import json
import math
from collections import Counter
from functools import partial

from matplotlib.figure import Figure

from experiments.compute import stored, stored_in_favour
from experiments.grids import HEADLINE, SPLITS
from experiments.results import RESULTS, by_seed, write
from tra_mini import plots
from tra_mini.plots import STYLE

TRAINING_LENGTH = 64
ORDER = (  # of mechanisms in figures and legends
    *("tra", "tra_low_threshold", "fox", "alibi", "cope", "rope", "sinusoidal", "nope"),
    *("contextual_only", "distance_only", "sparsity_raw", "sparsity_only"),
    *("ssmax", "entmax", "asentmax", "stick_breaking", "stick_breaking_whole", "lstm"),
)
LEARNED_SHARE = 0.99  # of answers correct at the training length: a harder task counts as learned
FIVE = ("tra", "fox", "alibi", "rope", "nope")
DISTANCES = ("no distance", "raw distance", "counted distance")
ABLATION = {  # a row of the figure by removal: a mechanism for each of the DISTANCES
    "nothing removed": ("nope", "distance_only", "contextual_only"),
    "scores ≤ 0 removed": ("sparsity_only", "sparsity_raw", "tra"),
}
NAMED = {"nope": " (NoPE)", "tra": " (TRA)"}  # the cells that have a name of their own
SPLIT_STYLE = (("#000000", "o", "-"), ("#8C8C8C", "s", "--"), ("#8E24AA", "^", ":"))
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


def draw_seeds(ax, runs, split, mechanism, colour, marker, line, label, summary=min):
    """A faint line for every seed of a mechanism, a marked one for the worst at each length.

    summary: what the marked line shows of the seeds' values. Returns its values.
    """
    curves = [curve(run, split) for run in runs if run["config"]["mechanism"] == mechanism]
    for lengths, values in curves:
        ax.plot(lengths, values, color=colour, linestyle=line, linewidth=0.8, alpha=0.45)
    marked = [summary(values) for values in zip(*(values for _, values in curves), strict=True)]
    emphasis = {}
    if mechanism == "tra":  # an open ring hides no other marker
        emphasis = {"markersize": 9, "fillstyle": "none", "linewidth": 2.5}
    ax.plot(
        curves[0][0], marked, color=colour, marker=marker, linestyle=line, label=label, **emphasis
    )
    return marked


def label_ends(ax, ends):
    """Writes each label at the end of its line, moved apart where lines meet.

    ends: (value, label, colour) for each line.
    """
    bottom, top = ax.get_ylim()
    gap = 0.07 * (top - bottom)
    place = -math.inf
    for value, label, colour in sorted(ends):
        place = max(value, place + gap)
        ax.annotate(
            label,
            (1.02, place),
            xycoords=("axes fraction", "data"),
            color=colour,
            va="center",
            fontsize=10,
        )


def seeds_of(runs):
    """How many seeds a mechanism has, in words: "5", or "5 or 3"."""
    counts = Counter(run["config"]["mechanism"] for run in runs)
    return " or ".join(str(count) for count in sorted(set(counts.values()), reverse=True))


def length_generalisation(runs, mechanisms=FIVE, splits=tuple(SPLITS)):
    """Exact match against length, a panel a split, a line a mechanism."""
    runs = [run for run in runs if run["config"]["mechanism"] in mechanisms]
    figure = Figure(figsize=(4.2 * len(splits), 3.8), layout="constrained")
    axes = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]

    # A panel for each kind of strings; the lines are named at their ends.
    for ax, split in zip(axes, splits, strict=True):
        draw_lengths(ax, SPLIT_TITLE[split])
        ends = []
        for mechanism in reversed(mechanisms):
            label, colour, marker, line = STYLE[mechanism]
            worst = draw_seeds(ax, runs, split, mechanism, colour, marker, line, label)
            ends.append((worst[-1], label, colour))
        label_ends(ax, ends)
        ax.set_xlabel("length (tokens)")

    # What all panels share.
    axes[0].set_ylabel("strings without an error (share)")
    figure.suptitle(
        f"Vertical line: the training length, {TRAINING_LENGTH} tokens. Marked lines: at each"
        f" length the worst of {seeds_of(runs)} seeds; faint lines: each seed"
    )
    return figure


def headline(runs):
    """length_generalisation of the mechanisms that `make reproduce` computes."""
    return length_generalisation(runs, HEADLINE)


def mechanisms(runs):
    """Exact match of every mechanism, a panel each: a line a split; pale: the others, sparse."""
    names = [name for name in ORDER if any(run["config"]["mechanism"] == name for run in runs)]
    values = by_seed(runs, "exact_match")

    # A grid with a panel for each mechanism; what is left of the last row stays empty.
    columns = 4
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(9.6, 2.1 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, names, strict=False):
        draw_lengths(ax, STYLE[name][0])

        # In the background, how all others fare on sparse strings.
        lengths, _ = curve(runs[0], "sparse")
        for other in names:
            pale = [min(values["sparse", other, length]) for length in lengths]
            [pale_line] = ax.plot(lengths, pale, color="0.85", linewidth=1, zorder=1)
        pale_line.set_label("sparse, the other mechanisms")

        # In front, this mechanism on each kind of strings.
        for split, (colour, marker, line) in zip(SPLITS, SPLIT_STYLE, strict=True):
            worst = [min(values[split, name, length]) for length in lengths]
            ax.plot(
                lengths,
                worst,
                color=colour,
                marker=marker,
                linestyle=line,
                markersize=5,
                label=SPLIT_TITLE[split],
            )
        ax.set_xticks(lengths[::3])

    # Labels, and one legend for all panels.
    for ax in axes.flat[len(names) - columns : len(names)]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    figure.supxlabel("length (tokens)", fontsize=10)
    share = f"strings without an error (share), at each length the worst of {seeds_of(runs)} seeds"
    figure.supylabel(share, fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def ablation(runs):
    """Exact match against length: rows by removal, columns by distance, a line a split."""
    taken_apart = [name for names in ABLATION.values() for name in names]
    runs = [run for run in runs if run["config"]["mechanism"] in taken_apart]
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)

    # A row with and without removal, a column for each way of counting distance.
    for row, (removal, names) in zip(axes, ABLATION.items(), strict=True):
        row[0].set_ylabel("strings without an error")
        for ax, distance, name in zip(row, DISTANCES, names, strict=True):
            draw_lengths(ax, f"{removal},\n{distance}{NAMED.get(name, '')}")
            for split, style in zip(SPLITS, SPLIT_STYLE, strict=True):
                draw_seeds(ax, runs, split, name, *style, SPLIT_TITLE[split])

    # What all panels share.
    for ax in axes[-1]:
        ax.set_xlabel("length (tokens)")
    figure.suptitle(
        f"Marked lines: at each length the worst of {seeds_of(runs)} seeds; faint lines: each seed"
    )
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


COST_PANELS = {
    "forward_ms": "forward (ms)",
    "both_ms": "forward and backward (ms)",
    "memory_mb": "extra memory, forward (MB)",
}
COST_FORMS = {
    "naive": ("#000000", "x", ":", "TRA written out, whole matrix"),
    "blocked": ("#D55E00", "o", "-", "TRA in blocks of rows, ours"),
    "early": ("#CC79A7", "D", "-.", "TRA stopping early, ours"),
    "fused": ("#0072B2", "s", "--", "plain softmax, torch's fused kernel"),
}


def cost(table):
    """Time and memory of an attention layer against length; table: see benchmark.py."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)

    # A panel for each quantity, a line for each way of computing.
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

    # One legend for all panels.
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def learned(values, task, name):
    """Whether every seed of a mechanism answers 0.99 of a task at the training length.

    values: {(task, mechanism, length): the share of correct answers of each seed}.
    """
    shortest = min(n for where, who, n in values if (where, who) == (task, name))
    return min(values[task, name, shortest]) >= LEARNED_SHARE


def tasks(runs):
    """A panel a task: the worst seed's share of correct answers, mechanisms by lengths."""
    values = by_seed(runs, "per_read")
    panels = dict.fromkeys(task for task, _, _ in values)
    computed = {mechanism for _, mechanism, _ in values}
    names = [name for name in ORDER if name in computed]
    figure = Figure(figsize=(12.6, 10), layout="constrained")
    axes = figure.subplots(2, len(panels) // 2, sharey=True)

    # A panel for each task, a row of it for each mechanism.
    for ax, task in zip(axes.flat, panels, strict=True):
        lengths = sorted({length for where, _, length in values if where == task})
        squares = []
        for row, name in enumerate(names):
            worst = [min(values[task, name, length]) for length in lengths]
            if learned(values, task, name):
                squares.append(worst)
                for column, share in enumerate(worst):
                    colour = "black" if share > 0.5 else "white"
                    text = rounded_down(share)
                    ax.text(column, row, text, ha="center", va="center", color=colour)
            else:
                squares.append([math.nan] * len(lengths))
                text = f"not learned: {rounded_down(worst[0])}"
                ax.text(len(lengths) / 2 - 0.5, row, text, ha="center", va="center", color="0.4")

        # The colours under the numbers, and the names of rows and columns.
        ax.imshow(squares, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        ax.set_xticks(range(len(lengths)), lengths)
        ax.set_yticks(range(len(names)), [STYLE[name][0] for name in names])
        ax.set_title(task.replace("_", " "))
        ax.set_xlabel("length (tokens)")
    figure.suptitle(
        "Share of correct answers, worst seed; trained at the shortest length of each panel"
    )
    return figure


def rounded_down(share):
    """A share as two digits: 1.00 means without an error."""
    return f"{math.floor(100 * share + 1e-9) / 100:.2f}"


def language(runs):
    """Bits per byte by length of context, worst seed; by position at the longest, first seed."""
    values = by_seed(runs, "bits_per_byte")
    lengths = sorted({length for _, _, length in values})
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    by_length, by_position = figure.subplots(1, 2, sharey=True)
    length_ends = []
    position_ends = []

    # A line for each mechanism in both panels.
    for name in reversed(FIVE):
        label, colour, marker, line = STYLE[name]
        style = {"color": colour, "marker": marker, "linestyle": line, "label": label}
        worst = [max(values["text", name, length]) for length in lengths]
        by_length.plot(lengths, worst, **style)
        length_ends.append((worst[-1], label, colour))
        first_run = next(run for run in runs if run["config"]["mechanism"] == name)
        firsts, _, bits = zip(*first_run["rows"][-1]["by_position"], strict=True)
        by_position.plot(firsts, bits, **style)
        position_ends.append((bits[-1], label, colour))

    # Axes; the lines are named at their ends.
    by_length.set_title("by the length of the context, worst seed", fontsize=11)
    by_length.set_xlabel("context (bytes)")
    by_position.set_title(f"in a context of {lengths[-1]:,}, by position, one seed", fontsize=11)
    by_position.set_xlabel("bytes before the one that is predicted")
    for ax, ends in ((by_length, length_ends), (by_position, position_ends)):
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.axvline(lengths[0], color="0.5", linestyle=":", linewidth=1)
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
        label_ends(ax, ends)
    by_length.set_ylabel("bits per byte (less is better)")
    figure.suptitle(f"Unseen source code, trained on {lengths[0]} bytes at a time (dotted)")
    return figure


FIGURES = {  # file: the results that it is drawn from, and how
    "headline.svg": ("headline", headline),
    "length_generalisation.svg": ("in favour", length_generalisation),
    "mechanisms.svg": ("flip_flop", mechanisms),
    "ablation.svg": ("flip_flop", ablation),
    "cost.svg": ("cost", cost),
    "tasks.svg": ("tasks", tasks),
    "language.svg": ("language", language),
}


def read(name):
    """What a figure is drawn from: runs of experiments, or the table of the benchmark."""
    if name == "cost":
        return json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))["table"]
    if name == "in favour":
        return stored_in_favour()
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

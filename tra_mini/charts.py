"""The figures that are not about length alone: cost, the harder tasks, language."""

from matplotlib.figure import Figure

from tra_mini.plots import STYLE
from tra_mini.results import by_seed


def cost(table):
    """Time and memory of an attention layer against length; table: see tools/benchmark.py."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = {
        "forward_ms": "forward (ms)",
        "both_ms": "forward and backward (ms)",
        "memory_mb": "extra memory, forward (MB)",
    }
    forms = {
        "naive": ("#000000", "x", ":", "TRA to the letter, whole matrix"),
        "blocked": ("#D55E00", "o", "-", "TRA in blocks of rows, ours"),
        "early": ("#CC79A7", "D", "-.", "TRA stopping early, ours"),
        "fused": ("#0072B2", "s", "--", "plain softmax, torch's fused kernel"),
    }
    for ax, (quantity, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for form, (colour, marker, line, label) in forms.items():
            rows = [row for row in table if row["form"] == form and row[quantity]]
            lengths, values = [row["T"] for row in rows], [row[quantity] for row in rows]
            ax.plot(lengths, values, color=colour, marker=marker, linestyle=line, label=label)
        ax.set(yscale="log", xlabel="length T (tokens)", title=title)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.grid(color="0.92")
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def tasks(runs):
    """A panel a task: the worst seed's share of right answers, mechanisms by lengths."""
    values = by_seed(runs, "per_read")
    panels = dict.fromkeys(task for task, _, _ in values)
    names = [name for name in STYLE if name in {mechanism for _, mechanism, _ in values}]
    figure = Figure(figsize=(12.6, 9.2), layout="constrained")
    axes = figure.subplots(2, len(panels) // 2, sharey=True)
    for ax, task in zip(axes.flat, panels, strict=True):
        lengths = sorted({length for where, _, length in values if where == task})
        worst = [[min(values[task, name, length]) for length in lengths] for name in names]
        ax.imshow(worst, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for row, shares in enumerate(worst):
            for column, share in enumerate(shares):
                shown = f"{share:.2f}"
                shown = "<1" if shown == "1.00" and share < 1 else shown  # 1.00: without an error
                colour = "black" if share > 0.5 else "white"
                ax.text(column, row, shown, ha="center", va="center", color=colour)
        ax.set_xticks(range(len(lengths)), lengths)
        ax.set_yticks(range(len(names)), [STYLE[name][0] for name in names])
        ax.set_title(task.replace("_", " "))
        ax.set_xlabel("length (tokens)")
    figure.suptitle("Share of right answers, worst seed; training ended at the shortest length")
    return figure


def language(runs):
    """Bits a byte by the length of context, worst seed; at the longest by position, first seed."""
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    by_length, by_position = figure.subplots(1, 2, sharey=True)
    values, shown = by_seed(runs, "bits_per_byte"), []
    for name in (name for name in STYLE if name in {key[1] for key in values}):
        label, colour, marker, line = STYLE[name]
        style = {"color": colour, "marker": marker, "linestyle": line, "label": label}
        lengths = [length for _, mechanism, length in values if mechanism == name]
        worst = [max(values["text", name, length]) for length in lengths]
        by_length.plot(lengths, worst, **style)
        one = next(run for run in runs if run["config"]["mechanism"] == name)
        firsts, _, bits = zip(*one["rows"][-1]["by_position"], strict=True)
        by_position.plot(firsts, bits, **style)
        shown.append(min(worst))
    for ax, title in (
        (by_length, "all, worst seed, by the length of context (bytes)"),
        (by_position, f"at {lengths[-1]:,}, seed {one['config']['seed']}, by the bytes before"),
    ):
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.axvline(lengths[0], color="0.5", linestyle=":", linewidth=1)
        ax.grid(color="0.92")
        ax.set_xlabel(title)
    by_length.set_ylim(min(shown) - 0.15, min(shown) + 2.2)
    by_length.set_ylabel("bits a byte (less is better)")
    figure.suptitle(
        f"Unseen source code, trained on {lengths[0]} bytes (dotted); what leaves goes on upwards"
    )
    handles = by_length.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False)
    return figure

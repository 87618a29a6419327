"""What all figures share: a look for each mechanism, and a way to show and to save."""

import io

import matplotlib
from IPython.display import display

DPI = 110  # dots an inch of the pictures in notebooks
STYLE = {  # label, colour (Okabe and Ito 2008), marker, line; `experiments` adds the others
    "tra": ("TRA", "#D55E00", "o", "-"),
    "fox": ("FoX", "#0072B2", "s", "-"),
    "alibi": ("ALiBi", "#009E73", "^", "-"),
    "rope": ("RoPE", "#E69F00", "v", "--"),
    "nope": ("NoPE", "#000000", "x", ":"),
}


def check_whole(figure):
    """Raises ValueError if a title, a label or a legend is cut off at the figure's edge."""
    figure.draw_without_rendering()
    left, bottom, right, top = figure.get_tightbbox().extents  # of all that is drawn, in inches
    width, height = figure.get_size_inches()
    if min(left, bottom, width - right, height - top) < -0.01:
        drawn = f"x {left:.2f} to {right:.2f}, y {bottom:.2f} to {top:.2f}"
        raise ValueError(f"figure is drawn over {drawn}; allowed: 0 to {width}, 0 to {height}")


def in_words(figure):
    """A figure's size, titles, labels, legends and lines: nbval compares text, never pictures."""
    width, height = figure.get_size_inches() * DPI
    words = [f"{width:.0f} x {height:.0f} pixels"]
    for axes in figure.axes:
        words += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()]
        words += axes.get_legend_handles_labels()[1]
        points = sum(len(line.get_xdata()) for line in axes.lines)
        words.append(f"{len(axes.lines)} lines with {points} points")
    return "; ".join(filter(None, words))


def show(figure, alt):
    """Displays a figure in a notebook, as a PNG; alt: a text that states what the figure shows."""
    check_whole(figure)
    png = io.BytesIO()
    figure.savefig(png, dpi=DPI, facecolor="white", metadata={"Software": None})
    bundle = {"image/png": png.getvalue(), "text/plain": in_words(figure)}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})


def save(figure, path):
    """Writes an SVG without date, version or random ids: the same figure gives the same bytes."""
    check_whole(figure)
    with matplotlib.rc_context({"svg.hashsalt": "tra_mini", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})

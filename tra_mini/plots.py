"""What all figures share: a look for each mechanism, and a way to show and to save."""

import io

import matplotlib
from IPython.display import Image, display

STYLE = {  # label, colour (Okabe and Ito 2008), marker, line; `experiments` adds the others
    "tra": ("TRA", "#D55E00", "o", "-"),
    "fox": ("FoX", "#0072B2", "s", "-"),
    "alibi": ("ALiBi", "#009E73", "^", "-"),
    "rope": ("RoPE", "#E69F00", "v", "--"),
    "nope": ("NoPE", "#000000", "x", ":"),
}


def show(figure, alt):
    """Displays a figure in a notebook, as a PNG; alt: a text that states what the figure shows."""
    png = io.BytesIO()
    figure.savefig(png, dpi=110, facecolor="white", metadata={"Software": None})
    display(Image(png.getvalue(), alt=alt))


def save(figure, path):
    """Writes an SVG without date, version or random ids: the same figure gives the same bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "tra_mini", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})

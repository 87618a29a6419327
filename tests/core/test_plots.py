"""What all figures share: mechanisms look different, and the same figure is the same bytes."""

import matplotlib
import oracles
import pytest
from matplotlib.figure import Figure

from tra_mini import plots


def small_figure():
    """Two lines with markers, whose shapes an SVG names by ids."""
    figure = Figure(figsize=(3, 2))
    ax = figure.subplots()
    for mechanism in ("tra", "nope"):
        label, colour, marker, line = plots.STYLE[mechanism]
        ax.plot([1, 2, 4], [1.0, 0.5, 0.2], color=colour, marker=marker, ls=line, label=label)
    ax.legend()
    return figure


def test_mechanisms_look_different_even_without_colour():
    """Label, colour, and marker with line style: each alone tells them apart."""
    labels, colours, markers, lines = zip(*map(plots.STYLE.get, oracles.CORE), strict=True)
    n = len(oracles.CORE)
    assert len(set(labels)) == n
    assert len(set(colours)) == n
    assert len(set(zip(markers, lines, strict=True))) == n


def test_the_same_figure_is_saved_as_the_same_bytes(tmp_path):
    """Drawn twice: equal files, with neither date nor version in them."""
    plots.save(small_figure(), tmp_path / "one.svg")
    plots.save(small_figure(), tmp_path / "other.svg")
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "other.svg").read_text(encoding="utf-8")
    assert "<svg" in text
    assert "<dc:date>" not in text
    assert matplotlib.__version__ not in text
    assert "<text" not in text  # letters are drawn as paths: no font is needed to read them


def test_save_leaves_matplotlibs_settings_alone(tmp_path):
    """What is drawn afterwards is drawn as before."""
    before = dict(matplotlib.rcParams)
    plots.save(small_figure(), tmp_path / "figure.svg")
    assert dict(matplotlib.rcParams) == before


@pytest.fixture
def images(monkeypatch):
    """The list of what plots.show displays."""
    log = []
    monkeypatch.setattr(plots, "display", log.append)
    return log


def test_show_displays_a_png_with_its_description(images):
    """The alt text is kept; the same figure gives the same bytes, without a version in them."""
    plots.show(small_figure(), "TRA above NoPE")
    plots.show(small_figure(), "TRA above NoPE")
    first, second = images
    assert first.alt == "TRA above NoPE"
    assert first.data.startswith(b"\x89PNG")
    assert first.data == second.data
    assert matplotlib.__version__.encode() not in first.data

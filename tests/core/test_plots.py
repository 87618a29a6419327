"""What all figures share: mechanisms look different, and the same figure is the same bytes."""

import matplotlib
import oracles
import pytest
from matplotlib.figure import Figure

from tra_mini import plots


def small_figure():
    """Two lines with markers, whose shapes an SVG names by ids."""
    figure = Figure(figsize=(4, 3))
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


# What a notebook shows


@pytest.fixture
def bundles(monkeypatch):
    """The list of what plots.show displays: its data and metadata."""
    log = []
    monkeypatch.setattr(plots, "display", lambda data, raw, metadata: log.append((data, metadata)))
    return log


def test_show_displays_a_png_with_its_description(bundles):
    """The alt text is kept; the same figure gives the same bytes, without a version in them."""
    plots.show(small_figure(), "TRA above NoPE")
    plots.show(small_figure(), "TRA above NoPE")
    first, second = bundles
    data, metadata = first
    assert metadata == {"image/png": {"alt": "TRA above NoPE"}}
    assert data["image/png"].startswith(b"\x89PNG")
    assert first == second
    assert matplotlib.__version__.encode() not in data["image/png"]


def test_show_says_in_words_what_the_picture_holds(bundles):
    """Its size, title, labels, legend and numbers of points: whatever changes, the words change."""

    def words(change):
        figure = small_figure()
        ax = figure.axes[0]
        ax.set(title="Weights", xlabel="tokens", ylabel="weight")
        change(figure, ax)
        figure.set_layout_engine("constrained")
        plots.show(figure, "TRA above NoPE")
        return bundles[-1][0]["text/plain"]

    before = words(lambda figure, ax: None)
    assert before == "440 x 330 pixels; Weights; tokens; weight; TRA; NoPE; 2 lines with 6 points"
    changes = [
        lambda figure, ax: figure.set_size_inches(5, 3),
        lambda figure, ax: ax.set_title("Scores"),
        lambda figure, ax: ax.set_xlabel("seconds"),
        lambda figure, ax: ax.set_ylabel("share"),
        lambda figure, ax: ax.lines[0].set_label("FoX"),
        lambda figure, ax: ax.lines[0].remove(),
        lambda figure, ax: ax.lines[0].set_data([1, 2], [0, 1]),
        lambda figure, ax: ax.plot([1, 2], [0, 1]),
        lambda figure, ax: ax.twinx().set_ylabel("seconds"),
    ]
    assert len({before, *map(words, changes)}) == 1 + len(changes)


def title_too_long(figure, ax):
    ax.set_title("What removal does, and what counted distance does, on three kinds of strings")


def label_outside(figure, ax):
    ax.set_xlabel("tokens", labelpad=60)


def legend_outside(figure, ax):
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def text_outside(figure, ax):
    ax.text(4, 1.0, "only TRA stays at one")


@pytest.mark.parametrize("fault", [title_too_long, label_outside, legend_outside, text_outside])
def test_what_is_cut_off_is_refused(fault, bundles, tmp_path):
    """Planted in a figure that is shown and saved without it; nothing is written."""
    plots.show(small_figure(), "TRA above NoPE")
    figure = small_figure()
    fault(figure, figure.axes[0])
    message = "^figure is drawn over x .*; allowed: 0 to 4.0, 0 to 3.0$"
    with pytest.raises(ValueError, match=message):
        plots.show(figure, "TRA above NoPE")
    with pytest.raises(ValueError, match="^figure is drawn over"):
        plots.save(figure, tmp_path / "figure.svg")
    assert len(bundles) == 1
    assert list(tmp_path.iterdir()) == []

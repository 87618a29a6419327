"""The slides: every one of them, drawn by a real browser, fits its screen and needs no network."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import slides as tool

BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
SMALLEST = 0.7  # how far a slide's text may be set smaller to fit
PROBE = """<!DOCTYPE html><iframe src="{page}" style="border: 0; width: 1280px; height: 720px">
</iframe><script>addEventListener("load", () => {{
  const inside = document.querySelector("iframe").contentWindow, page = inside.document;
  const found = [];
  page.querySelectorAll(".slides > section").forEach((column, h) => {{
    column.querySelectorAll(":scope > section").forEach((slide, v) => {{
      inside.Reveal.slide(h, v);
      const fit = slide.querySelector(".fit");
      fit.querySelectorAll("details").forEach(details => details.open = true);
      const boxes = [...fit.querySelectorAll("*")].map(part => part.getBoundingClientRect());
      const scrolls = [...fit.querySelectorAll("pre, table")].filter(
        part => part.scrollWidth > part.clientWidth + 1 && part.tagName == "PRE");
      found.push({{
        slide: h + "/" + v, zoom: +fit.style.zoom, text: fit.innerText.slice(0, 60),
        top: Math.min(...boxes.map(box => box.top)), left: Math.min(...boxes.map(box => box.left)),
        right: Math.max(...boxes.map(box => box.right)), scrolls: scrolls.length,
        bottom: Math.max(...boxes.map(box => box.bottom)),
        formulas: fit.querySelectorAll("math").length,
        empty: !fit.innerText.trim() && !fit.querySelector("img"),
        broken: [...fit.querySelectorAll("img")].filter(image => !image.naturalWidth).length,
      }});
    }});
  }});
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(found);
}});</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The slides of our own notebooks."""
    if not importlib.util.find_spec("sphinx_revealjs"):
        pytest.skip("reveal.js is not installed ([slides])")
    return tool.main(tmp_path_factory.mktemp("slides"))


def look(page):
    """What a headless browser of 1280 x 720 finds on each slide of a page."""
    probe = page.with_name("probe.html")
    probe.write_text(PROBE.format(page=page.name))
    command = [BROWSER, "--headless", "--no-sandbox", "--no-first-run", "--disable-gpu"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={page.parent / 'profile'}"]
    command += ["--allow-file-access-from-files", "--dump-dom", probe.as_uri()]
    shown = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    found = BeautifulSoup(shown.stdout, "html.parser").find("pre")
    assert found, f"the browser showed nothing:\n{shown.stderr[-2000:]}"
    return json.loads(found.text)


def faults(found):
    """What is wrong with a slide, as a browser found it."""
    within = found["top"] >= 0 and found["left"] >= 0
    within = within and found["right"] <= 1280 and found["bottom"] <= 720
    kinds = {
        "overflows": not within,
        "cut": found["scrolls"] > 0,
        "too small": found["zoom"] < SMALLEST,
        "broken picture": found["broken"] > 0,
        "empty": found["empty"],
    }
    return [kind for kind, wrong in kinds.items() if wrong]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")
def test_nothing_overflows_on_any_slide(pages):
    """And this test would notice: slides of too much text, of a wide picture, of nothing."""
    for page in pages:
        slides = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        found = look(page)
        assert len(found) == len(slides.select(".slides > section > section")) >= 15
        assert sum(one["formulas"] for one in found) == len(slides.select(".fit math"))
        assert [(page.name, one, faults(one)) for one in found if faults(one)] == []
    crowded = page.with_name("crowded.html")
    text = page.read_text(encoding="utf-8")
    more = "<section><section><div class='fit'>" + "<p>too much</p>" * 60 + "</div></section>"
    wide = "<section><div class='fit'><div style='width: 5000px'>wide</div></div></section>"
    begin = '<div class="slides">'
    crowded.write_text(
        text.replace(
            begin,
            f"{begin}{more}{wide}<section><div class='fit'><p></p></div></section></section>",
            1,
        )
    )
    assert [faults(one) for one in look(crowded)[:4]] == [
        ["overflows", "too small"],
        ["overflows", "too small"],
        ["empty"],
        [],
    ]


def test_slides_refer_to_nothing_remote(pages):
    """Scripts, styles and pictures are in the page; only what a reader clicks leads out."""
    for page in pages:
        slides = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for element in slides.select("[src], link, iframe, object"):
            address = element.get("src") or element.get("href") or ""
            assert address.startswith("data:"), (page.name, element)
        assert not re.search(r"url\(['\"]?(?!data:)", str(slides.find_all("style")))
        for link in slides.select(".slides a"):
            assert link["href"].startswith("https://")
        assert slides.select("aside.notes") and "xFORMULA" not in slides.text
        for text in slides.select_one(".slides").find_all(string=re.compile(r"\$")):
            assert text.find_parent(["code", "pre"]), text


def test_every_cell_of_our_notebooks_has_a_slide_type():
    """If this fails: python tools/slides.py mark."""
    for number in tool.NUMBERS:
        [path] = tool.NOTEBOOKS.glob(f"{number}_*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells:
            kind = cell.metadata.get("slideshow", {}).get("slide_type")
            assert kind in ("slide", "subslide", "fragment", "-", "notes", "skip"), cell.source


def small():
    """A notebook of each kind of cell."""
    png = new_output("display_data", {"image/png": "iVBORw0KGgo="})
    printed = new_output("stream", text="1\n")
    return new_notebook(
        cells=[
            new_markdown_cell("# A title\n\nAnd a sentence."),
            new_code_cell("import math"),
            new_code_cell("def shown():\n    pass"),
            new_markdown_cell("For the speaker."),
            new_markdown_cell("$$x$$"),
            new_code_cell("print(1)", outputs=[printed]),
            new_code_cell(
                "a = 1\nb = 2\nassert a\nc = 3\nfigure = Figure()\nshow(figure)", outputs=[png]
            ),
            new_markdown_cell("*The finding.*\n\nMore.\n\n> **Predict.** Why?\n\n## Next\n\nText."),
            new_markdown_cell(
                "## What was shown\n\n- A.\n\n## Exercises\n\n1. B.\n\n## Sources\n\nC."
            ),
        ]
    )


def test_marking_gives_each_kind_of_cell_its_type_and_touches_nothing_else():
    """What somebody chose stays."""
    notebook, before = small(), small()
    notebook.cells[3].metadata["slideshow"] = {"slide_type": "fragment"}
    assert tool.mark(notebook) == 8 and tool.mark(notebook) == 0
    kinds = [cell.metadata.slideshow.slide_type for cell in notebook.cells]
    expected = [
        "slide",
        "skip",
        "skip",
        "fragment",
        "subslide",
        "subslide",
        "subslide",
        "-",
        "slide",
    ]
    assert kinds == expected
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in before.cells]


def test_a_cell_becomes_what_an_audience_needs_of_it():
    """A figure without the code that draws it, the finding without the rest, no exercises."""
    notebook = small()
    tool.mark(notebook)
    code, figure = tool.parts(notebook.cells[6])
    assert code[1].source == "a = 1\nb = 2\nc = 3" and not code[1].outputs
    assert figure[1].metadata.transient == tool.HIDDEN and figure[1].outputs
    texts = [(kind, cell.source) for kind, cell in tool.parts(notebook.cells[7])]
    assert texts == [
        ("-", "*The finding.*"),
        ("notes", "More."),
        ("subslide", "> **Predict.** Why?"),
        ("slide", "## Next\n\nText."),
    ]
    [(kind, cell)] = tool.parts(notebook.cells[8])
    assert (kind, cell.source) == ("slide", "## What was shown\n\n- A.")

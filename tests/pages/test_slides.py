"""The slides: every one of them, drawn by a real browser, fits its screen and needs no network."""

import copy
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import slides as tool

BROWSERS = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
BROWSER = next(filter(None, BROWSERS), None)
SMALLEST = 0.7  # how far a slide's text may be set smaller to fit
PROBE = """<!DOCTYPE html><iframe src="{page}" style="border: 0; width: 1280px; height: 720px">
</iframe><script>addEventListener("load", () => {{
  const inside = document.querySelector("iframe").contentWindow, page = inside.document;
  const findings = [];
  page.querySelectorAll(".slides > section").forEach((column, h) => {{
    column.querySelectorAll(":scope > section").forEach((slide, v) => {{
      inside.Reveal.slide(h, v);
      const fit = slide.querySelector(".fit");
      fit.querySelectorAll("details").forEach(details => details.open = true);
      const boxes = [...fit.querySelectorAll("*")].map(part => part.getBoundingClientRect());
      const scrolls = [...fit.querySelectorAll("pre, table")].filter(
        part => part.scrollWidth > part.clientWidth + 1 && part.tagName == "PRE");
      findings.push({{
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
  document.querySelector("pre").textContent = JSON.stringify(findings);
}});</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The slides of our own notebooks."""
    pytest.importorskip("sphinx_revealjs", reason="reveal.js is not installed ([slides])")
    return tool.write_slides(tmp_path_factory.mktemp("slides"), "explore.html")


def look(page):
    """What a headless browser of 1280 x 720 finds on each slide of a page."""
    probe = page.with_name("probe.html")
    probe.write_text(PROBE.format(page=page.name), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--no-first-run", "--disable-gpu"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={page.parent / 'profile'}"]
    command += ["--allow-file-access-from-files", "--dump-dom", probe.as_uri()]
    shown = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", timeout=240)
    findings = BeautifulSoup(shown.stdout, "html.parser").find("pre")
    assert findings, f"the browser showed nothing:\n{shown.stderr[-2000:]}"
    return json.loads(findings.text)


def faults(slide):
    """What is wrong with a slide, as a browser found it."""
    kinds = {
        "overflows": min(slide["top"], slide["left"]) < 0
        or slide["right"] > 1280
        or slide["bottom"] > 720,
        "cut": slide["scrolls"] > 0,
        "too small": slide["zoom"] < SMALLEST,
        "broken picture": slide["broken"] > 0,
        "empty": slide["empty"],
    }
    return [kind for kind, wrong in kinds.items() if wrong]


needs_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH")


def test_a_folder_that_cannot_be_written_ends_the_command_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["slides.py", str(tmp_path / "file" / "slides")])
    with pytest.raises(SystemExit) as refusal:
        runpy.run_path(tool.__file__, run_name="__main__")
    assert re.fullmatch(r"slides: .*Not a directory: '.*/file/slides'", refusal.value.code)


@needs_a_browser
def test_nothing_overflows_on_any_slide(pages):
    for page in pages:
        body = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        slides = look(page)
        assert len(slides) == len(body.select(".slides > section > section")) >= 15
        assert sum(slide["formulas"] for slide in slides) == len(body.select(".fit math"))
        for slide in slides:
            assert faults(slide) == [], (page.name, slide)


BAD_SLIDES = f"""<div class="slides"><section>
<section><div class='fit'>{"<p>too much</p>" * 60}</div></section>
<section><div class='fit'><div style='width: 5000px'>wide</div></div></section>
<section><div class='fit'><p></p></div></section>
</section>"""


@needs_a_browser
def test_the_test_above_notices_slides_of_too_much_text_too_wide_or_empty(pages):
    page = pages[0].with_name("bad.html")
    text = pages[0].read_text(encoding="utf-8")
    page.write_text(text.replace('<div class="slides">', BAD_SLIDES, 1), encoding="utf-8")
    high, wide, empty, good = look(page)[:4]
    assert faults(high) == ["overflows", "too small"]
    assert faults(wide) == ["overflows", "too small"]
    assert faults(empty) == ["empty"]
    assert faults(good) == []


def test_slides_refer_to_nothing_remote(pages):
    """Scripts, styles and pictures are in the page; only what a reader clicks leads out."""
    for page in pages:
        slides = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for element in slides.select("[src], link, iframe, object"):
            address = element.get("src") or element.get("href") or ""
            assert address.startswith("data:"), (page.name, element)
        assert not re.search(r"url\(['\"]?(?!data:)", str(slides.find_all("style")))
        for link in slides.select(".slides a"):
            assert link["href"].startswith(("https://", "explore.html#"))
        assert slides.select("aside.notes") and "xFORMULA" not in slides.text
        for text in slides.select_one(".slides").find_all(string=re.compile(r"\$")):
            assert text.find_parent(["code", "pre"]), text


def test_the_explorer_is_a_click_away(pages):
    """From slides that are shown, not from notes."""
    for page in pages[:3]:
        slides = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        assert slides.select(".fit a[href^='explore.html#']"), page.name


def test_the_explorer_lies_beside_the_slides(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "notebooks", list)
    tool.main(str(tmp_path / "slides"))
    copied = (tmp_path / "slides" / "explore.html").read_bytes()
    assert copied == tool.EXPLORER.read_bytes()


def test_every_cell_of_our_notebooks_has_a_slide_type():
    """Other cells would be on the slide before them."""
    for path in tool.notebooks():
        for cell in nbformat.read(path, as_version=4).cells:
            kind = cell.metadata.get("slideshow", {}).get("slide_type")
            types = ("slide", "subslide", "fragment", "-", "notes", "skip")
            assert kind in types, f"{cell.source!r}; repaired by: python tools/slides.py mark"


PRINTED = new_output("stream", text="1\n")
PICTURE = new_output("display_data", {"image/png": "iVBORw0KGgo="})
CELLS = [  # the type that a cell of each kind gets, and the cell
    ("slide", new_markdown_cell("# A title\n\nAnd a sentence.")),
    ("skip", new_code_cell("import math")),
    ("skip", new_code_cell("def shown():\n    pass")),
    ("notes", new_markdown_cell("For the speaker.")),
    ("subslide", new_markdown_cell("$$x$$")),
    ("subslide", new_code_cell("print(1)", outputs=[PRINTED])),
    (
        "subslide",
        new_code_cell(
            "a = 1\nb = 2\nassert a\nc = 3\nfigure = Figure()\nshow(figure)", outputs=[PICTURE]
        ),
    ),
    ("-", new_markdown_cell("*The finding.*\n\nMore.\n\n> **Predict.** Why?\n\n## Next\n\nText.")),
    ("slide", new_markdown_cell("## Shown\n\n- A.\n\n## Exercises\n\n1. B.\n\n## Sources\n\nC.")),
    ("subslide", new_code_cell("def explained():\n    pass")),
]


@pytest.fixture
def notebook():
    return new_notebook(cells=[copy.deepcopy(cell) for _, cell in CELLS])


def test_marking_gives_each_kind_of_cell_its_type_and_touches_nothing_else(notebook):
    """What somebody chose stays."""
    notebook.cells[3].metadata["slideshow"] = {"slide_type": "fragment"}
    assert tool.mark(notebook) == len(CELLS) - 1
    assert tool.mark(notebook) == 0
    kinds = [kind for kind, _ in CELLS]
    kinds[3] = "fragment"
    assert [cell.metadata.slideshow.slide_type for cell in notebook.cells] == kinds
    assert [cell.source for cell in notebook.cells] == [cell.source for _, cell in CELLS]


def test_a_cell_becomes_what_an_audience_needs_of_it(notebook):
    """A figure without the code that draws it, the finding without the rest, no exercises."""
    tool.mark(notebook)
    (_, code), (_, figure) = tool.parts(notebook.cells[6])
    assert code.source == "a = 1\nb = 2\nc = 3" and not code.outputs
    assert figure.metadata.transient == tool.HIDDEN and figure.outputs
    texts = [(kind, part.source) for kind, part in tool.parts(notebook.cells[7])]
    assert texts == [
        ("-", "*The finding.*"),
        ("notes", "More."),
        ("subslide", "> **Predict.** Why?"),
        ("slide", "## Next\n\nText."),
    ]
    [(kind, part)] = tool.parts(notebook.cells[8])
    assert (kind, part.source) == ("slide", "## Shown\n\n- A.")

"""Notebooks 02 to 05 as slides, by their cells' slide types; each a page that needs no network.

python tools/slides.py [FOLDER]   writes FOLDER/NN_*.html; without a name, slides/
python tools/slides.py mark       gives a slide type to each cell of the notebooks that has none

Change a cell's type in JupyterLab (property inspector, Slide Type): slide, subslide, fragment, -
(goes on the same slide), notes (press S to see them), or skip.
"""

import importlib.util
import re
import sys
from html import escape
from itertools import chain
from pathlib import Path
from string import Template

import nbformat
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from pages import STYLE, Exporter, read, settle

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
NUMBERS = ("02", "03", "04", "05")
PAGE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
DRAWS = re.compile(r"^.*\b(?:Figure|panels|frame|draw|plots\.\w+)\(", re.MULTILINE)
CHECKS = re.compile(r"^(?:assert|torch\.testing)\b.*\n?", re.MULTILINE)
HIDDEN = {"remove_source": True}  # nbconvert's mark: only the output is shown
LEFT_OUT = ("## Exercises", "## Sources")


def drawn(cell):
    """Whether a cell shows a figure."""
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def slide_type(cell, before):
    """The type of a cell for which nobody chose one: figures, formulas and what is printed show.

    before: the cell before it. Text without a heading or a formula is for the speaker.
    """
    if cell.cell_type == "code":
        defined = before is not None and before.source.startswith("#") and "def " in cell.source
        return "subslide" if cell.outputs or defined else "skip"
    if cell.source.startswith("#"):
        return "slide"
    if before is not None and drawn(before):
        return "-"  # a figure's caption
    return (
        "subslide" if re.search(r"\$\$|^\||^> \*\*Predict", cell.source, re.MULTILINE) else "notes"
    )


def mark(notebook):
    """Gives a slide type to each cell that has none -> how many had none."""
    marked = 0
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        if "slideshow" not in cell.metadata:
            cell.metadata["slideshow"] = {"slide_type": slide_type(cell, before)}
            marked += 1
    return marked


def parts(cell):
    """[(slide type, cell)]: a text by its headings; a figure after what it computes, not how."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
    if cell.cell_type == "code":
        if not drawn(cell):
            return [(kind, cell)]
        computes = CHECKS.sub("", DRAWS.split(cell.source)[0]).strip()
        code = NotebookNode(cell, source=computes, outputs=[])
        figure = NotebookNode(cell, metadata=NotebookNode(transient=HIDDEN))
        return [(kind, code)] * (computes.count("\n") > 1) + [(kind, figure)]
    first, *others = re.split(r"\n+(?=##)", cell.source)
    texts = [(kind, first)]
    if kind == "-":  # of a caption the finding shows; the rest is for the speaker
        finding, *rest = first.split("\n\n")
        asked = [text for text in rest if text.startswith("> **Predict")]
        notes = "\n\n".join(text for text in rest if text not in asked)
        texts = [(kind, finding), ("notes", notes), *(("subslide", text) for text in asked)]
    texts += [("slide", text) for text in others]
    shown = [(kind, text) for kind, text in texts if text and not text.startswith(LEFT_OUT)]
    return [(kind, NotebookNode(cell, source=text)) for kind, text in shown]


def render(path, exporter):
    """A notebook's slides as HTML: a column of them for each cell of type slide."""
    columns = []
    for kind, cell in chain.from_iterable(map(parts, read(path).cells)):
        if kind == "skip":
            continue
        html, _ = exporter.from_notebook_node(new_notebook(cells=[cell]))
        html = re.sub(r"</?main[^>]*>", "", html)
        if kind == "slide" or not columns:
            columns.append([])
        if kind in ("slide", "subslide") or not columns[-1]:
            columns[-1].append([])
        wrapped = {"fragment": "div class='fragment'", "notes": "aside class='notes'"}.get(kind)
        wrapped = wrapped or ("div class='figure'" if drawn(cell) else "div")
        columns[-1][-1].append(f"<{wrapped}>{html}</{wrapped.split()[0]}>")
    return "\n".join(
        "<section>" + "".join(map(one_slide, column)) + "</section>" for column in columns
    )


def one_slide(pieces):
    """A slide of pieces; its notes stand beside what is fitted to the screen."""
    notes = [piece for piece in pieces if piece.startswith("<aside")]
    shown = [piece for piece in pieces if piece not in notes]
    return f"<section><div class='fit'>{''.join(shown)}</div>{''.join(notes)}</section>\n"


def reveal():
    """The folder of reveal.js, as the package sphinx-revealjs brings it; or SystemExit."""
    found = importlib.util.find_spec("sphinx_revealjs")
    if not found:
        raise SystemExit("slides: reveal.js is missing: pip install '.[slides]'")
    return Path(found.origin).parent / "_static" / "revealjs"


def main(folder):
    """Writes the slides of each notebook into a folder -> their paths."""
    brought = reveal()
    fixed = {
        "style": STYLE,
        "reveal_style": (brought / "dist" / "reveal.css").read_text(encoding="utf-8"),
        "reveal_script": (brought / "dist" / "reveal.js").read_text(encoding="utf-8"),
        "notes_script": (brought / "plugin" / "notes" / "notes.js").read_text(encoding="utf-8"),
    }
    exporter, written = Exporter(), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in NUMBERS:
        [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
        body = BeautifulSoup(render(path, exporter), "html.parser")
        settle(body, NOTEBOOKS, folder)
        for link in body.select("a[href]"):
            if "anchor-link" in link.get("class", []):
                link.decompose()
            elif not link["href"].startswith("http"):
                link.unwrap()  # to other files, which are not beside the slides
        title = escape(body.h1.get_text())
        page = folder / path.with_suffix(".html").name
        page.write_text(PAGE.substitute(fixed, title=title, slides=body), encoding="utf-8")
        written.append(page)
    return written


if __name__ == "__main__":
    if sys.argv[1:] == ["mark"]:
        for path in sorted(NOTEBOOKS.glob("0[2-5]_*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            print(f"{path.name}: {mark(notebook)} cells marked")
            path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    else:
        for page in main(Path(*(sys.argv[1:] or [ROOT / "slides"]))):
            print(f"{page}: open it in a browser; S shows the notes")

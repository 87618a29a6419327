"""Notebooks 02 to 05 as slides, by their cells' slide types; each a page that needs no network.

python tools/slides.py [FOLDER]   writes FOLDER/NN_*.html; without a name, slides/
python tools/slides.py mark       gives a slide type to each cell of the notebooks that has none

Change a cell's type in JupyterLab (property inspector, Slide Type): slide, subslide, fragment, -
(goes on the same slide), notes (press S to see them), or skip.
"""

import importlib.util
import re
import shutil
import sys
from html import escape
from pathlib import Path
from string import Template

import nbformat
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from pages import STYLE, Exporter, read, settle

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
EXPLORER = ROOT / "figures" / "explore.html"
NUMBERS = ("02", "03", "04", "05")
PAGE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
DRAWS = re.compile(
    r"^(?:figure\b|.*\b(?:Figure|panels|frame|draw|show|(?:plots|charts)\.\w+)\()", re.MULTILINE
)
CHECKS = re.compile(r"^(?:assert|torch\.testing)\b.*\n?", re.MULTILINE)
SHOWS = re.compile(r"\$\$|^\||^> \*\*Predict", re.MULTILINE)  # a formula, a table, a question
HIDDEN = {"remove_source": True}  # nbconvert's mark: only the output is shown
LEFT_OUT = ("## Exercises", "## Sources")


def has_figure(cell):
    """Whether a cell shows a figure."""
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def slide_type(cell, before):
    """The type of a cell for which nobody chose one: figures, formulas and what is printed show.

    before: the cell before it. Text without a heading or a formula is for the speaker.
    """
    follows_heading = before is not None and before.source.startswith("#")
    if cell.cell_type == "code":
        if cell.outputs or (follows_heading and "def " in cell.source):
            return "subslide"
        return "skip"
    if cell.source.startswith("#"):
        return "slide"
    if before is not None and has_figure(before):
        return "-"  # a figure's caption
    if SHOWS.search(cell.source):
        return "subslide"
    return "notes"


def mark(notebook):
    """Gives a slide type to each cell that has none -> how many had none."""
    marked = 0
    before = None
    for cell in notebook.cells:
        if "slideshow" not in cell.metadata:
            cell.metadata["slideshow"] = {"slide_type": slide_type(cell, before)}
            marked += 1
        before = cell
    return marked


def parts(cell):
    """[(slide type, cell)] of a cell: what an audience sees of it, in order."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
    if cell.cell_type != "code":
        return [(kind, NotebookNode(cell, source=text)) for kind, text in texts(cell.source, kind)]
    if not has_figure(cell):
        return [(kind, cell)]

    # What a figure shows is computed on a slide of its own; how it is drawn is left out.
    figure = (kind, NotebookNode(cell, metadata=NotebookNode(transient=HIDDEN)))
    computation = CHECKS.sub("", DRAWS.split(cell.source)[0]).strip()
    if computation.count("\n") < 2:
        return [figure]
    return [(kind, NotebookNode(cell, source=computation, outputs=[])), figure]


def texts(source, kind):
    """[(slide type, text)] of a text of some kind: a slide for each heading in it."""
    first, *sections = re.split(r"\n+(?=##)", source)
    pieces = [(kind, first)]
    if kind == "-":
        pieces = caption(first)
    pieces += [("slide", section) for section in sections]
    return [(kind, text) for kind, text in pieces if text and not text.startswith(LEFT_OUT)]


def caption(text):
    """Of a figure's caption the finding shows and what to predict; the rest is for the speaker."""
    finding, *rest = text.split("\n\n")
    questions = [paragraph for paragraph in rest if paragraph.startswith("> **Predict")]
    notes = [paragraph for paragraph in rest if paragraph not in questions]
    return [
        ("-", finding),
        ("notes", "\n\n".join(notes)),
        *(("subslide", question) for question in questions),
    ]


def render(path, exporter):
    """A notebook's slides as HTML: a column of them for each cell of type slide."""
    columns = []  # of slides, which are lists of pieces of HTML
    for cell in read(path).cells:
        for kind, part in parts(cell):
            if kind == "skip":
                continue
            if kind == "slide" or not columns:
                columns.append([])
            if kind in ("slide", "subslide") or not columns[-1]:
                columns[-1].append([])
            columns[-1][-1].append(piece(kind, part, exporter))
    sections = []
    for column in columns:
        slides = "".join(one_slide(pieces) for pieces in column)
        sections.append(f"<section>{slides}</section>")
    return "\n".join(sections)


def piece(kind, part, exporter):
    """A part of a cell as HTML, in an element that says what it is."""
    html, _ = exporter.from_notebook_node(new_notebook(cells=[part]))
    html = re.sub(r"</?main[^>]*>", "", html)
    if kind == "fragment":
        return f"<div class='fragment'>{html}</div>"
    if kind == "notes":
        return f"<aside class='notes'>{html}</aside>"
    if has_figure(part):
        return f"<div class='figure'>{html}</div>"
    return f"<div>{html}</div>"


def one_slide(pieces):
    """A slide of pieces; its notes lie outside what is fitted to the screen."""
    notes = [html for html in pieces if html.startswith("<aside")]
    shown = [html for html in pieces if html not in notes]
    return f"<section><div class='fit'>{''.join(shown)}</div>{''.join(notes)}</section>\n"


def reveal():
    """The folder of reveal.js, as the package sphinx-revealjs brings it; or SystemExit."""
    package = importlib.util.find_spec("sphinx_revealjs")
    if package is None:
        raise SystemExit("slides: reveal.js is missing: pip install '.[slides]'")
    return Path(package.origin).parent / "_static" / "revealjs"


def write_slides(folder, explorer):
    """Writes the slides of each notebook into a folder -> their paths.

    explorer: the address of figures/explore.html as seen from there, for links to it.
    """
    scripts = reveal()
    fixed = {
        "style": STYLE,
        "reveal_style": (scripts / "dist" / "reveal.css").read_text(encoding="utf-8"),
        "reveal_script": (scripts / "dist" / "reveal.js").read_text(encoding="utf-8"),
        "notes_script": (scripts / "plugin" / "notes" / "notes.js").read_text(encoding="utf-8"),
    }

    # A page for each notebook; links stay only where they lead somewhere.
    exporter = Exporter()
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks():
        body = BeautifulSoup(render(path, exporter), "html.parser")
        settle(body, NOTEBOOKS)
        for link in body.select("a[href]"):
            file, _, situation = link["href"].partition("#")
            if "anchor-link" in link.get("class", []):
                link.decompose()
            elif (NOTEBOOKS / file).resolve() == EXPLORER:
                link["href"] = f"{explorer}#{situation}"
            elif not file.startswith("http"):
                link.unwrap()  # to other files, which are not beside the slides
        page = folder / path.with_suffix(".html").name
        text = PAGE.substitute(fixed, title=escape(body.h1.get_text()), slides=body)
        page.write_text(text, encoding="utf-8")
        written.append(page)
    return written


def notebooks():
    """The notebooks that are shown as slides."""
    return [next(NOTEBOOKS.glob(f"{number}_*.ipynb")) for number in NUMBERS]


def main(*arguments):
    """The command line."""
    match arguments:
        case ["mark"]:
            for path in notebooks():
                notebook = nbformat.read(path, as_version=4)
                print(f"{path.name}: {mark(notebook)} cells marked")
                path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        case [] | [_]:
            folder = Path(*arguments or [ROOT / "slides"])
            pages = write_slides(folder, EXPLORER.name)
            shutil.copy(EXPLORER, folder)
            for page in pages:
                print(f"{page}: open it in a browser; S shows the notes")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"slides: {error}")

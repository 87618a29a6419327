"""Notebooks and markdown as web pages that need no network; website.py makes a folder of them."""

import base64
import mimetypes
import os
import re
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote, unquote

import nbformat
from bs4 import BeautifulSoup
from jinja2 import pass_context
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

FRAME = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
STYLE = HtmlFormatter().get_style_defs(".highlight")
DARK_STYLE = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
WEB = re.compile(r"[a-z]+:")  # how an address begins that leads out of the folder
# Code comes first, because in code a dollar is a dollar; mathematics never crosses an empty line.
SOURCE = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,}).*?(?:^[ \t>]*(?P=fence)|\Z)"
    r"|(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)(?P=ticks)(?!`)"
    r"|<(?P<tag>code|pre)\b.*?</(?P=tag)>"
    r"|(?<!\\)\$\$(?P<shown>(?:(?!\n\s*\n).)+?)(?<!\\)\$\$"
    r"|(?P<block>\\begin\{(?P<name>\w+\*?)\}.*?\\end\{(?P=name)\})"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>(?:(?!\n\s*\n)[^$])+?)(?<![\s\\])\$(?!\d)",
    re.DOTALL | re.MULTILINE,
)
TOKEN = re.compile(r"xFORMULA(?P<number>\d+)x")  # stands for a formula while markdown is rendered
PLACED = re.compile(  # code, a tag, or a formula with the punctuation that must stay on its line
    r"<(code|pre)\b.*?</\1>|<[^>]*>"
    r"|(?P<before>[(\[]*)" + TOKEN.pattern + r"(?P<after>[)\].,;:?!]*)",
    re.DOTALL,
)
SECTIONS = """<nav class="sections" aria-label="On this page">
<details><summary>On this page</summary><ol>
{}
</ol></details></nav>"""
SENTENCE = re.compile(r".*?[.!?](?:</\w+>)*(?=\s+(?:<[^>]*>)*[A-Z“\"]|\s*$)|.*", re.DOTALL)


class Exporter(HTMLExporter):
    """nbconvert's bare template, with mathematics as MathML, which browsers draw by themselves."""

    def __init__(self):
        super().__init__(
            template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
        )
        self.register_filter("clean_html", lambda html: html)  # slow; the code is our own

    @pass_context
    def markdown2html(self, context, source):
        """Markdown to HTML. As in JupyterLab, mathematics is set aside before markdown sees it."""
        formulas = []

        def set_aside(match):
            if not (match["shown"] or match["block"] or match["inline"]):
                return match[0]  # code
            formulas.append(match)
            return f"xFORMULA{len(formulas) - 1}x"

        def put_back(match):
            if match["number"]:
                return mathml(formulas[int(match["number"])], match["before"], match["after"])
            return TOKEN.sub(lambda token: escape(formulas[int(token["number"])][0]), match[0])

        html = super().markdown2html(context, SOURCE.sub(set_aside, source))
        return PLACED.sub(put_back, html)


def mathml(match, before, after):
    """A formula that SOURCE matched, as MathML; raises ValueError if it is not proper LaTeX."""
    formula = match["shown"] or match["block"] or match["inline"]

    # In a quotation each line begins with a mark, which is no part of the formula.
    line_before = match.string[: match.start()].rpartition("\n")[2]
    if line_before.lstrip().startswith(">"):
        formula = re.sub(r"\n[ \t]*>", "\n", formula)

    if not match["inline"]:
        kind = "displayed"
    elif len(formula) > 40:
        kind = "long"
    else:
        kind = "short"
    try:
        drawn = LatexToMathML(fancy_error=False).convert_with_local_state(
            formula.strip(), displaystyle=kind == "displayed"
        )
    except LatexError as error:
        raise ValueError(f"cannot draw {match[0]!r}: {error}") from None
    return f'<span class="formula {kind}">{before}{drawn}{after}</span>'


@dataclass(frozen=True)
class Page:
    """What is shown of a notebook or a text."""

    file: str  # where it lies in the folder of pages, such as "exercises/01_flip_flops.html"
    title: str
    sentence: str  # the first, as HTML
    body: BeautifulSoup


def read(path):
    """A notebook of which every cell was executed and none failed; otherwise raises ValueError."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise ValueError(f"{path.name}: has a cell that was not executed; run `make notebooks`")
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            raise ValueError(
                f"{path.name}: has a cell that failed; repair it and run `make notebooks`"
            )
    return notebook


def page_of(path, notebook, places, exporter):
    """The page of a notebook that lies at a path of the project.

    places: {a path of the project: its page's file}, for links. Raises ValueError if the notebook
    cannot be shown.
    """
    file = places[path]
    notebook.cells = [
        cell for cell in notebook.cells if "setup" not in cell.metadata.get("tags", [])
    ]
    try:
        html, _ = exporter.from_notebook_node(notebook)
        body = BeautifulSoup(html, "html.parser")
        settle(body, path.parent)
        number_marks(body, path.suffix == ".md")
        keep_readable(body, path.parent)
        for link in body.select("a[href]"):
            redirect(link, path.parent, file, places)
        title, sentence = opening(body)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    return Page(file, title, sentence, body)


def settle(body, source):
    """Embeds pictures, named relative to the folder `source`, and lets what is wide scroll."""
    for picture in body.select("img[src]"):
        kind, data = bytes_of(picture["src"], source)
        picture["src"] = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    for code in body.select("td code, th code"):
        code.string = code.text.replace("\\|", "|")
    for table in body.select("table"):
        table.wrap(body.new_tag("div", attrs={"class": "table"}))


def bytes_of(address, source):
    """A picture's kind, such as "image/png", and its bytes."""
    if address.startswith("data:"):
        kind, _, text = address.removeprefix("data:").partition(";base64,")
        return kind, base64.b64decode(text)
    path = source / unquote(address)
    if not path.is_file():
        raise ValueError(f"shows a picture that is not here: {address}")
    return mimetypes.guess_type(path)[0], path.read_bytes()


def keep_readable(body, source):
    """On a narrow screen a picture keeps nearly half its width, and scrolls."""
    for picture in body.select("img[src]"):
        _, data = bytes_of(picture["src"], source)
        picture["style"] = f"min-width: {0.45 * width_of(data):.0f}px"


def width_of(data):
    """How many pixels wide a picture is, PNG or matplotlib's SVG; 0 if it is another."""
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20])
    points = re.search(rb'<svg[^>]* width="([\d.]+)pt"', data)
    if points:
        return round(float(points[1]) * 4 / 3)
    return 0


def number_marks(body, of_markdown):
    """Gives each heading a mark of its own, also where several have the same words.

    of_markdown: in small letters, as GitHub shows the page, so that a link leads to both.
    """
    number = Counter()
    for heading in body.select(":is(h1, h2, h3, h4)[id]"):
        mark = heading["id"]
        if of_markdown:
            mark = mark.lower()
        number[mark] += 1
        if number[mark] > 1:
            mark = f"{mark}-{number[mark]}"
        heading["id"] = mark
        heading.find("a", class_="anchor-link")["href"] = f"#{mark}"


def redirect(link, source, file, places):
    """Points a link from the folder `source` to a page; one to a file without a page is undone."""
    address, mark, heading = link["href"].partition("#")
    if not address or WEB.match(address):
        return
    path = (source / unquote(address)).resolve()
    if not path.exists():
        raise ValueError(f"has a link to what is not here: {address}")
    if path in places:
        link["href"] = relative(places[path], file) + mark + heading
    else:
        link.unwrap()


def relative(file, page):
    """The address of one file of the folder of pages, seen from a page of it."""
    return quote(Path(os.path.relpath(file, Path(page).parent)).as_posix(), safe="/#")


def opening(body):
    """A page's title and, as HTML, its first sentence without a label in bold before it."""
    heading = body.find("h1")
    paragraph = heading and heading.find_next("p")
    if not paragraph:
        raise ValueError("needs a title (# ...) and a sentence below it")
    text = re.sub(r"^<strong>[^<]*:</strong>\s*", "", paragraph.decode_contents())
    sentence = SENTENCE.match(text)[0]
    title = text_of(heading)
    return title, str(BeautifulSoup(sentence, "html.parser"))  # closes what the cut left open


def text_of(heading):
    """A heading without the sign of its link."""
    return "".join(string for string in heading.strings if string != "¶").strip()


def sections(body):
    """Links to a page's sections, which stand beside it; nothing if there are fewer than three."""
    items = []
    for heading in body.select("h2[id]"):
        copy = BeautifulSoup(str(heading), "html.parser").h2
        for sign in copy.select("a"):
            sign.decompose()
        items.append(f'<li><a href="#{escape(heading["id"])}">{copy.decode_contents()}</a></li>')
    if len(items) < 3:
        return ""
    return SECTIONS.format("\n".join(items))


def write(folder, page, onward=""):
    """Writes a page into the folder of pages -> its path. onward: links to other pages, as HTML."""
    path = folder / page.file
    text = FRAME.substitute(
        title=escape(page.title),
        description=escape(BeautifulSoup(page.sentence, "html.parser").text),
        style=STYLE,
        dark_style=DARK_STYLE,
        up="../" * page.file.count("/"),
        sections=sections(page.body),
        body=page.body,
        onward=onward,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path

"""Renders the notebooks, with their stored outputs, as web pages that need no network.

python tools/pages.py [NOTEBOOKS PAGES]; without names, notebooks/ into html/.
"""

import base64
import mimetypes
import os
import re
import sys
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

ROOT = Path(__file__).resolve().parents[1]
PAGE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
STYLE = HtmlFormatter().get_style_defs(".highlight")
NAME = "Threshold relative attention"
CONTENTS = '<a href="index.html" rel="contents">Contents</a>'
# Code comes first, for in code a dollar is a dollar; mathematics never crosses an empty line.
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

        def set_aside(found):
            if not (found["shown"] or found["block"] or found["inline"]):
                return found[0]
            formulas.append(found)
            return f"xFORMULA{len(formulas) - 1}x"

        def put_back(found):
            if found["number"]:
                return mathml(formulas[int(found["number"])], found["before"], found["after"])
            return TOKEN.sub(lambda token: escape(formulas[int(token["number"])][0]), found[0])

        html = super().markdown2html(context, SOURCE.sub(set_aside, source))
        return PLACED.sub(put_back, html)


def mathml(found, before, after):
    """A formula that SOURCE found, as MathML; raises ValueError if it is not proper LaTeX."""
    formula = found["shown"] or found["block"] or found["inline"]
    if found.string[: found.start()].rpartition("\n")[2].lstrip().startswith(">"):
        formula = re.sub(r"\n[ \t]*>", "\n", formula)
    kind = "displayed" if not found["inline"] else "long" if len(formula) > 40 else "short"
    try:
        drawn = LatexToMathML(fancy_error=False).convert_with_local_state(
            formula.strip(), displaystyle=kind == "displayed"
        )
    except LatexError as error:
        raise ValueError(f"cannot draw {found[0]!r}: {error}") from None
    return f'<span class="formula {kind}">{before}{drawn}{after}</span>'


def read(path):
    """A notebook of which every cell was executed and none failed; otherwise raises ValueError."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise ValueError("has a cell that was not executed; run `make notebooks` first")
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            raise ValueError("has a cell that failed; mend it and run `make notebooks`")
    return notebook


def settle(body, source, pages):
    """Embeds pictures, points links to where things lie seen from `pages`, lets tables scroll."""
    for picture in body.select("img[src]"):
        if not picture["src"].startswith("data:"):
            path = source / unquote(picture["src"])
            if not path.is_file():
                raise ValueError(f"shows a picture that is not here: {picture['src']}")
            data = base64.b64encode(path.read_bytes()).decode()
            picture["src"] = f"data:{mimetypes.guess_type(path)[0]};base64,{data}"
    for link in body.select("a[href]"):
        address, mark, heading = link["href"].partition("#")
        if address and not re.match(r"[a-z]+:|/", address):
            path = source / unquote(address)
            if path.suffix == ".ipynb" and path.parent.resolve() == source.resolve():
                path = pages / path.with_suffix(".html").name
            link["href"] = quote(Path(os.path.relpath(path, pages)).as_posix()) + mark + heading
    for code in body.select("td code, th code"):
        code.string = code.text.replace("\\|", "|")
    for table in body.select("table"):
        table.wrap(body.new_tag("div", attrs={"class": "table", "tabindex": "0"}))


def opening(body):
    """A notebook's title and, as HTML, its first sentence without a label in bold before it."""
    heading = body.find("h1")
    paragraph = heading and heading.find_next("p")
    if not paragraph:
        raise ValueError("needs a title (# ...) and a sentence below it")
    sentence = SENTENCE.match(
        re.sub(r"^<strong>[^<]*:</strong>\s*", "", paragraph.decode_contents())
    )
    title = "".join(text for text in heading.strings if text != "¶").strip()
    return title, str(BeautifulSoup(sentence[0], "html.parser"))  # closes what the cut left open


def link(chapter, relation, text="{}"):
    """A link to a chapter, or nothing where there is none."""
    if not chapter:
        return "<span></span>"
    page, title, *_ = chapter
    return f'<a href="{quote(page.name)}" rel="{relation}">{text.format(escape(title))}</a>'


def render(source, pages):
    """Renders the notebooks of one folder into another; returns the pages' paths, the index first.

    Raises SystemExit, in one line, if there is no notebook or one is not fit to be shown.
    """
    exporter, chapters = Exporter(), []
    for path in sorted(source.glob("*.ipynb")):
        try:
            html, _ = exporter.from_notebook_node(read(path))
            body = BeautifulSoup(html, "html.parser")
            settle(body, source, pages)
            chapters.append((pages / path.with_suffix(".html").name, *opening(body), body))
        except ValueError as reason:
            raise SystemExit(f"{path.name}: {reason}") from None
    if not chapters:
        raise SystemExit(f"there are no notebooks in {source}")

    entries = [f"<li>{link(chapter, 'chapter')}<p>{chapter[2]}</p></li>" for chapter in chapters]
    contents = f"<h1>{NAME}</h1>\n<ul class='contents'>\n{chr(10).join(entries)}\n</ul>"
    written = [(pages / "index.html", NAME, "", contents)]
    before_and_after = zip([None, *chapters], [*chapters[1:], None], strict=False)
    for (page, title, _, body), (before, after) in zip(chapters, before_and_after, strict=True):
        links = link(before, "prev", "← {}"), CONTENTS, link(after, "next", "{} →")
        written.append((page, escape(title), f"<nav>{''.join(links)}</nav>", body))
    pages.mkdir(parents=True, exist_ok=True)
    for page, title, navigation, body in written:
        text = PAGE.substitute(title=title, style=STYLE, navigation=navigation, body=body)
        page.write_text(text, encoding="utf-8")
    return [page for page, *_ in written]


if __name__ == "__main__":
    if len(sys.argv) not in (1, 3):
        raise SystemExit(__doc__)
    source, pages = map(Path, sys.argv[1:] or (ROOT / "notebooks", ROOT / "html"))
    print(f"{render(source, pages)[0]}: open it in a browser, no network needed")

"""The whole course as one folder, for any web server or USB stick: it needs no network.

python tools/website.py [FOLDER]; without a name, html/. The folder holds the notebooks, the
exercises as students get them, the slides, the explorer, the results, and a search over all.
"""

import json
import re
import shutil
import sys
import unicodedata
from html import escape
from math import log2
from pathlib import Path
from string import Template

import nbformat
from bs4 import BeautifulSoup, NavigableString, TemplateString
from exercises import EXERCISES, handed_out
from nbformat.v4 import new_markdown_cell, new_notebook
from pages import Exporter, Page, page_of, read, relative, text_of, write
from slides import write_slides

from experiments.compute import stored, stored_in_favour
from experiments.results import by_seed
from tra_mini.plots import STYLE

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
NOTEBOOKS = ROOT / "notebooks"
README = ROOT / "README.md"
RESULTS = ROOT / "figures" / "README.md"
EXPLORER = ROOT / "figures" / "explore.html"
MINUTES = re.compile(r"^\| \[.*\]\(notebooks/(\S+)\.ipynb\).*\| \D*(\d+) \|$", re.MULTILINE)
HEADINGS = ("h1", "h2", "h3")
DRAWN = ("rope", "alibi", "fox", "tra")
TICKS = {64: "in training", 4096: "64 ×", 65536: "1,024 ×", 1048576: "16,384 ×"}


def places():
    """{a path of the project: its page's file}; links to anything else become plain text."""
    files = {
        README: "index.html",
        EXERCISES: "index.html#exercises",
        RESULTS: "results.html",
        EXPLORER: "explore.html",
    }
    for path in NOTEBOOKS.glob("*.ipynb"):
        files[path] = f"{path.stem}.html"
    for path in EXERCISES.glob("*.ipynb"):
        files[path] = f"exercises/{path.stem}.html"
    return files


def write_site(folder):
    """Writes every page into a folder -> the path of the index.

    Raises ValueError, before anything is written, if a notebook cannot be shown.
    """
    # All pages, in memory.
    exporter = Exporter()
    files = places()
    notebooks = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebooks.append(page_of(path, read(path), files, exporter))
    exercises = []
    for path in sorted(EXERCISES.glob("*.ipynb")):
        notebook = handed_out(nbformat.read(path, as_version=4), solutions=False)
        exercises.append(page_of(path, notebook, files, exporter))
    text = new_markdown_cell(RESULTS.read_text(encoding="utf-8"), id="results")
    results = page_of(RESULTS, new_notebook(cells=[text]), files, exporter)
    minutes = minutes_to_read(notebooks)

    # The files.
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXPLORER, folder)
    slides = write_slides(folder / "slides", "../explore.html")
    index = front(notebooks, minutes, exercises, slides, results)
    for chapters in (notebooks, exercises):
        for number, page in enumerate(chapters):
            write(folder, page, onward(chapters, number, exercises))
    write(folder, results)
    write(folder, search([index, *notebooks, *exercises, results, explorer()]))
    return write(folder, index)


def template(name):
    """A page's body with its places to fill in."""
    return Template((TOOLS / f"{name}.html").read_text(encoding="utf-8"))


def onward(chapters, number, exercises):
    """Links from a chapter to those before and after it, and to its exercises."""
    page = chapters[number]
    links = []
    if number > 0:
        links.append(link(chapters[number - 1], page, "prev", "← {}"))
    for sheet in exercises:
        if sheet.file == f"exercises/{page.file}":
            links.append(link(sheet, page, "related", "Exercises"))
    if number + 1 < len(chapters):
        links.append(link(chapters[number + 1], page, "next", "{} →"))
    return f'<nav class="onward" aria-label="Before and after">{"".join(links)}</nav>'


def link(target, page, relation, text="{}"):
    """A link from one page to another."""
    address = relative(target.file, page.file)
    return f'<a href="{address}" rel="{relation}">{text.format(escape(target.title))}</a>'


# The index


def minutes_to_read(notebooks):
    """The minutes that README.md gives for each notebook, in order."""
    minutes = dict(MINUTES.findall(README.read_text(encoding="utf-8")))
    missing = [page.title for page in notebooks if Path(page.file).stem not in minutes]
    if missing:
        raise ValueError(f"README.md gives no minutes to read for {', '.join(missing)}")
    return [int(minutes[Path(page.file).stem]) for page in notebooks]


def front(notebooks, minutes, exercises, slides, results):
    """The index: the claim, two ways in, and everything there is, in reading order."""
    lines = []
    for page, number in zip(notebooks, minutes, strict=True):
        lines.append(entry(page.file, page.title, f"{number} min", page.sentence))
    body = template("index").substitute(
        chart=chart(),
        first=minutes[0],
        hours=round(sum(minutes) / 60),
        notebooks="\n".join(lines),
        exercises="\n".join(exercise_entry(page) for page in exercises),
        slides="\n".join(deck(path) for path in slides),
        results=escape(results.title),
    )
    body = BeautifulSoup(body, "html.parser")
    return Page("index.html", "Threshold relative attention", body.h1.text, body)


def entry(file, title, amount, sentence=""):
    """A line of the index."""
    if sentence:
        sentence = f"<p>{sentence}</p>"
    return f'<li><a href="{file}">{escape(title)}</a> <span>{amount}</span>{sentence}</li>'


def exercise_entry(page):
    """The line of a page of exercises, with how much there is to do."""
    minutes = re.findall(r"Difficulty .* · (\d+) minutes", page.body.text)
    amount = f"{len(minutes)} exercises, {sum(map(int, minutes))} min"
    return entry(page.file, page.title.removeprefix("Exercises "), amount)


def deck(path):
    """The line of a notebook's slides."""
    text = path.read_text(encoding="utf-8")
    title = re.search(r"<title>(.*)</title>", text)[1]
    slides = text.count('<div class="fit">')
    return f'<li><a href="slides/{path.name}">{title}</a> <span>{slides} slides</span></li>'


def chart():
    """The headline, from stored results: by length, the share of sparse strings without an error.

    The lines are stretched with the page. Text is not, so it stands beside them.
    """
    runs = stored_in_favour()
    for name in ("long", "far", "million"):
        runs += stored(f"flip_flop_{name}")
    worst = {}  # of the seeds: {mechanism: {length: share}}
    for (split, mechanism, length), shares in sorted(by_seed(runs, "exact_match").items()):
        if split == "sparse" and mechanism in DRAWN:
            worst.setdefault(mechanism, {})[length] = min(shares)

    # A line and a label for each mechanism, the lowest first.
    lines = []
    labels = []
    lowest = 0.06  # place for a label, above those before it
    for mechanism in DRAWN:
        points = []
        for length, share in worst[mechanism].items():
            points.append(f"{across(length):.1f},{100 - 100 * share:.1f}")
        dots = " ".join(f"M{point}h0" for point in points)
        lines.append(f'<polyline class="{mechanism}" points="{" ".join(points)}"/>')
        lines.append(f'<path class="{mechanism}" d="{dots}"/>')
        length, share = max(worst[mechanism].items())
        height = max(share, lowest)
        place = f"left: {across(length):.1f}%; bottom: {100 * height:.0f}%"
        labels.append(f'<b class="{mechanism}" style="{place}">{STYLE[mechanism][0]}</b>')
        lowest = height + 0.11

    # The axis.
    for length, note in TICKS.items():
        place = f"left: {across(length):.1f}%"
        labels.append(f'<span style="{place}">{length:,}<br>{note}</span>')
    return template("chart").substitute(lines="\n".join(lines), labels="\n".join(labels))


def across(length):
    """How far to the right a length stands, in percent of the chart, by doublings."""
    return 100 * log2(length / min(TICKS)) / log2(max(TICKS) / min(TICKS))


# The search


def explorer():
    """The explorer as a page, to be searched."""
    body = BeautifulSoup(EXPLORER.read_text(encoding="utf-8"), "html.parser").body
    return Page("explore.html", body.h1.text, "", body)


def search(pages):
    """The page that searches others, whose text is part of it: a file can read no other file."""
    parts = []
    for page in pages:
        parts += entries(page)
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    body = template("search").substitute(entries=text)
    return Page("search.html", "Search", "", BeautifulSoup(body, "html.parser"))


def entries(page):
    """[[page's title, heading, address, text], ...]: a page by its headings, to be searched."""
    formulas = {id(element) for element in page.body.select(".displayed *")}
    parts = [(page.title, "", [])]
    for node in page.body.descendants:
        if node.name in HEADINGS:
            parts.append((text_of(node), node.get("id", ""), []))
        elif node.name == "img":
            parts[-1][2].append(f" {node['alt']} ")
        elif type(node) in (NavigableString, TemplateString) and id(node.parent) not in formulas:
            parts[-1][2].append(node)  # neither scripts nor comments

    # What each part holds, as one line of text.
    lines = []
    for heading, mark, strings in parts:
        text = unicodedata.normalize("NFKC", " ".join("".join(strings).split()))
        text = text.removeprefix(heading).removeprefix("¶").strip()
        if text:
            address = page.file
            if mark:
                address += f"#{mark}"
            lines.append([page.title, heading, address, text])
    return lines


def main(*arguments):
    """The command line."""
    match arguments:
        case []:
            folder = ROOT / "html"
        case [name]:
            folder = Path(name)
        case _:
            sys.exit(__doc__)
    try:
        print(f"{write_site(folder)}: open it in a browser, no network needed")
    except (ValueError, OSError) as error:
        sys.exit(f"website: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])

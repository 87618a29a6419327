"""What `make html` writes: one folder with everything in it, to be read anywhere, on any screen."""

import base64
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from browsing import violations
from bs4 import BeautifulSoup

from experiments.compute import stored, stored_in_favour
from experiments.results import by_seed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import website as tool
from exercises import REGION, numbered

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXERCISES = sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))
WIDTHS = (360, 768, 1280)
PAPER = 680  # pixels between the margins of a page of A4


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx_revealjs", reason="reveal.js is not installed ([slides])")
    folder = tmp_path_factory.mktemp("site")
    tool.write_site(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """{the name of a page: the page, parsed}, without the slides, which are tested elsewhere."""
    return parsed(site, [path for path in site.rglob("*.html") if path.parent.name != "slides"])


def parsed(folder, paths):
    pages = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        pages[name] = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    return pages


# What is in the folder


def test_it_holds_everything(site):
    names = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    expected = {"index.html", "results.html", "search.html", "explore.html"}
    expected |= {f"{path.stem}.html" for path in NOTEBOOKS}
    expected |= {f"exercises/{path.stem}.html" for path in EXERCISES}
    expected |= {f"slides/{path.stem}.html" for path in NOTEBOOKS if path.name[:2] in "02 03 04 05"}
    assert names == expected
    assert (site / "explore.html").read_bytes() == tool.EXPLORER.read_bytes()
    assert sum(path.stat().st_size for path in site.rglob("*.html")) < 20e6


def test_the_index_lists_it_in_reading_order(site, pages):
    index = pages["index.html"]
    links = [link["href"] for link in index.select("main a") if "://" not in link["href"]]
    notebooks = [f"{path.stem}.html" for path in NOTEBOOKS]
    exercises = [f"exercises/{path.stem}.html" for path in EXERCISES]
    slides = sorted(path.relative_to(site).as_posix() for path in site.glob("slides/*"))
    first = ["results.html", notebooks[0], "explore.html"]
    assert links == [*first, *notebooks, *exercises, *slides, "results.html"]

    entries = index.select(".entries li")
    for entry in entries[: len(notebooks)]:
        assert re.fullmatch(r"\d+ min", entry.span.text), entry
        assert entry.p.text.strip().endswith((".", "!", "?")), entry
    for entry in entries[len(notebooks) :][: len(exercises)]:
        assert re.fullmatch(r"[3-9] exercises, \d+ min", entry.span.text), entry


def test_every_page_leads_to_its_neighbours(pages):
    for chapters in (NOTEBOOKS, EXERCISES):
        names = [f"{path.stem}.html" for path in chapters]
        for number, path in enumerate(chapters):
            page = pages[tool.places()[path]]
            for kind, expected in (
                ("prev", names[:number][-1:]),
                ("next", names[number + 1 :][:1]),
            ):
                links = [link["href"] for link in page.select(f".onward a[rel={kind}]")]
                assert links == expected, (path.name, kind)
    related = pages["01_flip_flops_and_a_tiny_gpt.html"].select(".onward a[rel=related]")
    assert [link["href"] for link in related] == ["exercises/01_flip_flops_and_a_tiny_gpt.html"]


def test_the_chart_draws_the_stored_results(pages):
    """TRA is at 1 from end to end, and the others end at 4,096 where the results say."""
    worst = by_seed(stored_in_favour(), "exact_match")
    plot = pages["index.html"].select_one(".plot")
    ends = {}
    for line in plot.select("polyline"):
        points = [tuple(map(float, point.split(","))) for point in line["points"].split()]
        [name] = line["class"]
        ends[name] = points[-1]
        assert len(points) == len(line.find_next("path")["d"].split())
        if name == "tra":
            assert points[0] == (0, 0) and {height for _, height in points} == {0}
    assert ends.pop("tra") == (100, 0)
    for name, (place, height) in ends.items():
        assert place == pytest.approx(100 * 6 / 14, abs=0.1)  # 6 doublings of 14
        assert 1 - height / 100 == pytest.approx(min(worst["sparse", name, 4096]), abs=1e-3)
    assert [label.text for label in plot.select("b")] == ["RoPE", "ALiBi", "FoX", "TRA"]


def test_what_the_chart_says_besides():
    runs = stored_in_favour()
    heads = {run["config"]["mechanism"]: run["config"]["n_head"] for run in runs}
    assert [heads[name] for name in ("tra", "alibi", "fox", "rope")] == [8, 8, 4, 4]
    exact = by_seed(runs, "exact_match")
    for (split, name, _), shares in exact.items():
        if name == "fox" and split != "sparse":
            assert min(shares) == 1
    worst = {name: min(exact["sparse", name, 4096]) for name in ("fox", "alibi", "rope")}
    assert worst == {"fox": 0.25, "alibi": 0, "rope": 0}
    longer = [*stored("flip_flop_long"), *stored("flip_flop_far"), *stored("flip_flop_million")]
    for shares in (*exact.values(), *by_seed(longer, "exact_match").values()):
        assert len(shares) == 5


def test_exercises_are_those_of_students(pages):
    for path in EXERCISES:
        page = pages[f"exercises/{path.name.replace('.ipynb', '.html')}"]
        text = " ".join(page.text.split())
        assert "SOLUTION" not in page.decode() and not page.select("main img, .output")
        assert not page.select("details[open]")
        exercises = numbered(nbformat.read(path, as_version=4))
        assert text.count("raise NotImplementedError(") == len(exercises) >= 3
        assert len(page.select("details > summary")) - 1 == 3 * len(exercises)  # and the sections
        for parts in exercises.values():
            for kind in ("solution", "discussion"):
                for solution in REGION.finditer(parts[kind].source):
                    for line in solution[0].split("\n")[1:-1]:
                        line = " ".join(line.split())
                        assert len(line) < 40 or line not in text, (path.name, line)


# Links, pictures, formulas


def test_every_link_leads_somewhere(site, pages):
    assert broken_links(site, pages) == []
    assert sum(len(page.select("a[href]")) for page in pages.values()) > 300


def test_slides_lead_to_the_explorer(site):
    linked = set()
    for path in site.glob("slides/*.html"):
        for link in BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").select("a"):
            if not link["href"].startswith("https://"):
                linked.add((path.parent / link["href"].partition("#")[0]).resolve())
    assert linked == {(site / "explore.html").resolve()}


def test_pages_leave_out_what_only_a_kernel_needs(pages):
    for name, page in pages.items():
        assert "find_spec" not in page.text, name


def broken_links(folder, pages):
    """[(page, address)] of the links that lead to no file of the folder or to no part of it."""
    marks = {}
    for name, page in pages.items():
        ids = [element["id"] for element in page.select("[id]")]
        assert len(set(ids)) == len(ids), f"{name}: an id is there twice"
        marks[name] = set(ids)
    broken = []
    for name, page in pages.items():
        for element in page.select("a[href], form[action]"):
            address = element.get("href") or element["action"]
            if re.match("https?:", address):
                continue
            file, _, mark = address.partition("#")
            target = folder / name
            if file:
                target = target.parent / unquote(file)
            target = target.resolve()
            inside = target.is_file() and target.is_relative_to(folder.resolve())
            if not inside:
                broken.append((name, address))
                continue
            # The explorer's marks are its settings.
            known = marks.get(target.relative_to(folder.resolve()).as_posix(), set())
            if mark and target.name != "explore.html" and not known & {mark, unquote(mark)}:
                broken.append((name, address))
    return broken


def test_a_broken_link_is_noticed(tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "outside.html").touch()
    page = tmp_path / "html" / "a.html"
    page.write_text(
        '<h1 id="x">A</h1><a href="a.html#x"></a><a href="#y"></a><a href="b.html"></a>'
        '<a href="../outside.html"></a><a href="https://c.d"></a>',
        encoding="utf-8",
    )
    folder = tmp_path / "html"
    broken = broken_links(folder, parsed(folder, [page]))
    assert [address for _, address in broken] == ["#y", "b.html", "../outside.html"]


def test_nothing_is_fetched(pages):
    for name, page in pages.items():
        for element in page.select("[src], link, iframe, object, script"):
            address = element.get("src") or element.get("href") or "data:"
            assert address.startswith("data:"), (name, element)
        assert not re.search(r"@import|url\(['\"]?(?!data:)", str(page.find_all("style"))), name
        assert "Content-Security-Policy" in str(page.head), name


def test_every_figure_is_there_with_a_text(pages):
    for path in NOTEBOOKS:
        outputs = [
            output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])
        ]
        figures = sum("image/png" in output.get("data", {}) for output in outputs)
        assert len(pages[f"{path.stem}.html"].select("main img")) == figures >= 1
    assert len(pages["results.html"].select("main img")) == tool.RESULTS.read_text(
        encoding="utf-8"
    ).count("![")
    for name, page in pages.items():
        for picture in page.select("img"):
            words = picture.get("alt", "")
            assert words and not words.startswith("No description"), f"{name}: {words!r}"


def test_the_tables_of_the_results_are_there(pages):
    text = tool.RESULTS.read_text(encoding="utf-8")
    tables = pages["results.html"].select("main table")
    assert len(tables) == len(re.findall(r"^\|[ -]*--", text, re.MULTILINE))
    assert "<!--" in text and "<!--" not in pages["results.html"].main.text


def test_a_browser_draws_every_page(browser, site, pages):
    """Every picture and every formula, at every width, and the console stays silent."""
    for name, page in pages.items():
        assert browser.faults(site / name, WIDTHS) == [], name
        drawn = browser.run("document.querySelectorAll('math').length")
        assert drawn == len(page.select("math")), name
    requests = {
        event["params"]["request"]["url"].partition("#")[0]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in requests if not url.startswith(("file:", "data:", "about:"))} == set()


# On a dark screen, for everybody, on paper


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("index.html", ""),
        ("search.html", "?q=guarantee"),
        ("results.html", ""),
        ("exercises/02_failure_one_nothing_is_ever_removed.html", ""),
        ("01_flip_flops_and_a_tiny_gpt.html", ""),
    ],
)
def test_axe_finds_nothing_to_complain_of(browser, axe, site, name, state, scheme, width):
    assert violations(browser, axe, site / name, state, scheme, width) == []


LOOK = """(() => {
  const colour = (element, name) => getComputedStyle(element)[name].match(/[\\d.]+/g).slice(0, 3)
    .reduce((sum, part) => sum + Number(part) / 765, 0);
  const shown = element => element?.getBoundingClientRect().height > 0;
  return {
    page: colour(document.body, "backgroundColor"), text: colour(document.body, "color"),
    figures: [...document.querySelectorAll("main img")].map(i => colour(i, "backgroundColor")),
    navigation: [...document.querySelectorAll("header, .onward, .sections")].filter(shown).length,
    widest: Math.max(...[...document.querySelectorAll("main *")].map(
      element => element.getBoundingClientRect().right)),
  };
})()"""


def test_dark_screens_get_dark_pages_with_figures_on_white(browser, site):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", media="", features=dark)
    browser.open(site / "05_length_generalisation.html")
    look = browser.run(LOOK)
    assert look["page"] < 0.15 and look["text"] > 0.85
    assert set(look["figures"]) == {1} and look["navigation"] == 3


def test_paper_gets_a_clean_page(browser, site):
    """Also from a dark screen: dark on white, no navigation, nothing beyond the edge."""
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    for name in ("04_threshold_relative_attention.html", "results.html"):
        browser.call("Emulation.setEmulatedMedia", media="print", features=dark)
        browser.open(site / name, width=PAPER)
        look = browser.run(LOOK)
        assert look["page"] == 1 and look["text"] < 0.15
        assert look["navigation"] == 0 and look["widest"] <= PAPER + 1
        pdf = browser.call("Page.printToPDF", preferCSSPageSize=True)["data"]
        pages = base64.b64decode(pdf).count(b"/Type /Page\n")
        assert 8 <= pages <= 40
    browser.call("Emulation.setEmulatedMedia", media="", features=[])


# The search


def found(browser, page, words):
    """What the search says and shows for some words: (its count, [(text, address)])."""
    browser.open(page)
    browser.run("document.getElementById('query').select()")
    browser.call("Input.insertText", text=words)
    browser.settle()
    links = "[...document.querySelectorAll('#results a')].map(a => [a.innerText, a.href])"
    return browser.text("#count"), browser.run(links)


def test_the_search_finds_what_is_there(browser, site):
    page = site / "search.html"
    count, results = found(browser, page, "guarantee")
    assert re.fullmatch(r"\d+ places", count) and len(results) > 5
    assert results[0][0] == (
        "04 Threshold relative attention: A guarantee that does not mention length"
    )
    assert "guarantee" in browser.text("#results mark").lower()
    for words, name in [
        ("no error on sparse strings", "results.html"),
        ("false survivors", "explore.html"),
        ("NotImplementedError", "exercises/"),
        ("slides speaker", "index.html"),
    ]:
        _, results = found(browser, page, words)
        assert any(name in address for _, address in results), words


def test_the_search_takes_whatever_is_typed(browser, site):
    for words, expected in [("zzzz", "0 places"), ("(*[", "0 places"), ("<b>x", "0 places")]:
        assert found(browser, site / "search.html", words) == (expected, [])
    count, results = found(browser, site / "search.html", "the")
    assert "best 40 below" in count and len(results) == 40
    count, results = found(browser, site / "search.html", "   ")
    assert count.startswith("Type one word") and results == []


def test_the_search_can_be_reached_and_used_with_keys(browser, site):
    """From the field of any page to a result; each result leads to a part that is there."""
    browser.open(site / "exercises" / EXERCISES[0].name.replace(".ipynb", ".html"))
    browser.run("document.getElementById('anywhere').focus()")
    browser.call("Input.insertText", text="silent row")
    browser.press("Enter")
    browser.wait("location.pathname.endsWith('/search.html')")
    assert browser.run("document.getElementById('query').value") == "silent row"
    assert browser.run("document.activeElement.id") == "query"
    browser.key("ArrowDown")
    browser.key("ArrowDown")
    browser.key("ArrowUp")
    first = browser.run("document.querySelector('#results a').href")
    assert browser.run("document.activeElement.href") == first
    browser.press("Enter")
    browser.wait(f"location.href == {first!r}")


def test_every_part_that_the_search_knows_is_there(site, pages):
    [text] = re.findall(r"^const ENTRIES = (.*);$", pages["search.html"].decode(), re.MULTILINE)
    entries = json.loads(text)
    links = "".join(f'<a href="{address}"></a>' for _, _, address, _ in entries)
    index = BeautifulSoup(links, "html.parser")
    assert broken_links(site, {**pages, "all.html": index}) == []
    titles = {title for title, _, _, _ in entries}
    assert len(titles) == len(NOTEBOOKS) + len(EXERCISES) + 3  # the index, results, explorer
    for title, _, address, text in entries:
        assert text and "$" not in title and "¶" not in text, address


# The command


def test_what_cannot_be_shown_ends_the_command_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(tool, "EXERCISES", tmp_path)
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "README.md")
    tool.RESULTS.write_text("Without a title.", encoding="utf-8")
    with pytest.raises(SystemExit) as refusal:
        tool.main(str(tmp_path / "html"))
    assert str(refusal.value).startswith("website: README.md: needs a title")
    assert not (tmp_path / "html").exists()


def test_a_folder_that_cannot_be_written_ends_the_command_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(tool, "EXERCISES", tmp_path)
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "README.md")
    tool.RESULTS.write_text("# Results\n\nA sentence.", encoding="utf-8")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as refusal:
        tool.main(str(tmp_path / "file" / "html"))
    assert re.fullmatch(r"website: .*Not a directory: '.*/file/html'", refusal.value.code)


def test_every_notebook_needs_its_minutes(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "README", tmp_path / "README.md")
    tool.README.write_text(
        "| [A](notebooks/a.ipynb): x | 5 |\n| [B](notebooks/b.ipynb): y | about 30 |\n",
        encoding="utf-8",
    )
    pages = [tool.Page(f"{name}.html", name.upper(), "", None) for name in "abc"]
    assert tool.minutes_to_read(pages[:2]) == [5, 30]
    with pytest.raises(ValueError, match="README.md gives no minutes to read for C"):
        tool.minutes_to_read(pages)

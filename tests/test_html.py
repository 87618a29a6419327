"""The notebooks as web pages: complete without a network, well linked, drawn by a real browser."""

import base64
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
TOOL = runpy.run_path(str(ROOT / "tools" / "pages.py"))
BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
WIDTHS = (1280, 390)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
HARD = (
    r"""# Hard cases of $\sigma$

**The sentence:** prices such as `$5 and $6` are no formulas (e.g. $w_{i,j}$ is one).
A second sentence.

Next to punctuation: ($\delta$), "$\sigma(x)$", $a$; $b$. *In $a_i$ and $b_i$ emphasis*,
**$x*y*z$**, ``$`x`$``, `$USER` or `$PATH`.
All of $\frac14$, $\sum_{j\le i} w_{ij}$, $\sqrt{D}$, $i \in A$, $a\cdot b$,
$\text{kept if } a<b>c$, $\|x\|$, and one that does not fit on a telephone:
$s_{ij} = \frac{q_i \cdot k_j}{\sqrt{D}} + \log \sigma(f_j) \cdot \sum_{k=j}^{i} c_k
+ c_1 + c_2 + c_3 + c_4$.

$$\text{attention}_i = \sum_{j \le i} \frac{e^{s_{ij}}}{\sum_{k \le i} e^{s_{ik}}} v_j , \qquad
d_{ij} = \sum_{k=j+1}^{i} \mathbb{1}[s_{ik} > \delta]
\quad \text{for every } j \le i \text{ and every head}$$

\begin{align} a &= b \\ c &= d \end{align}

| size | chance | code |
|---|:-:|---|
| $|x|$ | **$P(a|b)$** | `a\|b $` |

- in a list $x_1$
  $$
  = a + b
  $$
  1. deeper $\in$

> In a quotation:
> $$
> \sum_{j\le i} j
> > 3
> $$

<details><summary>Hint: $\delta_h$</summary>

Inside $x^2$, `$y$`.

</details>

<details>
<summary>Raw <code>$HOME</code></summary>
Raw $a \le b$ and <em title="of $x$">$x_i$</em>.
</details>

```bash
cd

echo $HOME $PATH
```
($c$ follows without a gap.)

    indented $x$ and $y$

## The rule $a_i$

See [the next](02_second.ipynb#The-next-part), [here](#The-rule-$a_i$), [code](../some_code.py),
[paper](https://arxiv.org/abs/2503.23174) and ![a teal square](dot.svg). Averylongword"""
    + "x" * 80
)
FORMULAS = 31
WIDE = "|" + " column |" * 12 + "\n|" + "---|" * 12 + "\n|" + " 1000000 |" * 12
BAD = """<title>bad</title><img src="none.png"><p>$x$</p><div style="width: 3000px">wide</div>
<math></math><script>console.error("spoken in bad.html")</script>"""
PROBE = """<!DOCTYPE html><title>probe</title>{frames}<script>
function look(frame, width) {{
  frame.style.width = width + "px";
  const page = frame.contentDocument, root = page.documentElement, dollars = [];
  page.querySelectorAll("details").forEach(details => details.open = true);
  const texts = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {{
    const inside = texts.currentNode.parentElement;
    if (texts.currentNode.data.includes("$") && !inside.closest("code, pre, script, style"))
      dollars.push(texts.currentNode.data);
  }}
  const invisible = element => {{
    const box = element.getBoundingClientRect();
    return !(box.width && box.height);
  }};
  return {{
    page: frame.getAttribute("src"), width: root.clientWidth, title: page.title, dollars: dollars,
    beyond: root.scrollWidth - root.clientWidth,
    broken: [...page.images].filter(image => !image.naturalWidth).length,
    formulas: page.querySelectorAll("math").length,
    invisible: [...page.querySelectorAll("math")].filter(invisible).length,
  }};
}}
addEventListener("load", () => {{
  const frames = [...document.querySelectorAll("iframe")];
  const found = frames.flatMap(frame => {widths}.map(width => look(frame, width)));
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(found);
}});
</script>"""


def notebook(folder, name, text, **code):
    """Writes a notebook of one text and one code cell, executed unless `code` says otherwise."""
    code = {"execution_count": 1, "outputs": []} | code
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1 + 1", **code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / name)


@pytest.fixture(scope="session")
def hard(tmp_path_factory):
    """A folder with notebooks of all that is difficult to render."""
    folder = tmp_path_factory.mktemp("hard") / "notebooks"
    folder.mkdir()
    (folder.parent / "some_code.py").touch()
    (folder / "dot.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9H0"/></svg>'
    )
    output = nbformat.v4.new_output
    picture = {"image/png": {"alt": "One grey pixel, in place of a figure"}}
    outputs = [
        output("stream", text="costs $1, " + "and more " * 40),
        output("display_data", {"image/png": PIXEL}, metadata=picture),
    ]
    notebook(folder, "01_hard.ipynb", HARD, outputs=outputs)
    notebook(folder, "02_second.ipynb", f"# Wide & plain\n\nA table.\n\n## The next part\n\n{WIDE}")
    notebook(folder, "03_last.ipynb", "# Last\n\n*Without mathematics.* Nothing else.")
    return folder


@pytest.fixture(scope="session", params=["hard", "ours"])
def pages(request, hard, tmp_path_factory):
    """The hard cases, then our own notebooks, as {path: parsed page}, the index first."""
    source = hard if request.param == "hard" else ROOT / "notebooks"
    try:
        paths = TOOL["render"](source, tmp_path_factory.mktemp("html"))
    except SystemExit as reason:
        pytest.fail(f"cannot render the notebooks: {reason}")
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


def look(folder, names):
    """Shows pages to a headless browser at each width; returns what it finds, and its console."""
    if not BROWSER:
        pytest.skip("no Chromium or Chrome on the PATH: install one to see the pages drawn")
    frames = [f'<iframe src="{name}" style="border: 0"></iframe>' for name in names]
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(frames="\n".join(frames), widths=list(WIDTHS)))
    quiet = ["background-networking", "component-update", "sync", "gpu", "dev-shm-usage"]
    command = [BROWSER, "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"]
    command += [f"--disable-{name}" for name in quiet]
    command += ["--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", probe.as_uri()]
    shown = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    found = BeautifulSoup(shown.stdout, "html.parser").find("pre")
    assert found, f"the browser showed nothing:\n{shown.stderr[-2000:]}"
    console = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(found.text), console


def test_pages_refer_to_nothing_remote(pages):
    for path, page in pages.items():
        for element in page.select("[src], link, script, iframe, object, form"):
            address = element.get("src") or element.get("href") or ""
            assert element.name in ("img", "link") and address.startswith("data:"), (path, element)
        assert not re.search(r"@import|url\(['\"]?(?!data:)", str(page.find_all("style"))), path
        assert "default-src 'unsafe-inline' data:" in str(page.head), path


def test_every_page_is_listed_and_leads_to_its_neighbours(pages):
    index, *rest = pages
    listed = [link["href"] for link in pages[index].select(".contents a[rel=chapter]")]
    assert listed == [path.name for path in rest]
    for entry in pages[index].select(".contents li"):
        assert entry.a.text.strip() and entry.p.text.strip().endswith((".", "!", "?")), entry
    for place, path in enumerate(rest):
        for kind, neighbours in (("prev", rest[:place][-1:]), ("next", rest[place + 1 :][:1])):
            links = [link["href"] for link in pages[path].select(f"nav a[rel={kind}]")]
            assert links == [neighbour.name for neighbour in neighbours] * 2, (path, kind)
        assert len(pages[path].select("nav a[href='index.html']")) == 2


def test_links_lead_somewhere(pages):
    for path, page in pages.items():
        for link in page.select("a[href]"):
            address, _, part = unquote(link["href"]).partition("#")
            if re.match("[a-z]+:", address):
                continue
            target = (path.parent / address).resolve() if address else path
            assert target.exists() and target.suffix != ".ipynb", f"{path.name}: {link}"
            assert not part or pages[target].find(id=part), f"{path.name}: {link}"


def test_pictures_have_alternative_text(pages):
    for path, page in pages.items():
        for picture in page.select("img"):
            words = picture.get("alt", "")
            assert words and not words.startswith("No description"), f"{path.name}: {words!r}"


def test_no_dollar_is_left_in_the_text(pages):
    for path, page in pages.items():
        for text in page.body.find_all(string=re.compile(r"\$|xFORMULA")):
            assert text.find_parent(["code", "pre"]), f"{path.name}: {text!r}"


def test_hard_cases_are_rendered(hard, tmp_path):
    index, path, *_ = TOOL["render"](hard, tmp_path / "a" / "b")
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    assert len(page.select("main math")) == FORMULAS
    assert len(page.select("math[display=block]")) == 4
    code = [element.text.strip() for element in page.select("code, .highlight, pre")]
    dollars = ["$5 and $6", "$`x`$", "a|b $", "$y$", "$USER", "$PATH", "$HOME"]
    for verbatim in [*dollars, "cd\n\necho $HOME $PATH", "indented $x$ and $y$"]:
        assert verbatim in code
    cells = [[cell.text for cell in row.select("td")] for row in page.select("tr")]
    assert cells[1] == ["|x|", "P(a|b)", "a|b $"]
    assert page.select_one("blockquote math").text.endswith("j>3")
    assert page.select_one(".formula:-soup-contains('δ')").text == "(δ),"
    assert page.select_one("[title]")["title"] == "of $x$"
    assert page.title.text == "Hard cases of σ"
    assert (path.parent / page.find("a", string="code")["href"]).resolve().name == "some_code.py"
    svg = page.select_one("img[alt='a teal square']")["src"].partition("base64,")[2]
    assert base64.b64decode(svg) == (hard / "dot.svg").read_bytes()
    entry = BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser").select_one("li p")
    assert entry.text == "prices such as $5 and $6 are no formulas (e.g. wi,j is one)."


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        (None, {}, "there are no notebooks in"),
        ("# A\n\nB.", {"execution_count": None}, "x.ipynb: has a cell that was not executed"),
        ("# A\n\nB.", {"outputs": [nbformat.v4.new_output("error")]}, "x.ipynb: has a cell that f"),
        ("# A\n\n$\\fraq12$", {}, "x.ipynb: cannot draw '$\\\\fraq12$'"),
        ("# A\n\n![b](c.png)", {}, "x.ipynb: shows a picture that is not here: c.png"),
        ("# A\n\n![b](https://c.d/e.png)", {}, "x.ipynb: shows a picture that is not here: https"),
        ("No title.", {}, "x.ipynb: needs a title"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(tmp_path, text, code, reason):
    if text:
        notebook(tmp_path, "x.ipynb", text, **code)
    with pytest.raises(SystemExit) as refusal:
        TOOL["render"](tmp_path, tmp_path / "html")
    message = str(refusal.value)
    assert message.startswith(reason) and "\n" not in message
    assert not (tmp_path / "html").exists()


def test_a_browser_draws_every_page(pages):
    folder = next(iter(pages)).parent
    (folder / "bad.html").write_text(BAD)  # shows that this test would notice
    findings, console = look(folder, [*(path.name for path in pages), "bad.html"])
    assert [found["width"] for found in findings] == list(WIDTHS) * (len(pages) + 1)
    for path in pages:
        for found in [found for found in findings if found["page"] == path.name]:
            assert found["title"], found
            assert found["beyond"] == found["broken"] == found["invisible"] == 0, found
            assert found["dollars"] == [], found
            assert found["formulas"] == len(pages[path].select("math")), found
    bad = findings[-1]
    assert bad["beyond"] > 0 and bad["broken"] == bad["invisible"] == 1 and bad["dollars"]
    assert console and all("spoken in bad.html" in line for line in console), console

"""Notebooks as web pages: what is hard to render, drawn by a real browser; what is refused."""

import base64
import re
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (360, 1280)
sys.path.insert(0, str(ROOT / "tools"))

import pages as tool

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


def write_notebook(folder, name, text, execution_count=1, outputs=()):
    """Writes a notebook of one text and one code cell."""
    code = nbformat.v4.new_code_cell(
        "1 + 1", execution_count=execution_count, outputs=list(outputs)
    )
    cells = [nbformat.v4.new_markdown_cell(text), code]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / name)


@pytest.fixture(scope="session")
def hard(tmp_path_factory):
    """A folder with notebooks of all that is difficult to render."""
    folder = tmp_path_factory.mktemp("hard").resolve() / "notebooks"
    folder.mkdir()
    (folder.parent / "some_code.py").touch()
    (folder / "dot.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9H0"/></svg>',
        encoding="utf-8",
    )
    output = nbformat.v4.new_output
    picture = {"image/png": {"alt": "One grey pixel, in place of a figure"}}
    outputs = [
        output("stream", text="costs $1, " + "and more " * 40),
        output("display_data", {"image/png": PIXEL}, metadata=picture),
    ]
    write_notebook(folder, "01_hard.ipynb", HARD, outputs=outputs)
    second = f"# Wide & plain\n\nA table.\n\n## The next part\n\n{WIDE}"
    write_notebook(folder, "02_second.ipynb", second)
    write_notebook(folder, "03_last.ipynb", "# Last\n\n*Without mathematics.* Nothing else.")
    return folder


def render(source, folder):
    """Writes a page for each notebook of a folder -> {page's path: the page, parsed}."""
    sources = sorted(source.glob("*.ipynb"))
    places = {path: f"{path.stem}.html" for path in sources}
    exporter = tool.Exporter()
    pages = [tool.page_of(path, tool.read(path), places, exporter) for path in sources]
    paths = [tool.write(folder, page) for page in pages]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


@pytest.fixture(scope="module")
def pages(hard, tmp_path_factory):
    return render(hard, tmp_path_factory.mktemp("html"))


def test_hard_cases_are_rendered(hard, pages):
    path, second, _ = pages
    page = pages[path]
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
    description = page.select_one("meta[name=description]")["content"]
    assert description == "prices such as $5 and $6 are no formulas (e.g. wi,j is one)."
    svg = page.select_one("img[alt='a teal square']")["src"].partition("base64,")[2]
    assert base64.b64decode(svg) == (hard / "dot.svg").read_bytes()
    assert pages[second].select_one("h2 > a")["href"] == "#The-next-part"


def test_links_lead_to_pages_and_nowhere_else(pages):
    """A link to a file of the project that has no page is only text."""
    page = next(iter(pages.values()))
    addresses = {link.text: link["href"] for link in page.select("main a[href]")}
    assert addresses["the next"] == "02_second.html#The-next-part"
    assert addresses["here"] == "#The-rule-$a_i$"
    assert addresses["paper"].startswith("https:")
    assert "code" not in addresses and page.find(string=re.compile("^, code"))


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("# A\n\nB.", {"execution_count": None}, "has a cell that was not executed"),
        ("# A\n\nB.", {"outputs": [nbformat.v4.new_output("error")]}, "has a cell that failed"),
        ("# A\n\n$\\fraq12$", {}, "cannot draw '$\\\\fraq12$'"),
        ("# A\n\n![b](c.png)", {}, "shows a picture that is not here: c.png"),
        ("# A\n\n![b](https://c.d/e.png)", {}, "shows a picture that is not here: https"),
        ("# A\n\n[B](c.ipynb).", {}, "has a link to what is not here: c.ipynb"),
        ("No title.", {}, "needs a title"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(tmp_path, text, code, reason):
    write_notebook(tmp_path, "x.ipynb", text, **code)
    with pytest.raises(ValueError) as refusal:
        render(tmp_path, tmp_path / "html")
    message = str(refusal.value)
    assert message.startswith(f"x.ipynb: {reason}") and "\n" not in message
    assert not (tmp_path / "html").exists()


def test_a_browser_draws_every_page(browser, pages):
    for path in pages:
        assert browser.faults(path, WIDTHS) == []
        assert browser.run("document.querySelectorAll('math').length") == len(
            pages[path].select("math")
        )


def test_the_test_above_notices_what_is_wrong(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(BAD, encoding="utf-8")
    assert set(browser.faults(page, [360])) == {
        ("Runtime.consoleAPICalled", "console"),
        ("wider than the page", 360),
        ("broken picture", 360),
        ("invisible math", 360),
        ("formula left as text", 360),
        ("Log.entryAdded", "console"),
    }

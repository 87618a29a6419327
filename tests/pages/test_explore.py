"""figures/explore.html in a real browser: its numbers are the package's, and anyone can use it.

The functions of the page are called by name, and what the page shows is read from its elements.
"""

import json
import math
import random
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest
import torch
from browsing import violations

from experiments import explore
from tra_mini import GPT, GPTConfig, decode, flip_flop
from tra_mini.attention import REMOVED, attend, tra_logits
from tra_mini.mechanisms import ALiBi, Attention, FoX

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "figures" / "explore.html"
WIDTHS = (360, 768, 1280)
NAMES = ("softmax", "alibi", "fox", "tra")
DEFAULTS = {
    "string": "w1i0i1r",
    "query": -1,
    "ignored": 0,
    "threshold": 0,
    "f": 0.5,
    "slope": 0.25,
    "relevant": 2,
    "irrelevant": -4,
    "rho": 0,
    "width": 16,
}
LONG = "w1i0i1i1i0i1i0i0i1i1i0i0w0i1i1i0i0i1i0r"
STATES = [  # addresses of situations that look different
    "#",
    "#ignored=100000&rho=0.01",
    f"#string={LONG}&head=6",
    "#string=w0i1w1i0r&ignored=1000&head=1",
    "#string=i0i1r&ignored=20",
    "#string=w1i0i1r1&query=3&threshold=-4.5",
    *[f"#step={step}&answer={answer}" for step in (1, 2, 3, 4, 5) for answer in (0, 1)],
]


def spoiled(folder, old, new):
    """A copy of the page in which a text is replaced, to see that a test would notice."""
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    copy = folder / "explore.html"
    copy.write_text(text.replace(old, new), encoding="utf-8")
    return copy


# The package's numbers


def keys_of(s):
    """The package's side of a situation: tokens of the row, its scores, the relevant position."""
    string = s["string"]
    query = string.rfind("r") if s["query"] < 0 else min(s["query"], len(string) - 1)
    query = query if query >= 0 else len(string) - 1
    place = query - query % 2
    inserted = "".join(f"i{n % 2}" for n in range(s["ignored"]))
    tokens = string[:place] + inserted + string[place : query + 1]
    bound = math.sqrt(s["width"])
    relevant, since, scores = -1, 0, []
    for j, token in enumerate(tokens):
        written = token in "01" and j % 2 == 1 and tokens[j - 1] == "w"
        since = 0 if written else since + 1
        score = s["irrelevant"]
        if written:
            relevant = j
            score = s["relevant"]
        elif s["rho"] > 0 and since % round(1 / s["rho"]) == 0:
            score = 0.1
        scores.append(min(bound, max(-bound, score)))
    return tokens, torch.tensor(scores, dtype=torch.float64), relevant


def rules(s, T):
    """{name: rule(scores, rows)}, the package's own mechanisms with their numbers set by hand."""
    config = GPTConfig(n_head=1, d_model=s["width"])
    alibi, fox, plain = ALiBi(config), FoX(config).double(), Attention(config)
    alibi.slopes = lambda: [s["slope"]]
    fox.requires_grad_(False)
    fox.gate.weight.zero_()
    fox.gate.bias.fill_(math.log(s["f"] / (1 - s["f"])) if s["f"] < 1 else math.inf)
    x = torch.zeros(1, T, s["width"], dtype=torch.float64)

    def tra(scores, rows):
        gates = torch.full(scores.shape[:3], math.log(s["f"]), dtype=torch.float64)
        return tra_logits(scores, gates, s["threshold"])

    return {
        "softmax": lambda scores, rows: plain.weigh(scores, rows, x, None),
        "alibi": lambda scores, rows: alibi.weigh(scores, rows, x, None),
        "fox": lambda scores, rows: fox.weigh(scores, rows, x, None),
        "tra": tra,
    }


def weights_of(s):
    """{name: weights (T,) of the query's row}, all through attend unless the row is long."""
    _, scores, _ = keys_of(s)
    T, root = len(scores), math.sqrt(s["width"])
    result = {}
    for name, rule in rules(s, T).items():
        if T <= 300:
            k = torch.zeros(1, 1, T, s["width"], dtype=torch.float64)
            k[..., 0], k[..., 1] = scores, (s["width"] - scores**2).clamp(0).sqrt()
            q = torch.zeros_like(k)
            q[..., 0] = root
            result[name] = attend(q, k, torch.zeros_like(k), rule, True)[1][0, 0, -1]
        else:
            logits, keep = rule(scores[None, None, None], slice(T - 1, T))
            weights = (logits + REMOVED * (keep - 1)).softmax(-1) * keep.amax(-1, keepdim=True)
            result[name] = weights[0, 0, 0]
    return result


def relevant_weights(s):
    _, _, relevant = keys_of(s)
    return {name: weights[relevant].item() for name, weights in weights_of(s).items()}


def random_situation(draw):
    """Settings as a reader may choose them, with rows of at most some 600 keys."""
    bits = ["".join(draw.choice("wrii") + draw.choice("01") for _ in range(draw.randint(1, 19)))]
    strings = [*bits, bits[0] + "r", "w1i0i1r", "i0i1r", "w0i1w1i0r"]
    string = draw.choice(strings)
    width = draw.choice([2, 4, 8, 16, 32, 64])
    bound = math.sqrt(width) + 0.5
    return {
        "string": string,
        "query": draw.choice([-1, draw.randrange(len(string))]),
        "ignored": draw.choice([0, 1, 3, 4, draw.randint(0, 40), draw.randint(0, 300)]),
        "threshold": draw.choice([0, round(draw.uniform(-bound, bound), 1)]),
        "f": draw.choice([0.5, round(draw.uniform(0.01, 1), 2), 1]),
        "slope": draw.choice([0, 1 / 256, 1 / 16, 1 / 4, 1]),
        "relevant": round(draw.uniform(-bound, bound), 1),
        "irrelevant": round(draw.uniform(-bound, bound), 1),
        "rho": draw.choice([0, 0, 0.01, 0.05, 0.1, 0.2, 0.5, 1]),
        "width": width,
    }


def wrong_weights(browser, page, situations):
    """The situations in which any weight of the page differs from the package's by 1e-6."""
    browser.open(page)
    script = """JSON.parse(%s).map(s => {
      const rows = rowsOf(s, keysOf(s));
      return NAMES.map(name => [...rows[name].weights]);
    })"""
    found = browser.run(script % json.dumps(json.dumps(situations)))
    faults = []
    for s, rows in zip(situations, found, strict=True):
        for weights, (name, expected) in zip(rows, weights_of(s).items(), strict=True):
            weights = torch.tensor(weights, dtype=torch.float64)
            if weights.shape != expected.shape or not (weights - expected).abs().max() <= 1e-6:
                faults.append((name, s))
    return faults


def test_weights_equal_the_packages_in_200_random_situations(browser):
    draw = random.Random(0)
    situations = [random_situation(draw) for _ in range(200)]
    silent = sum(bool((weights_of(s)["tra"] == 0).all()) for s in situations)
    assert 10 < silent < 150  # both kinds are among them
    assert wrong_weights(browser, PAGE, situations) == []


@pytest.mark.parametrize("ignored", [3000, 100000])
@pytest.mark.parametrize("rho", [0, 0.001, 0.01])
def test_long_strings_too(browser, ignored, rho):
    s = {**DEFAULTS, "ignored": ignored, "rho": rho, "slope": 1 / 256, "f": 0.99}
    browser.open(PAGE)
    script = """(s => {
      const keys = keysOf(s), rows = rowsOf(s, keys);
      return NAMES.map(name => [rows[name].weights[keys.relevant], rows[name].weights.at(-2),
        rows[name].weights.reduce((sum, weight) => sum + weight, 0)]);
    })(%s)"""
    _, _, relevant = keys_of(s)
    for found, expected in zip(
        browser.run(script % json.dumps(s)), weights_of(s).values(), strict=True
    ):
        numbers = [expected[relevant].item(), expected[-2].item(), expected.sum().item()]
        assert found == pytest.approx(numbers, rel=1e-6, abs=1e-12)


def test_a_changed_formula_is_noticed(browser, tmp_path):
    """The key itself is no longer counted last, or FoX's gate is taken twice."""
    draw = random.Random(1)
    situations = [random_situation(draw) for _ in range(30)]
    old = "    survivors += keep[j];\n    distance[j] = survivors;"
    page = spoiled(tmp_path, old, "    distance[j] = survivors ** 1.1;\n    survivors += keep[j];")
    assert {name for name, _ in wrong_weights(browser, page, situations)} == {"tra"}
    page = spoiled(
        tmp_path, "alibiLogits(scores, -logForget)", "alibiLogits(scores, -2 * logForget)"
    )
    assert {name for name, _ in wrong_weights(browser, page, situations)} == {"fox"}


def test_the_curve_equals_the_rows(browser):
    """The one pass of sweep gives what the package gives for each string by itself."""
    browser.open(PAGE)
    draw = random.Random(2)
    compared = 0
    for _ in range(40):
        s = random_situation(draw)
        stops = [0, 1, 2, 5, 17, 100]
        script = f"NAMES.map(name => sweep({json.dumps(s)}, name, {stops}))"
        curves = browser.run(script)
        if keys_of(s)[2] < 0:
            continue
        for n, ignored in enumerate(stops):
            expected = list(relevant_weights({**s, "ignored": ignored}).values())
            assert [curve[n] for curve in curves] == pytest.approx(expected, abs=1e-6), s
            compared += 1
    assert compared > 100


# Lengths that follow from formulas


def test_crossings_are_hit():
    """By the package alone: the situations below are where notebooks 02, 03 and 07 put them."""
    half = 1 + math.exp(6)
    assert 403 < half < 405  # keys; 198 ignored instructions make 403, 199 make 405
    before, after = ({**DEFAULTS, "ignored": n} for n in (198, 199))
    assert relevant_weights(before)["softmax"] > 0.5 > relevant_weights(after)["softmax"]
    neighbours = [weights_of({**DEFAULTS, "ignored": n})["alibi"] for n in (9, 10, 11)]
    leads = [math.log(weights[1] / weights[-2]) for weights in neighbours]
    assert leads == pytest.approx([0.5, 0, -0.5], abs=1e-9)  # a tie at 25 tokens


def test_the_page_marks_the_crossings(browser):
    browser.open(PAGE)
    lines = browser.run("predict(DEFAULTS).lines")
    by_name = {line["name"]: line for line in lines}
    assert by_name["softmax"]["at"] == pytest.approx((1 + math.exp(6) - 7) / 2)
    assert by_name["alibi"]["at"] == pytest.approx(10)  # distance 25 = 5 + 2 * 10
    assert by_name["fox"]["at"] == pytest.approx((1 + 6 / math.log(2) - 5) / 2)
    assert by_name["tra"]["level"] == pytest.approx(1 / (1 + math.exp(4)))
    assert "404.4 keys" in browser.text("#predictions .softmax")
    assert "= 25 tokens" in browser.text("#predictions .alibi")
    assert "9.7 tokens" in browser.text("#predictions .fox")
    assert "0.018" in browser.text("#predictions .tra")


DOTS = """[...document.querySelectorAll("#curve circle.dot")].map(dot => {
  const name = dot.classList[1], line = document.querySelector(`#curve path.line.${name}`);
  const [x, y] = [+dot.getAttribute("cx"), +dot.getAttribute("cy")];
  let nearest = Infinity;
  for (let along = 0; along < line.getTotalLength(); along += 0.5) {
    const point = line.getPointAtLength(along);
    nearest = Math.min(nearest, Math.hypot(point.x - x, point.y - y));
  }
  return { name, nearest, weight: (bottom - y) / (bottom - top) };
})"""
AXES = """const [top, , bottom] = [1, 0.5, 0].map(value => {
  const text = [...document.querySelectorAll("#curve text")].find(t => t.textContent == value);
  return +text.getAttribute("y") - 4;
});"""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_dot_lies_on_its_curve(browser, width):
    browser.open(PAGE, width=width)
    dots = browser.run(f"(() => {{ {AXES} return {DOTS}; }})()")
    assert [dot["name"] for dot in dots] == ["softmax", "alibi", "fox"]
    assert max(dot["nearest"] for dot in dots) < 1.5  # pixels
    assert dots[0]["weight"] == pytest.approx(0.5, abs=0.005)
    tie = relevant_weights({**DEFAULTS, "ignored": 10})["alibi"]
    assert dots[1]["weight"] == pytest.approx(tie, abs=0.005)


def test_the_guarantee_holds_where_it_is_claimed(browser):
    browser.open(PAGE)
    draw = random.Random(3)
    situations = [random_situation(draw) for _ in range(1000)]
    predictions = browser.run(f"{json.dumps(situations)}.map(s => predict(s).lines)")
    levels = []
    for s, lines in zip(situations, predictions, strict=True):
        for line in lines:
            if line.get("level") is not None:
                levels.append(line["level"])
                assert relevant_weights(s)["tra"] >= line["level"] - 1e-9, s
    assert len(levels) > 20 and max(levels) > 0.5


def test_false_survivors_take_half_where_the_formula_says(browser):
    """Counted in steps of one false survivor: the half is lost at the first step beyond it."""
    browser.open(PAGE)
    for f, rho in ((0.5, 0.1), (0.5, 0.01), (0.9, 0.05)):
        s = {**DEFAULTS, "f": f, "rho": rho}
        [line] = browser.run(f"predict({json.dumps(s)}).lines")
        keys = 2 * line["at"] + 5  # irrelevant keys after the written bit
        step = round(1 / rho)
        before = math.floor(keys / step) * step
        for after, lost in ((before, False), (before + step, True)):
            weight = relevant_weights({**s, "ignored": math.ceil((after - 5) / 2)})["tra"]
            assert (weight < 0.5) == lost, (f, rho, after, weight)


# What the page shows


CELLS = """[...document.querySelectorAll("#strips tbody")].map(body =>
  [...body.rows].map(line => [...line.cells].map(cell => cell.innerText.trim())))"""


def test_the_running_example_is_shown_as_notebook_03_has_it(browser):
    browser.open(PAGE)
    [[scores], softmax, alibi, _, tra] = browser.run(CELLS)
    assert scores[1:] == ["−4", "2", "−4", "−4", "−4", "−4", "−4"]
    assert softmax[2][1:] == ["0.002", "0.985", *["0.002"] * 5]
    assert alibi[3][1:] == ["6", "5", "4", "3", "2", "1", "0"]
    assert alibi[4][1:] == ["−5.5", "0.75", "−5", "−4.75", "−4.5", "−4.25", "−4"]
    assert tra[1][1:] == ["removed", "", *["removed"] * 5]
    assert tra[2][1:] == ["", "1", *[""] * 5]
    assert "exactly 1" in tra[0][0]


def test_a_silent_row_says_so(browser):
    browser.open(PAGE, "#string=i0i1r")
    *_, tra = browser.run(CELLS)
    assert "silent: no key survives" in tra[0][0]
    assert tra[1][1:] == ["removed"] * 5 and tra[2][1:] == [""] * 5
    assert "Nothing was written" in browser.text("#curve")


def test_many_ignored_instructions_are_summarised(browser):
    browser.open(PAGE, "#ignored=5000")
    s = {**DEFAULTS, "ignored": 5000}
    weights = weights_of(s)
    [[scores], softmax, alibi, _, tra] = browser.run(CELLS)
    assert scores[1:] == ["−4", "2", "−4", "−4", "−4"]  # w, 1, the fold, the last bit, r
    assert browser.text("#strips .fold") == "10,003 keys"
    assert softmax[2][3] == f"together {weights['softmax'][2:-2].sum():.3f}"
    assert alibi[3][3] == "10,004 to 2"
    assert tra[1][3] == "removed"


def test_clicking_a_token_makes_it_the_query(browser):
    browser.open(PAGE, "#string=w1i0i1r1")
    assert browser.run("keysOf(state).query") == 6  # the last r
    browser.click('#strips [data-query="0"]')
    *_, tra = browser.run(CELLS)
    assert "silent" in tra[0][0]
    assert [cell for cell in tra[1][2:] if cell] == []  # later keys are not there
    browser.click('[data-string="w0i1w1i0r"]')
    assert browser.run("[state.string, keysOf(state).query]") == ["w0i1w1i0r", 8]


def test_a_wrong_string_is_named_and_the_last_good_one_stays(browser):
    browser.open(PAGE)
    typing = """(text => { const input = document.getElementById("string"); input.value = text;
      input.dispatchEvent(new Event("input", { bubbles: true })); })"""
    browser.run(f"{typing}('w1x')")
    browser.settle()
    assert "w, r or i" in browser.text("#complaint")
    assert browser.run("state.string") == "w1i0i1r"
    browser.run(f"{typing}('w0 i1 R')")
    browser.settle()
    assert browser.run("[state.string, document.getElementById('complaint').hidden]") == [
        "w0i1r",
        True,
    ]


def test_the_keyboard_is_enough(browser):
    browser.open(PAGE)
    browser.run("document.getElementById('ignored').focus()")
    for _ in range(12):
        browser.key("ArrowRight")
    assert browser.run("state.ignored") == 15
    assert browser.run("document.getElementById('ignored').getAttribute('aria-valuetext')") == "15"
    browser.open(PAGE)
    browser.run("document.querySelector('#strips [aria-pressed=true]').focus()")
    browser.key("ArrowLeft")
    focused = "document.activeElement.dataset.query"
    assert browser.run(f"[state.query, {focused}]") == [5, "5"]
    browser.run("document.querySelector('#layer2 [data-head]').focus()")
    browser.click("#layer2 [data-head]")
    assert browser.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    browser.open(PAGE)
    reached = set()
    for _ in range(60):
        browser.call(
            "Input.dispatchKeyEvent", type="rawKeyDown", key="Tab", windowsVirtualKeyCode=9
        )
        reached.add(browser.run("document.activeElement.id || document.activeElement.textContent"))
    sliders = set(browser.run("[...document.querySelectorAll('input[type=range]')].map(i => i.id)"))
    assert len(sliders) == 8 and sliders | {"string", "exact", "typed", "copy"} <= reached


def test_results_are_read_out(browser):
    browser.open(PAGE, "#ignored=199")
    browser.run("new Promise(done => setTimeout(done, 500))")
    spoken = browser.run("document.querySelector('#live[role=status]').textContent")
    assert spoken == "Weight of the written 1: Softmax 0.500, ALiBi ≈0, FoX ≈0, TRA 1"


# Guided steps


def shown_numbers(browser, part):
    places = f"[...document.querySelectorAll('#words .{part} [data-name]')]"
    return browser.run(f"{places}.map(place => [place.dataset.name, place.innerText])")


def text_of(weight):
    if weight < 0.0005:
        return "≈0"
    if weight < 0.9995:
        return f"{weight:.3f}"
    return "1" if weight == 1 else "≈1"


def truths():
    """For each step: the settings it ends in, and its numbers, from the package and by hand."""
    numbers = {}
    s = {**DEFAULTS, "ignored": 199}
    numbers[1] = s, {"keys": "405", "softmax": text_of(relevant_weights(s)["softmax"])}
    numbers[1][1]["half"] = f"{1 + math.exp(6):.1f}"
    s = {**DEFAULTS, "ignored": 11}
    numbers[2] = s, {"tie": "25", "distance": "27", "alibi": text_of(relevant_weights(s)["alibi"])}
    numbers[2][1]["neighbour"] = text_of(weights_of(s)["alibi"][-2].item())
    numbers[2][1]["foxTie"] = f"{1 + 6 / math.log(2):.1f}"
    s = {**DEFAULTS, "ignored": 100000}
    numbers[3] = s, {name: text_of(relevant_weights(s)[name]) for name in ("tra", "softmax")}
    numbers[3][1]["removed"] = f"{2 * 100000 + 6:,}"
    s = {**DEFAULTS, "string": "w0i1w1i0r", "ignored": 1000}
    numbers[4] = s, {name: text_of(relevant_weights(s)[name]) for name in ("tra", "alibi")}
    numbers[4][1].update(ratio="2", near="1", far="2", older=text_of(weights_of(s)["tra"][1]))
    s = {**DEFAULTS, "ignored": 150, "rho": 0.01}
    numbers[5] = s, {"distance": "305", "leaks": "3", "tra": text_of(relevant_weights(s)["tra"])}
    load = math.log(1 + 0.5 * math.exp(2 - 0.1)) / math.log(2)
    numbers[5][1]["load"] = f"{load:.1f}"
    return numbers


def test_each_guided_step_asks_and_then_says_what_is_true(browser):
    browser.open(PAGE)
    browser.click("#invitation button")
    for step, (settings, numbers) in truths().items():
        # It asks, and nothing on the page gives the answer away.
        assert browser.text("#where") == f"Step {step} of 5"
        assert browser.run("document.activeElement.tagName") == "H2"
        assert "Covered until" in browser.text("#curve")
        assert browser.run("document.querySelector('#words .tell').hidden")
        assert browser.text("#words .ask").endswith("?")
        assert browser.run("state.ignored") == 0

        # A prediction is made, and the page shows what is true.
        number = browser.run("""(() => {
          const input = document.querySelector("#words input");
          if (input.type == "radio") input.checked = true; else input.value = 7;
          return input.type == "number";
        })()""")
        browser.click("#words [data-answer]")
        guess = "7" if number else "nearly 0"
        assert browser.text("#words .said").strip() == f"You said {guess}."
        assert browser.run("document.querySelector('#words .guess').hidden")
        assert dict(shown_numbers(browser, "tell")) == numbers
        state = browser.run("state")
        assert {key: state[key] for key in settings} == settings
        assert browser.run("document.querySelector('#curve svg') !== null")
        first = browser.run("[...document.querySelector('#strips .strip').classList].slice(1)")
        assert first == [{1: "softmax", 2: "alibi"}.get(step, "tra"), "focus"]
        browser.click("#next")
    assert browser.run("[state.step, document.getElementById('card').hidden]") == [0, True]


def test_what_the_steps_claim_in_words():
    """The claims without a number: halves, ties, orders, and the remedy of step 5."""
    steps = truths()
    assert abs(relevant_weights(steps[1][0])["softmax"] - 0.5) < 0.001
    alibi = weights_of(steps[2][0])["alibi"]
    assert alibi[-2] > alibi[1]
    assert relevant_weights(steps[3][0])["tra"] == 1
    silent = {**steps[3][0], "string": "i0i1r"}
    assert (weights_of(silent)["tra"] == 0).all()
    assert weights_of(silent)["softmax"].sum() == pytest.approx(1)
    for f in (1, 0.5):
        row = weights_of({**steps[4][0], "f": f})["tra"]
        assert row[5] / row[1] == pytest.approx(1 / f)
    assert weights_of({**steps[4][0], "f": 1})["tra"][1] == pytest.approx(0.5)
    row = weights_of(steps[4][0])["alibi"]
    assert row[5] > row[1]
    s = steps[5][0]
    assert relevant_weights({**s, "ignored": 100})["tra"] > 0.5 > relevant_weights(s)["tra"]
    assert relevant_weights({**s, "threshold": 0.2})["tra"] == 1


def test_the_first_step_asks_about_the_truth(browser):
    browser.open(PAGE, "#step=1")
    assert shown_numbers(browser, "ask") == [["softmax", "0.985"]]
    browser.open(PAGE, "#step=4")
    assert shown_numbers(browser, "ask") == [["older", "0.500"]]


# The address


def test_the_state_survives_a_reload(browser):
    draw = random.Random(4)
    for _ in range(12):
        browser.open(PAGE)
        s = random_situation(draw)
        browser.run(f"set({json.dumps({**s, 'head': draw.randint(0, 16)})})")
        browser.settle()
        look = "[document.getElementById('strips').innerHTML, state]"
        before = browser.run(look)
        address = browser.run("location.hash")
        browser.open(PAGE, address)
        assert browser.run(look) == before, address


def test_a_link_leads_into_a_step_and_out_again(browser):
    browser.open(PAGE, "#step=4&answer=1&f=0.25")
    assert browser.run("[state.string, state.ignored, state.f]") == ["w0i1w1i0r", 1000, 0.25]
    browser.settle()
    assert browser.run("location.hash") == "#f=0.25&step=4&answer=1"
    browser.run("location.hash = '#ignored=10'")
    browser.settle()
    assert browser.run("[state.step, state.string, state.ignored]") == [0, "w1i0i1r", 10]


@pytest.mark.parametrize(
    "address",
    ["#string=%3Cb%3E&f=x", "#ignored=-5&step=99&width=1e9", "#ignored=1e99", "#%%%", "#f=&rho="],
)
def test_a_bad_address_does_no_harm(browser, address):
    browser.events.clear()
    browser.open(PAGE, address)
    state = browser.run("state")
    assert re.fullmatch("[wri01]+", state["string"])
    assert 0 <= state["ignored"] <= 100000 and 0.01 <= state["f"] <= 1 and state["step"] <= 5
    assert browser.run("document.querySelectorAll('#strips tbody').length") == 5
    assert browser.complaints() == []


class Frame(SimpleHTTPRequestHandler):
    """Serves files as Jupyter does: scripts run, but nothing is sent, asked or copied."""

    def end_headers(self):
        self.send_header("Content-Security-Policy", "sandbox allow-scripts")
        super().end_headers()

    def log_message(self, *arguments):
        """Nothing."""


def test_the_steps_work_in_jupyter(browser):
    """Opened from a notebook there, the page may not send a form, ask, or use the clipboard."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Frame, directory=PAGE.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{PAGE.name}"
    browser.call("Page.navigate", url=f"{address}#step=2")
    browser.wait("location.protocol == 'http:'")
    browser.settle()
    browser.run("document.querySelector('#words input').focus()")
    browser.call("Input.insertText", text="30")
    browser.key("Enter")
    assert browser.text("#words .said").strip() == "You said 30."
    browser.click("#next")
    browser.click("#words [data-answer]")
    assert browser.run("[state.step, state.answer]") == [3, 1]
    browser.run("navigator.clipboard.writeText = async () => { throw Error('refused'); }")
    browser.click("#copy")
    shown = "document.querySelector('#copied').textContent"
    browser.wait(f"{shown} == '{address}#step=3&answer=1'")
    server.shutdown()
    server.server_close()


def test_the_button_copies_the_link(browser):
    browser.open(PAGE, "#ignored=7")
    browser.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    browser.click("#copy")
    assert browser.run("window.copied") == PAGE.as_uri() + "#ignored=7"
    assert browser.text("#copied") == "Copied."


PROSE = sorted((ROOT / "notebooks").rglob("*.ipynb")) + [ROOT / "README.md", ROOT / "TEACHING.md"]
LINK = re.compile(r"\]\((?:\.\./)*figures/explore\.html(#[^)]*)\)")
END = re.compile(r"[.?!](?=\s|$)|\n\n")  # of a sentence
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def links():
    """[(file, address, the sentence that links to it)] of all links to a situation."""
    found = []
    for path in PROSE:
        texts = [path.read_text(encoding="utf-8")]
        if path.suffix == ".ipynb":
            texts = [cell.source for cell in nbformat.read(path, as_version=4).cells]
        for text in texts:
            for link in LINK.finditer(text):
                before = END.split(text[: link.start()])[-1]
                after = END.split(text[link.end() :])[0]
                found.append((path.name, link[1], before + after))
    return found


def test_every_situation_that_is_linked_to_shows_the_numbers_of_its_sentence(browser):
    linked = links()
    files = {file[:2] for file, _, _ in linked}
    assert files == {"00", "02", "03", "04", "07", "TE"}
    for file, address, sentence in linked:
        browser.open(PAGE, address, width=360)
        assert browser.run("toAddress(state)") == address, file  # nothing in it is passed over
        shown = NUMBER.findall(browser.text("main"))
        missing = [number for number in NUMBER.findall(sentence) if number not in shown]
        assert missing == [], (file, address, sentence)


# The trained model


def page_with(model, folder):
    """A copy of the page that holds another model."""
    page = folder / "explore.html"
    shutil.copy(PAGE, page)
    explore.store(model, folder / "explore.json")
    explore.embed(page, folder / "explore.json")
    return page


def test_rows_and_answers_of_a_model_equal_the_packages(browser, tmp_path):
    """Weights of 14 bits: scores and weights agree to about three digits."""
    torch.manual_seed(0)
    model = GPT(GPTConfig()).double().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.2 * torch.randn_like(parameter))  # norms and gates that matter
    browser.open(page_with(model, tmp_path))
    generator = torch.Generator().manual_seed(1)
    for length in (2, 8, 40):
        tokens, _ = flip_flop(1, max(4, length), 0.8, generator)
        tokens = tokens[:, :length]
        run = f"runModel(loadModel(), {decode(tokens[0])!r})"
        rows = """layers.map(heads => heads.map(rows => rows.map(row =>
          [[...row.weights], [...row.scores], row.forget])))"""
        script = f"(({{ layers, logits }}) => [{rows}, logits.map(l => [...l])])({run})"
        layers, logits = browser.run(script)
        expected, maps = model(tokens, return_weights=True)
        assert torch.allclose(torch.tensor(logits).double(), expected[0], atol=2e-3)

        x = model.embedding(tokens)
        for layer, block in enumerate(model.blocks):
            attended = block.norm_attention(x)
            q, k, _ = block.attention.heads(attended)
            scores = (q @ k.mT / math.sqrt(q.shape[-1]))[0]
            forget = block.attention.log_forget(attended)[0].exp()
            for head in range(model.config.n_head):
                for i, (weights, row, gate) in enumerate(layers[layer][head]):
                    assert row == pytest.approx(scores[head, i, : i + 1].tolist(), abs=2e-3)
                    assert gate == pytest.approx(forget[head, i].item(), abs=1e-3)
                    if scores[head, i, : i + 1].abs().min() > 2e-3:  # no key on the threshold
                        assert weights == pytest.approx(
                            maps[layer][0, head, i, : i + 1].tolist(), abs=4e-3
                        )
            x, _ = block(x)


def test_the_stored_model_answers_strings_of_40_tokens(browser):
    browser.open(PAGE)
    tokens, scored = flip_flop(30, 40, 0.8, torch.Generator().manual_seed(2))
    strings = json.dumps([decode(row) for row in tokens])
    script = f"""(model => {strings}.map(string => runModel(model, string).logits.map(
      l => l.indexOf(Math.max(...l)))))(loadModel())"""
    answers = torch.tensor(browser.run(script))
    reads = scored[:, :-1]
    correct = answers[:, :-1][reads] == tokens[:, 1:][reads]
    assert len(correct) > 60 and correct.all()


def test_what_the_section_says_of_it(browser):
    heads = len(json.loads(explore.NUMBERS.read_text(encoding="utf-8"))["scores"])
    browser.open(PAGE, f"#string=w0i1w1i0r&head={heads + 1}")
    assert re.search(
        r"expects 1, with probability .*\. The latest write says 1\.", browser.text("#expected")
    )
    assert (
        browser.run("document.querySelectorAll('#layer1 tbody, #layer2 tbody').length") == 2 * heads
    )
    open_heads = (
        "[...document.querySelectorAll('[aria-expanded=true]')].map(b => b.closest('table').id)"
    )
    assert browser.run(open_heads) == ["layer2"]
    browser.click('#layer1 [data-query="1"]')
    assert "not an r" in browser.text("#expected")
    browser.open(PAGE, "#string=i0i1r")
    assert "Nothing was written" in browser.text("#expected")


def test_the_page_holds_the_stored_numbers():
    text = PAGE.read_text(encoding="utf-8")
    stored = explore.NUMBERS.read_text(encoding="utf-8")
    assert explore.NUMBERS.stat().st_size < 200_000
    assert text.count(stored) == 1
    numbers = json.loads(stored)
    heads, *pairs = torch.tensor(numbers["scores"]).shape
    assert numbers["model"] == str(GPTConfig(n_head=heads)) and pairs == [5, 5]
    assert torch.tensor(numbers["log_forget"]).max() < 0


def test_numbers_are_written_once_and_again(tmp_path):
    torch.manual_seed(0)
    model = GPT(GPTConfig())
    page = page_with(model, tmp_path)
    once = page.read_bytes()
    explore.embed(page, tmp_path / "explore.json")
    assert page.read_bytes() == once
    page.write_text("no place for it", encoding="utf-8")
    with pytest.raises(ValueError, match="0 marked places"):
        explore.embed(page, tmp_path / "explore.json")
    with pytest.raises(ValueError, match="allowed: TRA with two layers"):
        explore.numbers(GPT(GPTConfig(mechanism="alibi")))


# Alone, quiet, and readable everywhere


def test_nothing_is_fetched_and_the_console_is_silent(browser):
    text = PAGE.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and not re.search(r"""(src|href)=|@import|url\(""", text)
    browser.events.clear()
    for state in STATES:
        browser.open(PAGE, state)
    browser.click("#layer2 [data-head]")
    browser.click('[data-string="i0i1r"]')
    requests = [
        event["params"]["request"]["url"].partition("#")[0]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert set(requests) <= {PAGE.as_uri(), "about:blank"} and len(requests) >= len(STATES)
    assert browser.complaints() == []


def test_an_error_would_be_noticed(browser, tmp_path):
    page = spoiled(tmp_path, 'addEventListener("DOMContentLoaded", start);', "nowhere();")
    browser.events.clear()
    browser.open(page)
    assert len(browser.complaints()) == 1


def test_nothing_moves_by_itself(browser):
    assert not re.search(r"transition|animation|@keyframes", PAGE.read_text(encoding="utf-8"))
    browser.open(PAGE)
    assert browser.run("document.getAnimations().length") == 0


OVERFLOWS = """[...document.querySelectorAll("main *")].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || element.closest(".hidden")) return false;
  const scroll = element.closest(".scroll");
  if (scroll && element !== scroll && scroll.scrollWidth > scroll.clientWidth) return false;
  const svg = element.closest("svg")?.getBoundingClientRect();
  const ends = svg ? [svg.left, svg.right] : [0, document.documentElement.clientWidth];
  return box.left < ends[0] - 1 || box.right > ends[1] + 1;
}).map(element => element.outerHTML.slice(0, 80))"""
CUT = """[...document.querySelectorAll("button, label, output, .title, h1, h2, li")].filter(
  element => element.offsetWidth && element.scrollWidth > element.clientWidth + 1
    && !element.matches(".hidden") && getComputedStyle(element).display != "inline"
).map(element => element.outerHTML.slice(0, 80))"""


BELOW = """[...document.querySelectorAll("tbody.strip")].filter(strip => {
  const title = [...strip.querySelectorAll(".title > *")];
  const lowest = Math.max(...title.map(part => part.getBoundingClientRect().bottom));
  return lowest > strip.getBoundingClientRect().bottom + 1;
}).map(strip => strip.innerText.slice(0, 40))"""


@pytest.mark.parametrize("state", STATES)
def test_nothing_overflows(browser, state):
    browser.open(PAGE, state)
    for width in WIDTHS:
        browser.resize(width)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(OVERFLOWS) == []
        assert browser.run(CUT) == []
        assert browser.run(BELOW) == []


def test_the_first_screen_shows_the_example_whole(browser):
    """On a phone no column is cut off; on a laptop all four strips are in view."""
    ends = "[...document.querySelectorAll('#strips tbody')].at(-1).getBoundingClientRect()"
    browser.open(PAGE, width=360)
    scroll = "document.querySelector('.scroll')"
    assert browser.run(f"{scroll}.scrollWidth <= {scroll}.clientWidth")
    assert browser.run("document.getElementById('summary').getBoundingClientRect().bottom") <= 800
    browser.open(PAGE, width=1280)
    assert browser.run(f"{ends}.bottom") < 760
    for step in (1, 2, 3, 4, 5):  # the strip that a step is about, beside its words
        browser.open(PAGE, f"#step={step}&answer=1", width=1280)
        strip = "document.querySelector('#strips .focus').getBoundingClientRect()"
        assert browser.run(f"{strip}.bottom") < 660


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_to_complain_of(browser, axe, scheme, width):
    for state in [*STATES[:6], "#step=1", "#step=3", "#step=5&answer=1"]:
        assert violations(browser, axe, PAGE, state, scheme, width) == [], state


def test_a_label_that_cannot_be_read_is_noticed(browser, axe, tmp_path):
    old = ".controls label { "
    page = spoiled(tmp_path, old, f"{old}color: #ffffff; background: #ffffff; ")
    rules = {rule for rule, _ in violations(browser, axe, page, "#", "light")}
    assert rules == {"color-contrast"}
    page = spoiled(tmp_path, '<label for="slope">', "<label>")
    rules = {rule for rule, _ in violations(browser, axe, page, "#", "light")}
    assert rules == {"label"}

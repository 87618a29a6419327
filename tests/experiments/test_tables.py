"""Tables: the pages hold what the stored results say, and a changed number is noticed."""

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laboratory import config, made_up, write_results

from experiments import stored, tables
from experiments.charts import FIVE
from experiments.grids import EXPERIMENTS, LENGTHS, SPARSER, SPLITS
from experiments.results import RESULTS
from experiments.runs import LEARNED
from experiments.tables import PAGES, TABLES, table, with_tables, worst, write_tables
from tra_mini.plots import STYLE


def cells_of(text):
    """A table in Markdown -> its headings and rows, each a list of texts."""
    lines = [line.removeprefix("| ").removesuffix(" |") for line in text.splitlines()]
    headings, rule, *rows = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    assert all(set(cell) == {"-"} for cell in rule)
    assert all(len(row) == len(headings) for row in rows)
    return headings, rows


# The pages


@pytest.mark.parametrize("page", PAGES, ids=["README", "figures"])
def test_the_pages_are_what_the_stored_results_make_of_them(page):
    """`make figures` writes them: python -m experiments redraw."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- table " in text
    assert with_tables(text) == text


def test_every_stored_experiment_has_its_table_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    here = {name for name in EXPERIMENTS if (RESULTS / f"{name}.json").exists()}
    marks = set(re.findall(r"<!-- table (\w+) -->", text))
    assert here - {"headline"} <= marks  # which is computed on the reader's machine


def test_a_changed_number_in_any_table_is_noticed_and_restored():
    """A planted fault: the last digit of a marked table, one table after the other."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for mark in re.finditer(r"<!-- table \w+ -->\n(.*?)<!-- end -->", text, re.DOTALL):
            digit = mark.start(1) + re.search(r"\d(?!.*\d)", mark[1], re.DOTALL).start()
            other = str((int(text[digit]) + 1) % 10)
            spoilt = text[:digit] + other + text[digit + 1 :]
            assert with_tables(spoilt) == text


def test_only_what_stands_between_marks_is_written():
    """Whatever stood there; numbers elsewhere stay as they are; twice is as once."""
    before = "Above 0.12.\n\n<!-- table recipe -->\n"
    after = "<!-- end -->\n\nBelow | 0.99 |\n<!-- end -->\n"
    new = f"{before}{TABLES['recipe'](stored('recipe'))}\n{after}"
    for text in ("", "| old | 0.34 |\n", "no table\n\nat all\n", "<!-- table -->\n"):
        assert with_tables(before + text + after) == new
    assert with_tables(new) == new


def test_writing_restores_a_page_and_an_unknown_mark_is_named(tmp_path):
    """A page that cannot be written anew stays whole."""
    pages = [tmp_path / "one.md", tmp_path / "other.md"]
    text = with_tables("<!-- table recipe -->\n<!-- end -->\n")
    pages[0].write_text(text.replace("0.0", "0.1"), encoding="utf-8")
    pages[1].write_text("<!-- table no_such -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(ValueError, match="^table is 'no_such'; allowed: "):
        write_tables(pages)
    assert pages[0].read_text(encoding="utf-8") == text
    assert pages[1].read_text(encoding="utf-8") == "<!-- table no_such -->\n<!-- end -->\n"
    assert set(tmp_path.iterdir()) == set(pages)


# The helpers

WORDS = st.text("abc 0.1_", min_size=1).map(str.strip).filter(bool)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[WORDS] * n), min_size=1)))
def test_a_table_holds_its_cells_in_aligned_columns(lines):
    headings, *rows = map(list, lines)
    text = table(headings, rows)
    assert cells_of(text) == (headings, rows)
    bars = {tuple(match.start() for match in re.finditer(r"\|", line)) for line in text.split("\n")}
    assert len(bars) == 1


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2000)), min_size=1))
def test_the_worst_share_is_rounded_down(pairs):
    """Two digits, never above the least share; 1.00 is without an error."""
    shares = [min(correct, n) / n for correct, n in pairs]
    least = min(100 * min(correct, n) // n for correct, n in pairs)  # in whole numbers: exact
    assert worst(shares) == f"{least // 100}.{least % 100:02d}"
    assert (worst(shares) == "1.00") == (min(shares) == 1)


# The tables


def share(config, split, length):
    """A made-up exact match; of TRA's seeds one is without an error."""
    if (config["mechanism"], config["seed"]) == ("tra", 1):
        return 1.0
    return (31 * config["seed"] + 7 * len(split) + length) % 100 / 100


def test_exact_matches_against_a_loop():
    """Worst seed and mean of each cell, seeds without an error, and seeds that failed.

    A seed failed if its loss is high as in training and at the training length, wherever else.
    """
    testing = {"splits": SPLITS, "lengths": LENGTHS}
    names = ("tra", "fox")
    runs = [
        made_up(config(name, seed, testing=testing), share) for seed in range(3) for name in names
    ]
    for run in runs:
        assert run["rows"][0]["loss"] > LEARNED
    runs[2]["rows"][0]["loss"] = LEARNED  # of TRA, seed 1
    headings, rows = cells_of(tables.exact_matches(runs))
    assert [row[0] for row in rows] == ["TRA", "FoX"]
    assert [row[-2:] for row in rows] == [["1 of 3", "2 of 3"], ["0 of 3", "3 of 3"]]
    for name, row in zip(names, rows, strict=True):
        for heading, cell in zip(headings[1:-2], row[1:-2], strict=True):
            length, _, split = heading.partition(" ")
            where = (split or "in_distribution", int(length.replace(",", "")))
            shares = [share(config(name, seed), *where) for seed in range(3)]
            least, mean = re.fullmatch(r"(\S+) \((\S+)\)", cell).groups()
            assert float(least) == pytest.approx(min(shares))
            assert 0 <= sum(shares) / 3 - float(mean) + 1e-6 < 0.0101


def run_of(mechanism, seed, split, lengths, **values):
    """A made-up run of one split whose rows all have these values."""
    testing = {"splits": {split: {}}, "lengths": lengths}
    run = made_up(config(mechanism, seed, task=split, testing=testing), lambda *_: 1.0)
    for row in run["rows"]:
        row.update(values)
    return run


def test_long_strings_are_counted():
    """All seeds together: strings without an error, and the seconds of one."""
    runs = [
        run_of("tra", seed, "sparse", [16384], exact_match=exact, seconds=seconds)
        for seed, (exact, seconds) in enumerate(((1.0, 200), (0.95, 60), (0.9, 100)))
    ]
    _, rows = cells_of(tables.long(runs))
    assert rows == [["16,384", "sparse (ignore 0.98)", "57 of 60", "3 to 10"]]


def test_a_harder_task_shows_its_lengths_only_where_it_was_learned():
    """By the worst seed: one that answers less than 0.99 at the training length spoils the row."""
    lengths = [18, 34, 66, 130, 258]
    runs = [run_of("tra", seed, "max_retrieval", lengths) for seed in range(2)]
    runs += [run_of("fox", seed, "max_retrieval", lengths) for seed in range(2)]
    for run in runs:
        for row in run["rows"]:
            row["per_read"] = 1 - (row["length"] - 18) / 2000 - run["config"]["seed"] / 1000
    runs[3]["rows"][0]["per_read"] = 0.98
    headings, rows = cells_of(tables.tasks(runs))
    assert headings[2:] == ["learned at 1x?", "2x", "4x", "8x", "16x"]
    assert rows == [
        ["max retrieval", "TRA", "yes (0.99)", "0.99", "0.97", "0.94", "0.87"],
        ["max retrieval", "FoX", "no (0.98)", *["not learned"] * 4],
    ]


def test_votes_show_every_seed():
    runs = []
    for seed in range(2):
        testing = {"splits": SPARSER, "lengths": [64, 4096]}
        run = made_up(config("tra", seed, task="vote", testing=testing), lambda *_: 1.0)
        for row in run["rows"]:
            row["exact_match"] = 1 - seed * (row["length"] == 4096) * len(row["split"]) / 100
        runs.append(run)
    _, rows = cells_of(tables.vote(runs))
    assert rows == [["TRA", "1.00, 1.00", "1.00, 0.85", "1.00, 0.94", "1.00, 0.89"]]


def test_of_losses_the_highest_counts(tmp_path, monkeypatch):
    """The mechanism whose worst seed is best comes first."""
    lengths = [128, 256, 512, 1024, 2048]
    bits = (("tra", 0, 2.5), ("tra", 1, 2.7), ("fox", 0, 2.6))
    runs = [run_of(name, seed, "text", lengths, bits_per_byte=cost) for name, seed, cost in bits]
    _, rows = cells_of(tables.language(runs))
    assert [row[:3] for row in rows] == [["FoX", "1", "2.60"], ["TRA", "2", "2.70"]]

    monkeypatch.setitem(EXPERIMENTS, "language", [run["config"] for run in runs])
    write_results(tmp_path / "language.json", runs)
    monkeypatch.setattr(tables, "stored", partial(stored, folder=tmp_path))
    _, rows = cells_of(tables.language_tried([run_of("tra", 0, "wider", lengths, bits_per_byte=2)]))
    assert [row[:2] for row in rows] == [["nothing", "2.50, 2.70"], ["wider", "2.00"]]


def test_each_recipe_has_a_row_and_the_best_worst_seed_comes_first():
    """Recipes differ in heads, warm-up or steps; a seed failed if its loss is above LEARNED."""
    losses = {  # of two seeds
        (8, 200, 1000): (0.01, LEARNED),
        (8, 50, 1000): (0.06, 0.001),
        (4, 50, 1000): (0.3, 0.2),
        (8, 50, 1500): (0.002, 0.04),
    }
    runs = []
    for (n_head, warmup, steps), seeds in losses.items():
        for seed, loss in enumerate(seeds):
            run = run_of("tra", seed, "text", [64], loss=loss)
            run["config"].update(d_model=64, n_head=n_head, warmup=warmup, steps=steps)
            run["train_seconds"] = 30 + 2 * seed
            runs.append(run)
    _, rows = cells_of(tables.recipe(runs))
    assert rows == [
        ["8", "8", "50", "1500", "0 of 2", "0.0400", "31"],
        ["8", "8", "200", "1000", "0 of 2", "0.0500", "31"],
        ["8", "8", "50", "1000", "1 of 2", "0.0600", "31"],
        ["4", "16", "50", "1000", "2 of 2", "0.3000", "31"],
    ]


def test_the_short_table_holds_the_five_of_the_figure():
    """Worst seeds, at four places."""
    testing = {"splits": SPLITS, "lengths": LENGTHS}
    runs = [
        made_up(config(name, seed, testing=testing), lambda config, *_: config["seed"] / 4)
        for seed in (1, 2)
        for name in reversed(FIVE)
    ]
    _, rows = cells_of(tables.five(runs))
    assert [row[0] for row in rows] == [STYLE[name][0] for name in FIVE]
    assert all(row[1:] == ["0.25"] * 4 for row in rows)

"""The tables of README.md and figures/README.md, written from the stored results.

A page has a line <!-- table NAME --> and a line <!-- end -->; what stands between them is replaced.
"""

import json
import re
from pathlib import Path

from experiments.charts import ORDER, SPLIT_TITLE, learned, rounded_down
from experiments.compute import stored, stored_in_favour
from experiments.results import RESULTS, by_seed, write
from experiments.runs import LEARNED
from tra_mini.plots import STYLE

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "figures" / "README.md")
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
FILES = (  # of tra_mini, in the order of reading
    *("attention.py", "mechanisms.py", "model.py", "tasks.py", "training.py", "evaluation.py"),
    *("plots.py", "__main__.py", "__init__.py"),
)
COLUMNS = {  # of the tables of exact matches: heading, and where the numbers are
    "64": ("in_distribution", 64),
    "256": ("in_distribution", 256),
    "1,024": ("in_distribution", 1024),
    "4,096": ("in_distribution", 4096),
    "4,096 sparse": ("sparse", 4096),
    "4,096 dense": ("dense", 4096),
}


def table(headings, rows):
    """Markdown, from headings and rows of texts, its columns aligned."""
    cells = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)


def worst(shares):
    """The worst seed's share, rounded down to two digits."""
    return rounded_down(min(shares))


def by_mechanism(runs):
    """{mechanism: its runs, a seed each}, in the order of the runs."""
    groups = {}
    for run in runs:
        groups.setdefault(run["config"]["mechanism"], []).append(run)
    return groups


def five(runs):
    """The README's table: five mechanisms by four columns, the worst seed."""
    values = by_seed(runs, "exact_match")
    headings = ("64", "4,096", "4,096 sparse", "4,096 dense")
    rows = []
    for name in ("tra", "fox", "alibi", "rope", "nope"):
        cells = [values[COLUMNS[heading][0], name, COLUMNS[heading][1]] for heading in headings]
        rows.append([STYLE[name][0], *map(worst, cells)])
    return table(["tokens", *headings], rows)


def exact_matches(runs):
    """Share of strings without an error: worst seed (mean); seeds exact in every test; failures.

    A seed failed if its loss on strings as in training, at the training length, is above LEARNED.
    """
    values = by_seed(runs, "exact_match")
    columns = COLUMNS
    if not any(length == 4096 for _, _, length in values):
        columns = {f"{split} {length}": (split, length) for split, _, length in values}
    rows = []
    for name, mine in by_mechanism(runs).items():
        exact = [all(row["exact_match"] == 1 for row in run["rows"]) for run in mine]
        failed = [run["rows"][0]["loss"] > LEARNED for run in mine]
        shares = [values[split, name, length] for split, length in columns.values()]
        cells = [f"{worst(seeds)} ({rounded_down(sum(seeds) / len(seeds))})" for seeds in shares]
        cells += [f"{sum(exact)} of {len(mine)}", f"{sum(failed)} of {len(mine)}"]
        rows.append([STYLE[name][0], *cells])
    return table(["mechanism", *columns, "seeds without any error", "seeds that failed"], rows)


def recipe(runs):
    """Each recipe tried, the lowest loss of the worst seed first."""
    groups = {}
    for run in runs:
        config = run["config"]
        width = config["d_model"] // config["n_head"]
        key = (config["n_head"], width, config["warmup"], config["steps"])
        groups.setdefault(key, []).append(run)

    # A row for each: what it is, and how its seeds did.
    rows = []
    for key, group in groups.items():
        losses = [run["rows"][0]["loss"] for run in group]
        failed = sum(loss > LEARNED for loss in losses)
        seconds = sum(run["train_seconds"] for run in group) / len(group)
        cells = [f"{failed} of {len(group)}", f"{max(losses):.4f}", f"{seconds:.0f}"]
        rows.append((max(losses), [*key, *cells]))
    headings = ["heads", "width of a head", "steps of warm-up", "steps", "seeds that failed"]
    headings += ["nats per read, worst seed", "seconds"]
    return table(headings, [cells for _, cells in sorted(rows)])


def long(runs):
    """TRA at great lengths, all seeds together: sequences without an error, and what they took."""
    groups = {}
    for run in runs:
        for row in run["rows"]:
            groups.setdefault((row["length"], row["split"]), []).append(row)
    rows = []
    for (length, split), group in sorted(groups.items()):
        exact = sum(round(row["exact_match"] * row["n"]) for row in group)
        seconds = [row["seconds"] / row["n"] for row in group]
        cells = [f"{length:,}", SPLIT_TITLE[split], f"{exact} of {sum(row['n'] for row in group)}"]
        fastest = f"{min(seconds):.0f}"
        slowest = f"{max(seconds):.0f}"
        if fastest == slowest:
            cells.append(slowest)
        else:
            cells.append(f"{fastest} to {slowest}")
        rows.append(cells)
    return table(["tokens", "kind", "without an error", "seconds of a core, each"], rows)


def tasks(runs):
    """The harder tasks: share of correct answers, worst seed, by multiples of the training length.

    Beyond the training length only where the worst seed learned the task, see learned.
    """
    values = by_seed(runs, "per_read")
    rows = []
    for task, name in dict.fromkeys(key[:2] for key in values):
        lengths = sorted(n for where, who, n in values if (where, who) == (task, name))
        first, *longer = [worst(values[task, name, length]) for length in lengths]
        cells = [f"yes ({first})", *longer]
        if not learned(values, task, name):
            cells = [f"no ({first})", *["not learned"] * len(longer)]
        rows.append([task.replace("_", " "), STYLE[name][0], *cells])
    return table(["task", "mechanism", "learned at 1x?", "2x", "4x", "8x", "16x"], rows)


def vote(runs):
    """Majorities of three writes: strings without an error, each seed, rounded down."""
    values = by_seed(runs, "exact_match")
    columns = {
        "64": ("in_distribution", 64),
        "4,096": ("in_distribution", 4096),
        "4,096 sparse": ("sparse", 4096),
        "4,096 very sparse": ("very_sparse", 4096),
    }
    rows = []
    for name in by_mechanism(runs):
        cells = []
        for split, length in columns.values():
            cells.append(", ".join(rounded_down(share) for share in values[split, name, length]))
        rows.append([STYLE[name][0], *cells])
    return table(["mechanism", *columns], rows)


def language(runs):
    """Bits per byte, worst seed, the best at 128 bytes first."""
    values = by_seed(runs, "bits_per_byte")
    lengths = (128, 256, 512, 1024, 2048)
    names = [name for name in ORDER if ("text", name, 128) in values]
    rows = []
    for name in sorted(names, key=lambda name: max(values["text", name, 128])):
        cells = [f"{max(values['text', name, length]):.2f}" for length in lengths]
        rows.append([STYLE[name][0], len(values["text", name, 128]), *cells])
    return table(["mechanism", "seeds", *(f"{length:,}" for length in lengths)], rows)


def language_tried(runs):
    """What was tried to let TRA learn more of text, first TRA as it is."""
    groups = {"nothing": by_mechanism(stored("language"))["tra"]}
    for run in runs:
        [name] = run["config"]["testing"]["splits"]
        groups.setdefault(name, []).append(run)
    rows = []
    for name, group in groups.items():
        near = ", ".join(f"{run['rows'][0]['bits_per_byte']:.2f}" for run in group)
        far = ", ".join(f"{run['rows'][-1]['bits_per_byte']:.2f}" for run in group)
        rows.append([name, near, far, f"{group[0]['config']['steps']:,}"])
    return table(["tried with TRA", "128, each seed", "2,048", "steps"], rows)


def speed(contents):
    """Times of the forms of attention side by side, as ratios."""
    rows = []
    for row in contents["ratios"]:
        ratios = (f"{row['naive_over_ours']:.1f}", f"{row['ours_over_fused']:.1f}")
        rows.append([", ".join(map(str, row["shape"])), row["pass"], *ratios])
    return table(["(B, H, T, D)", "pass", "literal / ours", "ours / fused softmax"], rows)


def speed_by_length(contents):
    """Forward times as multiples of the fused softmax's, and extra memory."""
    rows = {(row["form"], row["T"]): row for row in contents["table"]}
    lines = []
    for length in (64, 512, 2048, 8192, 16384):
        fused = rows["fused", length]["forward_ms"]
        times = [rows[form, length]["forward_ms"] for form in ("naive", "blocked", "early")]
        memory = [rows[form, length]["memory_mb"] for form in ("naive", "blocked")]
        ratios = [f"{time / fused:.1f}" if time else "" for time in times]
        lines.append([f"{length:,}", *ratios, *(f"{mb:,.0f} MB" if mb else "" for mb in memory)])
    headings = ["T", "literal", "blocks", "stopping early", "memory, literal", "memory, blocks"]
    return table(headings, lines)


FOLDERS = {
    "[experiments/](experiments/)": "how every stored result is made",
    "[figures/](figures/)": "every table and figure, and the results that they are drawn from",
    "[exercises/](notebooks/exercises/)": "twenty exercises that check themselves",
    "[tests/](tests/), [tools/](tools/)": "what must hold; rendering, grading, slides",
}


def files():
    """The map of the house: tra_mini's files with their lines, and the other folders."""
    rows = []
    for name in FILES:
        source = (ROOT / "tra_mini" / name).read_text(encoding="utf-8")
        summary = source.removeprefix('"""').split("\n")[0].removesuffix('"""').rstrip(".")
        rows.append([f"[{name}](tra_mini/{name})", source.count("\n"), summary])
    rows += [[folder, "", what] for folder, what in FOLDERS.items()]
    return table(["in tra_mini/", "lines", "what is in it"], rows)


TABLES = {  # of an experiment, as `reproduce` prints it and figures/README.md holds it
    "recipe": recipe,
    "headline": exact_matches,
    "flip_flop": exact_matches,
    "flip_flop_four_heads": exact_matches,
    "flip_flop_variants": exact_matches,
    "paper": exact_matches,
    "flip_flop_long": long,
    "flip_flop_far": long,
    "flip_flop_million": long,
    "tasks": tasks,
    "vote": vote,
    "vote_longer": vote,
    "language": language,
    "language_tried": language_tried,
}


def marked(name):
    """The table of a page's mark: one of an experiment, or one of these."""
    if name == "files":
        return files()
    if name == "five":
        return five(stored_in_favour())
    if name in ("speed", "speed_by_length"):
        contents = json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))
        return speed(contents) if name == "speed" else speed_by_length(contents)
    if name not in TABLES:
        raise ValueError(f"table is {name!r}; allowed: those of tables.py")
    return TABLES[name](stored(name))


def with_tables(text):
    """A page's text with every marked table written anew. ValueError for an unknown name."""
    return MARKED.sub(lambda match: f"{match[1]}{marked(match[2])}\n{match[3]}", text)


def write_tables(pages=PAGES):
    """Writes the tables of the pages anew."""
    for page in pages:
        text = with_tables(page.read_text(encoding="utf-8"))
        write(page, lambda file, text=text: file.write(text.encode()))

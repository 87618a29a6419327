"""The frame: environments in step, the README's numbers, figures as their results say."""

import json
import math
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib
import pytest
import yaml

from tra_mini import __main__ as command_line
from tra_mini import plots, results
from tra_mini.experiments import RESULTS, stored
from tra_mini.grids import EXPERIMENTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DRAWN_WITH = "3.11"  # the matplotlib whose bytes the stored figures are
COMPUTED_HERE = ("headline", "paper")  # not stored with the project
TARGETS = ("reproduce", "test", "lint", "benchmark", "figures", "notebooks", "html", "lab", "clean")
CLASSROOM = ("student", "grade", "catches", "class-run", "class-merge", "slides")
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
ABLATED = ("contextual_only", "sparsity_raw", "distance_only", "sparsity_only", "nope")
BRIEF = [("in_distribution", n) for n in (64, 256, 1024, 4096)] + [
    ("sparse", 4096),
    ("dense", 4096),
]


def requirement(text):
    """'torch>=2.6,<2.14' or 'torch >=2.6,<2.14' -> its name and its bounds."""
    name, bounds = re.fullmatch(r"([\w-]+)\s*(.*)", text).groups()
    return name, bounds


def test_conda_and_pip_ask_for_the_same_packages_within_the_same_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    asked = dict(requirement(text) for text in project["dependencies"])
    asked["python"] = project["requires-python"]
    lines = [line for line in conda["dependencies"] if isinstance(line, str) and line != "pip"]
    given = dict(requirement(line) for line in lines)
    assert {CONDA_NAMES.get(name, name): bounds for name, bounds in given.items()} == asked
    assert conda["channels"] == ["conda-forge", "nodefaults"]
    assert conda["dependencies"][-1] == {"pip": ["-e ."]}


def test_torch_is_bounded_so_that_no_later_build_brings_its_cuda_libraries():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [torch] = [text for text in dependencies if text.startswith("torch")]
    assert "<" in torch


def test_the_readme_names_the_two_commands_and_ci_calls_the_second():
    assert "make reproduce" in README and "make test" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_command_of_the_makefile_is_listed_by_make_help():
    listed = subprocess.run(
        ["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True
    )
    for target in TARGETS + CLASSROOM:
        assert f"make {target}" in listed.stdout


def test_a_missing_python_gets_a_clear_message(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    command = ["make", "-C", tmp_path, "setup", "PYTHON=no-such-python"]
    asked = subprocess.run(command, check=False, capture_output=True, text=True)
    assert asked.returncode != 0
    assert "no-such-python was not found" in asked.stdout


def recipe_losses(runs, names):
    """{recipe, its settings of these names: the loss of each seed}."""
    losses = {}
    for run in runs:
        recipe = tuple(run["config"][name] for name in names)
        losses.setdefault(recipe, []).append(run["rows"][0]["loss"])
    return losses


def recipe_table(runs):
    """The README's table of the recipes tried, the lowest loss of the worst seed first."""
    lines = ["| steps | batch | learning rate | nats a read: worst of three seeds (mean) |"]
    lines.append("|---|---|---|---|")
    losses = recipe_losses(runs, ("steps", "batch", "learning_rate"))
    for (steps, batch, rate), loss in sorted(losses.items(), key=lambda item: max(item[1])):
        shown = f"{max(loss):.4f} ({sum(loss) / len(loss):.4f})"
        lines.append(f"| {steps:,} | {batch} | {rate:g} | {shown} |")
    return "\n".join(lines)


def registers_recipe_table(runs):
    """The README's table of longer and wider recipes, the lowest loss of the median seed first."""
    lines = [
        "| steps | width | learning rate | nats a read, three seeds, sorted |",
        "|---|---|---|---|",
    ]
    losses = recipe_losses(runs, ("steps", "d_model", "learning_rate"))
    for recipe, loss in sorted(losses.items(), key=lambda item: statistics.median(item[1])):
        shown = ", ".join(f"{one:.5f}" for one in sorted(loss))
        lines.append("| {:,} | {} | {:g} | ".format(*recipe) + f"{shown} |")
    return "\n".join(lines)


def starts_sentence(runs):
    """What became of each training at 64 tokens: the README's line about starts."""
    started = {}
    for run in runs:
        started.setdefault(run["config"]["mechanism"], []).append(run["started"])
    again = {name: sum(n > 1 for n in counts) for name, counts in started.items()}
    shown = (
        f"{plots.STYLE[name][0]}: {n} of {len(started[name])}" for name, n in again.items() if n
    )
    return f"Seeds that started again: {'; '.join(shown)}; all others: none."


def brief_table(runs):
    """The README's table of results: worst seed and, behind it, the mean of all seeds."""
    values = results.exact_matches(runs)
    lines = ["| mechanism | seeds | 64 | 256 | 1,024 | 4,096 | 4,096 sparse | 4,096 dense |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for mechanism in dict.fromkeys(run["config"]["mechanism"] for run in runs):
        cells = [values[split, mechanism, length] for split, length in BRIEF]
        shown = [f"{min(cell):.2f} ({sum(cell) / len(cell):.2f})" for cell in cells]
        name = f"{plots.STYLE[mechanism][0]} | {len(cells[0])}"
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def long_table(runs):
    """The README's table of TRA at great lengths: sequences without an error, of all seeds."""
    lines = ["| length | " + " | ".join(plots.SPLIT_TITLE) + " |", "|---|---|---|---|---|"]
    for length in (16384, 65536):
        rows = [row for run in runs for row in run["rows"] if row["length"] == length]
        cells = []
        for split in plots.SPLIT_TITLE:
            here = [row for row in rows if row["split"] == split]
            exact = sum(round(row["exact_match"] * row["n"]) for row in here)
            worst = min(row["per_read"] for row in here)
            cells.append(f"{exact} of {sum(row['n'] for row in here)} (reads {worst:.4f})")
        lines.append(f"| {length:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def far_sentence(runs):
    """The README's line about a great length: one sequence for each seed and kind."""
    exact, rows = {}, [run["rows"][0] for run in runs]
    for row in rows:
        assert row["length"] == rows[0]["length"] and row["n"] == 1
        exact.setdefault(row["split"], []).append(row["exact_match"] == 1)
    shown = " and ".join(f"{sum(ok)} of {len(ok)} ({split})" for split, ok in exact.items())
    times, length = [row["seconds"] for row in rows], rows[0]["length"]
    return (
        f"At {length:,} tokens, {length // 64:,} times the training length: {shown};"
        f" {min(times)} to {max(times)} seconds of one core each,"
        f" {max(row['peak_mb'] for row in rows) / 1024:.1f} GB at most."
    )


def seeds_sentence(runs):
    """How many seeds of a mechanism never err: the README's line about the 2 x 2."""
    never = {}
    for run in runs:
        exact = all(row["exact_match"] == 1 for row in run["rows"])
        never.setdefault(run["config"]["mechanism"], []).append(exact)
    counts = (f"{plots.STYLE[name][0]}: {sum(never[name])}" for name in ("tra", *ABLATED))
    return f"Seeds of five without any error: {'; '.join(counts)}."


def memory_sentence(cost):
    """The peaks of memory that the README quotes."""
    peaks = {(row["form"], row["T"]): row["memory_mb"] for row in cost["table"]}
    ours, naive = (round(peaks[form, 8192]) for form in ("blocked", "naive"))
    return (
        f"Extra memory of a forward pass at T = 8,192: {ours:,} MB, to the letter {naive:,} MB;"
        f" at T = 16,384 ours takes {round(peaks['blocked', 16384]):,} MB."
    )


def ratio_table(cost):
    """The README's table of speed: medians of one benchmark, side by side."""
    lines = ["| (B, H, T, D) | pass | literal / ours | ours / fused softmax |", "|---|---|---|---|"]
    for row in cost["ratios"]:
        shape = ", ".join(map(str, row["shape"]))
        ratios = f"{row['naive_over_ours']:.1f} | {row['ours_over_fused']:.1f}"
        lines.append(f"| {shape} | {row['pass']} | {ratios} |")
    return "\n".join(lines)


def length_table(cost):
    """The README's table of speed by length: forward times as multiples of the fused softmax's."""
    forms = {"naive": "literal", "blocked": "blocks", "early": "stopping early"}
    lines = [f"| T | {' | '.join(forms.values())} |", "|---|---|---|---|"]
    times = {(row["form"], row["T"]): row["forward_ms"] for row in cost["table"]}
    for length in (64, 512, 2048, 8192, 16384):
        cells = (times[form, length] for form in forms)
        ratios = (f"{time / times['fused', length]:.1f}" if time else "" for time in cells)
        lines.append(f"| {length:,} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def worst_share(shares):
    """The worst seed's, cut off after two digits: 1.00 is without an error."""
    return f"{math.floor(100 * min(shares)) / 100:.2f}"


def tasks_table(runs):
    """The README's table of harder tasks: share of right answers, worst seed, at 1 x and 16 x."""
    values = results.by_seed(runs, "per_read")
    tasks = dict.fromkeys(task for task, _, _ in values)
    mechanisms = dict.fromkeys(mechanism for _, mechanism, _ in values)
    lines = ["| task, tokens | " + " | ".join(plots.STYLE[name][0] for name in mechanisms) + " |"]
    lines.append("|---|" + len(mechanisms) * "---|")
    for task in tasks:
        lengths = sorted({length for where, _, length in values if where == task})
        for length in (lengths[0], lengths[4]):
            cells = " | ".join(worst_share(values[task, name, length]) for name in mechanisms)
            lines.append(f"| {task.replace('_', ' ')}, {length:,} | {cells} |")
    return "\n".join(lines)


def registers_sentence(runs):
    """The README's line about whole strings of registers, at 16 times the training length."""
    runs = [run for run in runs if run["config"]["task"] == "registers"]
    exact, shown = results.exact_matches(runs), []
    for (_, name, length), shares in exact.items():
        if length == 1024 and min(shares) > 0:
            shown.append(f"{plots.STYLE[name][0]} {', '.join(f'{share:.2f}' for share in shares)}")
    steps = f"after {runs[0]['config']['steps']:,} steps"
    return f"Strings of 1,024 tokens without an error {steps}, each seed: {'; '.join(shown)}."


def remedies_table(runs):
    """The README's table of what might help TRA: right answers, worst seed, by times the length."""
    values = results.by_seed(runs, "per_read")
    lines = ["| task | mechanism | 1 x | 2 x | 4 x | 16 x |", "|---|---|---|---|---|---|"]
    for task, mechanism in sorted(dict.fromkeys(key[:2] for key in values)):
        lengths = sorted(n for name, which, n in values if (name, which) == (task, mechanism))
        cells = " | ".join(worst_share(values[task, mechanism, lengths[i]]) for i in (0, 1, 2, 4))
        lines.append(f"| {task.replace('_', ' ')} | {plots.STYLE[mechanism][0]} | {cells} |")
    return "\n".join(lines)


def language_table(runs):
    """The README's table of bits a byte: seed 5, and the worst of three where there are three."""
    values = results.by_seed(runs, "bits_per_byte")
    lines = [
        "| mechanism | seeds | 128 | 256 | 512 | 1,024 | 2,048 |",
        "|---|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys(name for _, name, _ in values)
    for name in sorted(names, key=lambda name: max(values["text", name, 128])):
        worst = (max(values["text", name, length]) for length in (128, 256, 512, 1024, 2048))
        cells = " | ".join(f"{bits:.2f}" for bits in worst)
        seeds = len(values["text", name, 128])
        lines.append(f"| {plots.STYLE[name][0]} | {seeds} | {cells} |")
    return "\n".join(lines)


def tried_table(runs, cost):
    """The README's table of what was tried to let TRA learn more of text, first as it is."""
    steps = {(row["mechanism"], row["n_head"]): row["ratio"] for row in cost["table"]}
    tried = {"nothing": [run for run in stored("language") if run["config"]["mechanism"] == "tra"]}
    for run in runs:
        [name] = run["config"]["testing"]["splits"]
        tried.setdefault(name, []).append(run)
    lines = ["| tried with TRA | 128, each seed | 2,048 | steps | time of a step | parameters |"]
    lines.append("|---|---|---|---|---|---|")
    for name, group in tried.items():
        config, parameters = group[0]["config"], group[0]["parameters"]
        bits = (
            ", ".join(f"{run['rows'][i]['bits_per_byte']:.2f}" for run in group) for i in (0, -1)
        )
        ratio = steps[config["mechanism"], config["n_head"]]
        cells = f"{' | '.join(bits)} | {config['steps']:,} | {ratio:.2f} | {parameters:,}"
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "table",
    [
        recipe_table(stored("recipe")),
        starts_sentence(stored("flip_flop")),
        brief_table(stored("flip_flop")),
        long_table(stored("flip_flop_long")),
        far_sentence(stored("flip_flop_far")),
        far_sentence(stored("flip_flop_million")),
        seeds_sentence(stored("flip_flop")),
        tasks_table(stored("tasks")),
        registers_sentence(stored("tasks")),
        registers_recipe_table(stored("registers_recipe")),
        registers_sentence(stored("registers_longer")),
        brief_table(stored("flip_flop_variants")),
        remedies_table(stored("remedies")),
        registers_sentence(stored("remedies")),
        language_table(stored("language")),
        tried_table(
            stored("language_tried"), json.loads((RESULTS / "training_cost.json").read_text())
        ),
        ratio_table(json.loads((RESULTS / "cost.json").read_text())),
        length_table(json.loads((RESULTS / "cost.json").read_text())),
        memory_sentence(json.loads((RESULTS / "cost.json").read_text())),
    ],
    ids=[
        "recipe",
        "starts",
        "results",
        "long",
        "far",
        "million",
        "seeds",
        "tasks",
        "registers",
        "registers_recipe",
        "registers_longer",
        "variants",
        "remedies",
        "registers_remedy",
        "language",
        "tried",
        "speed",
        "lengths",
        "memory",
    ],
)
def test_the_readme_quotes_the_stored_results(table):
    assert table in README.replace("\n", " ") or table in README, f"it should hold:\n{table}"


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in COMPUTED_HERE])
def test_the_stored_results_are_whole(name):
    """Every run of the grid is there, with every row that its config asks for, and no stranger."""
    runs = results.load(RESULTS / f"{name}.json")["runs"]
    assert len(runs) == len(EXPERIMENTS[name]) == len(stored(name))
    for run in runs:
        testing = run["config"]["testing"]
        asked = {(split, length) for split in testing["splits"] for length in testing["lengths"]}
        assert {(row["split"], row["length"]) for row in run["rows"]} == asked
        for row in run["rows"]:
            if "bits_per_byte" in row:
                assert 0 < row["bits_per_byte"] < 20 and row["se"] > 0
                continue
            assert (
                0 <= row["low"] <= row["exact_match"] <= row["high"] + 1e-9 <= 1 + 2e-9
            )  # but for rounding
            assert 0 <= row["per_read"] <= 1


def test_the_starts_that_the_readme_speaks_of():
    """Beside its line about the first table: of the long strings, and of TRA's variants."""
    again = {run["config"]["seed"] for run in stored("flip_flop_long") if run["started"] > 1}
    assert f"Here seeds {' and '.join(map(str, sorted(again)))} needed a second start." in README
    assert {run["started"] for run in stored("flip_flop_variants")} == {1}
    assert "no seed of theirs had to start again" in README


def test_what_the_threshold_costs_on_registers():
    """Strings of 1,024 tokens that are wrong, of three seeds: threshold -1 beside TRA's 0."""
    wrong = {}
    for run in stored("remedies") + stored("tasks"):
        if run["config"]["task"] == "registers":
            row = run["rows"][-1]
            missed = wrong.setdefault(run["config"]["mechanism"], [])
            missed.append(round(row["n"] * (1 - row["exact_match"])))
    low, tra = sum(wrong["tra_low_threshold"]), sum(wrong["tra"])
    said = f"it leaves {low} of {3 * row['n']} strings of 1,024 tokens wrong where TRA leaves {tra}"
    assert said in README.replace("\n", " ")


def test_the_cost_of_training_is_that_of_every_model_of_text():
    """One row for each mechanism and number of heads, as multiples of TRA with four."""
    table = json.loads((RESULTS / "training_cost.json").read_text())["table"]
    ratios = {(row["mechanism"], row["n_head"]): row["ratio"] for row in table}
    runs = EXPERIMENTS["language"] + EXPERIMENTS["language_tried"]
    assert set(ratios) == {(run["mechanism"], run["n_head"]) for run in runs}
    assert len(ratios) == len(table) and ratios["tra", 4] == 1 and min(ratios.values()) > 0.1


@pytest.mark.skipif(
    not matplotlib.__version__.startswith(DRAWN_WITH),
    reason=f"stored figures were drawn with matplotlib {DRAWN_WITH}; others place text otherwise",
)
def test_drawing_the_figures_again_leaves_the_stored_bytes(tmp_path):
    drawn = 0
    for file, (name, draw) in command_line.FIGURES.items():
        if name == "headline":  # computed on the reader's machine, not stored
            continue
        plots.save(draw(command_line.read(name)), tmp_path / file)
        assert (tmp_path / file).read_bytes() == (ROOT / "figures" / file).read_bytes(), file
        drawn += 1
    assert drawn >= 3


def test_nothing_is_drawn_or_computed_on_import():
    """Importing the package prints nothing."""
    command = [sys.executable, "-c", "import tra_mini"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""Configs and the runs that they describe: grids, the task learned, models, rows of results."""

import json
from functools import partial

import pytest
import torch
from laboratory import config

from experiments import runs, stored
from experiments.compute import stored_in_favour
from experiments.grids import (
    EXPERIMENTS,
    RECIPES,
    flip_flop_config,
    language_config,
)
from experiments.results import environment, identity
from experiments.runs import (
    LEARNED,
    model_config,
    model_path,
    run,
    sequences,
    task_of,
    train_config,
)
from experiments.tasks import registers
from tra_mini import accuracy_by_length, flip_flop
from tra_mini.training import FLIP_FLOP, train

HERE = environment()


@pytest.fixture(autouse=True)
def models(monkeypatch, tmp_path):
    """Models are kept in a folder of the test's own."""
    monkeypatch.setattr(runs, "MODELS", tmp_path / "models")
    return tmp_path / "models"


def differing(one, other):
    """The settings in which two configs differ, but for the seed and the testing."""
    names = {name for name in {**one, **other} if one.get(name) != other.get(name)}
    return names - {"seed", "testing"}


# Grids


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_configs_differ_and_survive_json(name):
    """Runs are found again by their config, so no two are equal and JSON changes none."""
    grid = EXPERIMENTS[name]
    assert len({identity(one) for one in grid}) == len(grid)
    assert json.loads(json.dumps(grid)) == grid
    for one in grid:
        assert model_config(one).mechanism == one["mechanism"]
        task_of(one, next(iter(one["testing"]["splits"].values())))


COMPARISONS = [
    "flip_flop",
    "flip_flop_four_heads",
    "flip_flop_variants",
    "tasks",
    "vote",
    "vote_longer",
    "paper",
]


@pytest.mark.parametrize("name", COMPARISONS)
def test_all_mechanisms_of_a_comparison_have_one_recipe(name):
    """Within a task nothing differs but mechanism, seed, and how many tokens test it."""
    recipes = {}
    for one in EXPERIMENTS[name]:
        task = one.get("task", "flip_flop")
        assert differing(one, recipes.setdefault(task, one)) <= {"mechanism"}


def recipe_of(config):
    """A name for all that trains a config's model but the seed."""
    settings = {name: config[name] for name in config if name not in ("seed", "testing")}
    return identity(settings)


def test_the_headline_gives_each_rival_its_better_number_of_heads():
    """As the stored results choose it, with the recipe of that number."""
    chosen = {recipe_of(done["config"]) for done in stored_in_favour()}
    for one in EXPERIMENTS["headline"]:
        assert recipe_of(one) in chosen, one["mechanism"]


def test_the_recipe_in_use_is_the_one_of_lowest_loss():
    """Of the worst seed, at the training length alone; with it every start of TRA learned."""
    losses = {}
    for done in stored("recipe"):
        assert [row["length"] for row in done["rows"]] == [done["config"]["length"]]
        losses.setdefault(recipe_of(done["config"]), []).append(done["rows"][0]["loss"])
    worst = {recipe: max(seeds) for recipe, seeds in losses.items()}
    used = recipe_of(flip_flop_config("tra", 0))
    assert worst.keys() == {recipe_of(flip_flop_config("tra", 0, **one)) for one in RECIPES}
    assert {len(seeds) for seeds in losses.values()} == {20}
    assert used == min(worst, key=worst.get)
    assert worst[used] <= LEARNED


def test_the_seeds_of_the_recipe_serve_nothing_else():
    seeds = {name: {one["seed"] for one in grid} for name, grid in EXPERIMENTS.items()}
    chosen_on = seeds.pop("recipe")
    assert len(chosen_on) == 20
    assert all(chosen_on.isdisjoint(others) for others in seeds.values())


def test_what_was_tried_on_text_changes_one_thing():
    """Of TRA's run: the mechanism, or one setting, and the steps if the label says so."""
    for one in EXPERIMENTS["language_tried"]:
        changed = differing(one, language_config("tra", one["seed"]))
        [label] = one["testing"]["splits"]
        assert ("steps" in changed) == label.startswith("three times the steps")
        assert len(changed - {"steps"}) <= 1
        assert changed


def test_the_notebooks_recipe_is_that_of_the_flip_flops():
    """tra_mini.train's defaults and a config give the same weights, to the bit."""
    one = flip_flop_config("tra", 0, steps=2, n_layer=1)
    model = train(model_config(one), FLIP_FLOP, steps=2)
    for values, expected in zip(train_config(one).parameters(), model.parameters(), strict=True):
        assert torch.equal(values, expected)


def test_number_of_sequences():
    """As many tokens at each length, but at least one sequence and at most 512, unless allowed."""
    numbers = [sequences(length, 2**15) for length in (8, 64, 128, 4096, 65536)]
    assert numbers == [512, 512, 256, 8, 1]
    assert sequences(8, 2**15, at_most=4000) == 4000


# Tasks of a config


def test_training_draws_every_even_length():
    """From the shortest to the training length, evenly, as the generator says."""
    one = {"task": "parity", "settings": {}, "shortest": 6}

    def drawn(seed):
        task = runs.training_task(one)
        generator = torch.Generator().manual_seed(seed)
        return [task(2, 12, generator=generator)[0] for _ in range(200)]

    batches = drawn(0)
    lengths = [batch.shape[1] for batch in batches]
    assert set(lengths) == {6, 8, 10, 12}
    assert all(30 < lengths.count(length) < 70 for length in set(lengths))
    assert all(torch.equal(mine, again) for mine, again in zip(batches, drawn(0), strict=True))
    assert lengths != [batch.shape[1] for batch in drawn(1)]


# Models


@pytest.mark.parametrize("name", sorted(config().keys() - {"testing"}))
def test_a_models_path_depends_on_every_training_setting(name):
    """A model is never taken for one that was trained otherwise."""
    other = "rope"
    if name != "mechanism":
        other = config()[name] * 2 + 1
    assert model_path(config(**{name: other}), HERE) != model_path(config(), HERE)


def test_a_models_path_depends_on_nothing_else(monkeypatch):
    """Not on the tests or the order; but on torch, and text on the corpus."""
    path = model_path(config(), HERE)
    assert model_path(config(testing={}), HERE) == path
    assert model_path(dict(reversed(config().items())), HERE) == path
    assert model_path(config(), {**HERE, "torch": "0.1"}) != path

    text = config(task="stdlib_bytes")
    path = model_path(text, HERE)
    monkeypatch.setattr(runs, "corpus_facts", lambda: {"python": "another"})
    assert model_path(text, HERE) != path


def test_a_model_is_trained_once_and_kept(models, monkeypatch):
    """Whatever it learned: the same call reads it, and says how long its training took."""
    model = train_config(config())
    assert list(models.iterdir()) == [model.path] == [model_path(config(), HERE)]
    monkeypatch.setattr(runs, "training_task", lambda config: None)  # no batch can be drawn
    again = train_config(config())
    assert again.train_seconds == model.train_seconds > 0
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


# Rows of results


def test_a_run_of_flip_flops():
    """A row for each split and length, with all that tests, figures and notebooks read."""
    done = run(config(testing={**config()["testing"], "tokens": 8 * 700, "at_most": 600}))
    assert set(done) == {"config", "train_seconds", "rows"}
    assert json.loads(json.dumps(done)) == done
    rows = iter(done["rows"])
    for split, p_ignore in (("in_distribution", 0.8), ("dense", 0.1)):
        for length, n in ((8, 600), (16, 350)):
            task = partial(flip_flop, p_ignore=p_ignore)
            [row] = accuracy_by_length(train_config(config()), task, [length], n=n, seed=1000)
            assert next(rows) == {"split": split, "p_ignore": p_ignore, **row}
    assert not list(rows)


def test_a_run_of_a_harder_task():
    """Its settings reach the task; a row names its split and no p_ignore."""
    settings = {"n_registers": 2, "p_ignore": 0.5}
    testing = {"splits": {"two": settings}, "lengths": [8, 16], "tokens": 64}
    one = config(
        "fox", task="registers", settings=settings, shortest=6, vocab_size=8, testing=testing
    )
    for row, (length, n) in zip(run(one)["rows"], ((8, 8), (16, 4)), strict=True):
        task = partial(registers, **settings)
        [expected] = accuracy_by_length(train_config(one), task, [length], n=n, seed=1000)
        assert row == {"split": "two", **expected}


def test_a_run_of_text():
    """Rows in bits per byte, and with them what they depend on besides: the corpus."""
    testing = {"splits": {"text": {"split": "test"}}, "lengths": [8, 16], "tokens": 64}
    one = config(task="stdlib_bytes", settings={"split": "train"}, vocab_size=256, testing=testing)
    done = run(one)
    assert [(row["split"], row["length"], row["n"]) for row in done["rows"]] == [
        ("text", 8, 4),
        ("text", 16, 4),
    ]
    assert all(6 < row["bits_per_byte"] < 12 for row in done["rows"])  # nothing learned: 8
    assert done["corpus"]["train_bytes"] > done["corpus"]["test_bytes"] > 0
    assert done["parameters"] > 256 * 8


def test_a_long_run_stops_early_and_says_what_that_took(monkeypatch):
    """Beyond the lengths of the other tests: the same results, seconds, shares, memory."""
    monkeypatch.setattr(runs, "FULL_ATTENTION", 16)
    testing = {"splits": {"dense": 0.1}, "lengths": [32, 64], "tokens": 64}
    done = run(config(testing=testing))
    model = train_config(config())
    for row in done["rows"]:
        [layer] = row["read"]
        assert len(layer) == 2
        assert all(0 < share <= 2 for share in layer)
        assert row["seconds"] >= 0
        assert row["peak_mb"] > 50
        task = partial(flip_flop, p_ignore=0.1)
        [full] = accuracy_by_length(model, task, [row["length"]], n=row["n"], seed=1000)
        assert row["exact_match"] == full["exact_match"]
        assert row["loss"] == pytest.approx(full["loss"], rel=1e-4)

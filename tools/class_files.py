"""The files of the class experiment (see class_experiment.py): their form, and which are refused.

A class file is a results file (see experiments/results.py) with a digest of all that it holds.
"""

import hashlib
import json
import math

import torch

from experiments import results
from experiments.grids import FOUR_HEADS, SPLITS, flip_flop_config
from experiments.runs import sequences
from tra_mini import flip_flop
from tra_mini.evaluation import TOKENS_AT_ONCE, wilson_interval

MECHANISMS = ("tra", "fox")
TESTING = {
    "splits": {name: SPLITS[name] for name in ("in_distribution", "sparse")},
    "lengths": [64, 256, 1024],
    "tokens": 2**14,
}


def configs(seed):
    """What one member of the class runs: one training of each mechanism, with four heads.

    It is the first recipe: quicker than the one in use, and now and then a start of TRA fails.
    """
    return [
        flip_flop_config(mechanism, seed, **FOUR_HEADS, testing=TESTING) for mechanism in MECHANISMS
    ]


def in_order(run):
    """The key that sorts runs: by mechanism as in MECHANISMS, then by seed."""
    config = run["config"]
    return MECHANISMS.index(config["mechanism"]), config["seed"]


def digest(contents):
    """A SHA-256 of a file's contents without the digest itself."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def file_text(runs, **more):
    """The text of a class file: a line a run, with further fields such as environment=..."""
    head = {"schema": results.SCHEMA, "experiment": "class", **more}
    head["digest"] = digest({**head, "runs": runs})
    lines = ",\n".join(json.dumps(run) for run in runs)
    return f'{json.dumps(head)[:-1]}, "runs": [\n{lines}\n]}}\n'


def write(path, runs, **more):
    """Writes a class file in one step: a crash leaves the old one."""
    text = file_text(runs, **more)
    results.write(path, lambda file: file.write(text.encode()))


def count_reads(seed, p_ignore, length, n):
    """How many reads the n test strings of a seed hold: they are drawn as for its model."""
    generator = torch.Generator().manual_seed((1000 + seed) * 1_000_003 + length)
    batch = max(1, TOKENS_AT_ONCE // length)
    reads = 0
    for done in range(0, n, batch):
        _, scored = flip_flop(min(batch, n - done), length, p_ignore, generator)
        reads += scored.sum().item()
    return reads


def check(path):
    """The contents of a class file; raises ValueError, in one line, if it cannot be merged."""
    try:
        contents = results.load(path)
        runs = contents["runs"]
        if contents.pop("digest", None) != digest(contents):
            raise ValueError("was changed after it was written (its digest is another)")
        if [run["config"] for run in runs] != configs(runs[0]["config"]["seed"]):
            raise ValueError("was run with other settings, by another version of the project")
        if type(contents["environment"]["torch"]) is not str:
            raise ValueError("does not say under which torch it was run")
        for run in runs:
            check_rows(run["config"]["seed"], run["rows"])
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever was handed in)
        raise ValueError(f"is no class file ({type(error).__name__})") from None
    return contents


def check_rows(seed, rows):
    """Raises ValueError if a run's numbers cannot all be true of its seed's test strings."""
    places = [(row["split"], row["p_ignore"], row["length"]) for row in rows]
    expected = [
        (split, p_ignore, length)
        for split, p_ignore in TESTING["splits"].items()
        for length in TESTING["lengths"]
    ]
    if places != expected:
        raise ValueError("lacks a row or has one too many")
    for row in rows:
        if not is_possible(seed, row):
            raise ValueError(f"contradicts itself at {row['split']}, length {row['length']}")


def is_possible(seed, row):
    """Whether the numbers of a row agree with its test strings and with one another."""
    n = row["n"]
    reads = row["reads"]
    exact = row["exact_match"] * n  # strings without an error
    correct = row["per_read"] * reads  # reads answered correctly

    # The test strings are those of the seed.
    if n != sequences(row["length"], TESTING["tokens"]):
        return False
    if reads != count_reads(seed, row["p_ignore"], row["length"], n):
        return False

    # Counts are whole numbers in range; each string with an error has at least one wrong answer.
    if not (0 <= exact <= n and 0 <= correct <= reads):
        return False
    if not math.isfinite(row["loss"]) or row["loss"] < 0:
        return False
    if abs(exact - round(exact)) + abs(correct - round(correct)) > 1e-6:
        return False
    if n - exact > reads - correct + 1e-6 or (exact == n) != (correct == reads):
        return False

    return [row["low"], row["high"]] == list(wilson_interval(round(exact), n))

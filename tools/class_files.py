"""The files of the class experiment (see class_experiment.py): their form, what is refused."""

import hashlib
import json

import torch

from tra_mini import results
from tra_mini.evaluation import TOKENS_AT_ONCE, wilson_interval
from tra_mini.experiments import sequences
from tra_mini.grids import SPLITS
from tra_mini.recipes import flip_flop_config
from tra_mini.tasks import flip_flop

MECHANISMS = ("tra", "fox")
TESTING = {"splits": {name: SPLITS[name] for name in ("in_distribution", "sparse")}}
TESTING |= {"lengths": [64, 256, 1024], "tokens": 2**14}


def configs(seed):
    """What one member of the class runs: a training of each mechanism, with one start."""
    return [
        flip_flop_config(mechanism, seed) | {"starts": 1, "testing": TESTING}
        for mechanism in MECHANISMS
    ]


def text(runs, **more):
    """A class file: a results file (tra_mini/results.py), a line a run, and a digest of it all."""
    contents = {"schema": results.SCHEMA, "experiment": "class"} | more
    head = json.dumps(contents | {"digest": digest(contents | {"runs": runs})})
    lines = ",\n".join(json.dumps(one) for one in runs)
    return f'{head[:-1]}, "runs": [\n{lines}\n]}}\n'


def digest(contents):
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def reads(seed, p_ignore, length, n):
    """How many reads the test strings hold: as accuracy_by_length draws them, from the seed."""
    generator = torch.Generator().manual_seed((1000 + seed) * 1_000_003 + length)
    at_once = max(1, TOKENS_AT_ONCE // length)
    parts = (min(at_once, n - done) for done in range(0, n, at_once))
    return sum(flip_flop(part, length, p_ignore, generator)[1].sum().item() for part in parts)


def check(path):
    """The contents of a class file; raises ValueError, in one line, if it is not to be merged."""
    try:
        contents = results.load(path)
        said, runs = contents.pop("digest", None), contents["runs"]
        if said != digest(contents):
            raise ValueError("was changed after it was written (its digest is another)")
        if [one["config"] for one in runs] != configs(runs[0]["config"]["seed"]):
            raise ValueError("was run with other settings, by another version of the project")
        for one in runs:
            check_rows(one["config"]["seed"], one["rows"])
    except (OSError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"is no class file ({type(error).__name__})") from None
    return contents


def check_rows(seed, rows):
    """Raises ValueError if a run's numbers cannot all be true of its seed's test strings."""
    places = [(row["split"], row["p_ignore"], row["length"]) for row in rows]
    splits, lengths = TESTING["splits"].items(), TESTING["lengths"]
    if places != [(*split, length) for split in splits for length in lengths]:
        raise ValueError("lacks a row or has one too many")
    for row in rows:
        n, answers = row["n"], row["reads"]
        exact, right = row["exact_match"] * n, row["per_read"] * answers  # how many
        true = [
            n == sequences(row["length"], TESTING["tokens"]),
            answers == reads(seed, row["p_ignore"], row["length"], n),
            0 <= exact <= n and 0 <= right <= answers and row["loss"] >= 0,
            abs(exact - round(exact)) + abs(right - round(right)) < 1e-6,
            (exact == n) == (right == answers) and n - exact <= answers - right + 1e-6,
            [row["low"], row["high"]] == list(wilson_interval(round(exact), n)),
        ]
        if not all(true):
            raise ValueError(f"contradicts itself at {row['split']}, length {row['length']}")

"""An experiment for a whole class: everyone trains one seed, the teacher merges the files.

python tools/class_experiment.py run SEED [FOLDER]     trains, writes FOLDER/class_SEED.json
python tools/class_experiment.py merge FOLDER [OUT]    FOLDER/**/*.json -> OUT/class.json, class.svg

Each model gets one start here. A file's digest shows that it came through whole; it is no
signature: who means to deceive computes another, so run a doubtful seed again.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch

from tra_mini import plots, results
from tra_mini.evaluation import TOKENS_AT_ONCE, wilson_interval
from tra_mini.experiments import SPLITS, effort, flip_flop_config, run, sequences
from tra_mini.parallel import run_all
from tra_mini.tasks import flip_flop

MECHANISMS = ("tra", "fox")
TESTING = {"splits": {name: SPLITS[name] for name in ("in_distribution", "sparse")}}
TESTING |= {"lengths": [64, 256, 1024], "tokens": 2**14}
LINE = "{mechanism:>4}{split:>16}{length:>5}: mean {mean:.2f} [{low:.2f}, {high:.2f}]"
LINE += ", exact with {exact_seeds} of {seeds} seeds"


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


def class_run(seed, folder):
    """Trains and tests one seed -> the path of its file. After a stop the same call goes on."""
    if not 0 <= seed < 10**6:
        raise ValueError(f"SEED is {seed}; allowed: 0 to 999999")
    results.check_writable(folder)
    done, work = [], 0
    for config in configs(seed):
        step, tests = effort(config)
        work += config["steps"] * step + sum(tests.values()) * len(TESTING["splits"])
    if failures := run_all(run, configs(seed), done.append, work=work, threads=1):
        raise RuntimeError(f"seed {seed} failed: {failures[0]!r}") from failures[0]
    done.sort(key=lambda one: MECHANISMS.index(one["config"]["mechanism"]))
    path = folder / f"class_{seed}.json"
    results.write(path, text(done, environment=results.ENVIRONMENT))
    return path


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


def curve(runs):
    """A row for each mechanism, split and length: the class's mean over seeds, and how sure it is.

    low ... high is Wilson's 95 % interval of that mean, with seeds as the sample: shares between
    0 and 1 scatter at most as much as zeros and ones of the same mean, so it is never too narrow.
    """
    rows = []
    for (split, mechanism, length), values in results.exact_matches(runs).items():
        low, high = wilson_interval(sum(values), len(values))
        row = {"mechanism": mechanism, "split": split, "length": length, "seeds": len(values)}
        row |= {"exact_seeds": values.count(1), "mean": sum(values) / len(values)}
        rows.append(row | {"low": low, "high": high})
    return rows


def draw(runs, rows):
    """Each seed, the worst of them, and the interval of the class's mean; a panel a split."""
    figure = plots.length_generalisation(runs, MECHANISMS, tuple(TESTING["splits"]))
    for ax, split in zip(figure.axes, TESTING["splits"], strict=True):
        for mechanism in MECHANISMS:
            mine = [row for row in rows if (row["mechanism"], row["split"]) == (mechanism, split)]
            low, high = [row["low"] for row in mine], [row["high"] for row in mine]
            colour = plots.STYLE[mechanism][1]
            ax.fill_between(TESTING["lengths"], low, high, color=colour, alpha=0.15, linewidth=0)
    figure.suptitle(
        f"The class: {rows[0]['seeds']} seeds (faint lines), the worst of them (marked),\n"
        "95 % interval of their mean (band)"
    )
    return figure


def class_merge(folder, out):
    """Merges the class files below a folder -> the curve's rows; names each file that it refuses.

    Raises ValueError if no file is left.
    """
    merged, versions, seen = [], set(), {}
    for path in sorted(folder.rglob("*.json")):
        if path == out / "class.json":
            continue
        try:
            contents = check(path)
            seed = contents["runs"][0]["config"]["seed"]
            if seed in seen:
                raise ValueError(f"holds seed {seed} again, which {seen[seed]} holds")
        except ValueError as reason:
            print(f"refused: {path.name} {str(reason).removeprefix(f'{path} ')}")
            continue
        seen[seed] = path.name
        versions.add(contents["environment"]["torch"])
        merged += contents["runs"]
    if not merged:
        raise ValueError(f"{folder} holds no class file that can be merged")
    merged.sort(
        key=lambda one: (MECHANISMS.index(one["config"]["mechanism"]), one["config"]["seed"])
    )
    rows = curve(merged)
    results.check_writable(out)
    environment = results.ENVIRONMENT | {"torch": ", ".join(sorted(versions))}
    more = {"environment": environment, "seeds": sorted(seen), "curve": rows}
    results.write(out / "class.json", text(merged, **more))
    plots.save(draw(merged, rows), out / "class.svg")
    return rows


def main(*arguments):
    """The command line; every mistake ends it with one line, or with how to call it."""
    try:
        match arguments:
            case ["run", seed, *folder] if seed.isdecimal():
                print(f"written: {class_run(int(seed), Path(*folder))}")
            case ["merge", folder, *out] if folder:
                for row in class_merge(Path(folder), Path(*(out or [folder]))):
                    print(LINE.format(**row))
            case _:
                sys.exit(__doc__)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"class: {error}")
    except KeyboardInterrupt:
        sys.exit("\nclass: stopped; the same command goes on")


if __name__ == "__main__":
    main(*sys.argv[1:])

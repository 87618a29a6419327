"""Named experiments: grids of mechanism x seed, of which every finished run is kept at once."""

import resource
import time
from functools import partial
from pathlib import Path

from tra_mini import results, starts
from tra_mini.early import share_read, stop_early
from tra_mini.evaluation import accuracy_by_length
from tra_mini.parallel import advance, run_all
from tra_mini.rivals import MECHANISMS
from tra_mini.starts import model_path, trained
from tra_mini.tasks import flip_flop

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "figures" / "results"
MODEL = {"n_layer": 2, "n_head": 4, "d_model": 64}
TRAINING = {"steps": 1000, "length": 64, "batch": 16, "learning_rate": 3e-3}
TRAINING |= {"p_ignore": 0.8, "starts": 3}  # of at most 3 starts the first that learns counts
IN_DISTRIBUTION = {"in_distribution": 0.8}  # name: p_ignore
SPLITS = IN_DISTRIBUTION | {"sparse": 0.98, "dense": 0.1}
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
SEEDS = range(5, 10)  # 0 to 4 were looked at, long strings too, while the project was built
RECIPES = [  # of equally many tokens; TRAINING is the one of lowest loss at the training length
    {"steps": steps, "batch": 16000 // steps, "learning_rate": learning_rate}
    for steps in (500, 1000)
    for learning_rate in (1e-3, 3e-3, 1e-2)
]


def flip_flop_config(mechanism, seed):
    """All that the weights of a flip-flop run depend on."""
    return {"mechanism": mechanism, "seed": seed} | MODEL | TRAINING


def flip_flop_grid(mechanisms, seeds, splits, lengths, tokens):
    """A run's config for each seed and mechanism; tokens: how many test each length and split."""
    testing = {"splits": splits, "lengths": lengths, "tokens": tokens}
    return [
        flip_flop_config(mechanism, seed) | {"testing": testing}
        for seed in seeds
        for mechanism in mechanisms
    ]


EXPERIMENTS = {
    "recipe": [
        config | recipe | {"starts": 1}
        for recipe in RECIPES
        for config in flip_flop_grid(["tra"], range(100, 103), IN_DISTRIBUTION, [64], 2**15)
    ],
    "headline": flip_flop_grid(("tra", "fox", "alibi", "rope"), SEEDS[:3], SPLITS, LENGTHS, 2**15),
    "flip_flop": flip_flop_grid(MECHANISMS, SEEDS, SPLITS, LENGTHS, 2**16),
    "flip_flop_long": [
        config  # a run for each split: they take minutes, and what has finished is kept
        for split, p_ignore in (SPLITS | {"very_sparse": 0.999}).items()
        for config in flip_flop_grid(["tra"], SEEDS, {split: p_ignore}, [16384, 65536], 2**16)
    ],
    "flip_flop_far": [  # one sequence each: 4,096 and 16,384 times the training length
        config
        for length in (2**18, 2**20)
        for split in ("in_distribution", "sparse")
        for config in flip_flop_grid(["tra"], SEEDS[:3], {split: SPLITS[split]}, [length], length)
    ],
}


def sequences(length, tokens):
    """How many sequences of this length hold about so many tokens, 512 at most."""
    return max(1, min(512, tokens // length))


def effort(config):
    """Rough milliseconds on one core, for the time left: of a step, of each length's test."""
    tokens = config["testing"]["tokens"]
    tests = {  # beyond some 14,000 tokens a model that stops early takes time in proportion
        length: sequences(length, tokens) * length * (0.01 + min(length / 35000, 0.4))
        for length in config["testing"]["lengths"]
    }
    return 0 if model_path(config).exists() else 28, tests


def run(config):
    """Trains and tests what config describes -> {"config", "train_seconds", "started", "rows"}.

    Beyond 4,096 tokens a row says besides what stopping early took: seconds of a core, the share
    of weights computed in each layer's heads, and this process's peak of memory so far, in MB.
    """
    step, tests = effort(config)
    model = trained(config, on_step=lambda: advance(step))
    early = min(tests) > LENGTHS[-1]
    if early:
        stop_early(model)  # the same answers in a fraction of the time
    rows = []
    for split, p_ignore in config["testing"]["splits"].items():
        task = partial(flip_flop, p_ignore=p_ignore)
        for length, milliseconds in tests.items():
            n, began = sequences(length, config["testing"]["tokens"]), time.process_time()
            [row] = accuracy_by_length(model, task, [length], n=n, seed=1000 + config["seed"])
            if early:
                row |= {"seconds": round(time.process_time() - began), "read": share_read(model)}
                row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            rows.append({"split": split, "p_ignore": p_ignore} | row)
            advance(milliseconds)
    training = {"train_seconds": round(model.train_seconds, 1), "started": model.started}
    return {"config": config} | training | {"rows": rows}


def run_experiment(name, folder=RESULTS):
    """Computes the runs of a named experiment that folder/NAME.json does not hold -> all its runs.

    Each is kept as it finishes, under its whole config: after Ctrl-C, a crash or kill -9 the same
    call goes on. Raises ValueError for an unknown name or an unwritable folder, and RuntimeError if
    runs failed, after all others were kept.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"name is {name!r}; allowed: {', '.join(EXPERIMENTS)}")
    results.check_writable(folder)
    results.check_writable(starts.MODELS)
    path = Path(folder) / f"{name}.json"
    done = [run["config"] for run in results.finished(path)]
    missing = [config for config in EXPERIMENTS[name] if config not in done]
    kept = len(EXPERIMENTS[name]) - len(missing)
    print(f"{name}: {kept} of {len(EXPERIMENTS[name])} runs are in {path}", flush=True)
    work = sum(
        config["steps"] * step + sum(tests.values()) * len(config["testing"]["splits"])
        for config in missing
        for step, tests in [effort(config)]
    )
    threads = results.ENVIRONMENT["threads"]
    try:
        failures = run_all(run, missing, partial(results.keep, path), work=work, threads=threads)
    except KeyboardInterrupt:
        message = f"stopped; finished runs are in {path}, the same command goes on"
        raise KeyboardInterrupt(message) from None
    if failures:
        message = f"{len(failures)} runs failed, the others are in {path}: {failures[0]!r}"
        raise RuntimeError(message) from failures[0]
    return stored(name, folder)


def stored(name, folder=RESULTS):
    """The runs in folder/NAME.json that belong to the experiment's present grid, in its order."""
    runs = results.load(Path(folder) / f"{name}.json")["runs"]
    return [run for config in EXPERIMENTS[name] for run in runs if run["config"] == config]

"""Named experiments: the runs of a grid, each of which is kept as soon as it is finished."""

import resource
import time
from functools import partial
from pathlib import Path

from tra_mini import results, starts
from tra_mini.corpus import bits_per_byte, corpus_facts
from tra_mini.early import share_read, stop_early
from tra_mini.evaluation import accuracy_by_length
from tra_mini.grids import EXPERIMENTS, LENGTHS
from tra_mini.parallel import advance, run_all
from tra_mini.starts import model_path, task_of, trained

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "figures" / "results"


def sequences(length, tokens, at_most=512):
    """How many sequences of this length hold about so many tokens."""
    return max(1, min(at_most, tokens // length))


def effort(config):
    """Rough milliseconds on one core, for the time left: of a step, of each length's test."""
    testing = config["testing"]
    tests = {  # beyond some 14,000 tokens a model that stops early takes time in proportion
        length: sequences(length, testing["tokens"], testing.get("at_most", 512))
        * length
        * (0.01 + min(length / 35000, 0.4))
        for length in testing["lengths"]
    }
    step = 0.014 * config["batch"] * config["length"] * config["n_layer"]
    return 0 if model_path(config).exists() else step, tests


def whole_effort(config):
    """Rough milliseconds on one core of a whole run: its training and all of its tests."""
    step, tests = effort(config)
    return config["steps"] * step + sum(tests.values()) * len(config["testing"]["splits"])


def run(config, device="cpu"):
    """Trains and tests what config describes -> {"config", "train_seconds", "started", "rows"}.

    Beyond 4,096 tokens a row says besides what stopping early took: seconds of a core, the share
    of weights computed in each layer's heads, and this process's peak of memory so far, in MB.
    """
    step, tests = effort(config)
    model = trained(config, on_step=lambda: advance(step), device=device)
    if config.get("task") == "stdlib_bytes":
        return language_run(config, model)
    testing, early = config["testing"], min(tests) > LENGTHS[-1]
    if early:
        stop_early(model)  # the same answers in a fraction of the time
    rows = []
    for split, setting in testing["splits"].items():
        task = task_of(config, setting)
        for length, milliseconds in tests.items():
            n = sequences(length, testing["tokens"], testing.get("at_most", 512))
            began = time.process_time()
            [row] = accuracy_by_length(model, task, [length], n=n, seed=1000 + config["seed"])
            if early:
                row |= {"seconds": round(time.process_time() - began), "read": share_read(model)}
                row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            rows.append(
                {"split": split} | ({} if "task" in config else {"p_ignore": setting}) | row
            )
            advance(milliseconds)
    return record(config, model, rows)


def record(config, model, rows, **more):
    """What is kept of a run."""
    training = {"train_seconds": round(model.train_seconds, 1), "started": model.started}
    return {"config": config} | training | more | {"rows": rows}


def language_run(config, model):
    """The run of a model of bytes: bits a byte of the same unseen text for all -> its record."""
    testing, rows = config["testing"], []
    for split, setting in testing["splits"].items():
        task, n = task_of(config, setting), testing["tokens"] // max(testing["lengths"])
        for row in bits_per_byte(model, task, testing["lengths"], n=n, seed=1000):
            rows.append({"split": split} | row)
    advance(sum(effort(config)[1].values()))
    more = {"parameters": model.parameter_count(), "corpus": corpus_facts()}
    return record(config, model, rows, **more)


def run_alike(config, device, environment):
    """run, where it computes as the caller would. ValueError on a worker of another environment."""
    if results.environment(device) != environment:
        found = results.environment(device)
        raise ValueError(f"a worker's environment is {found}; allowed: {environment}, as here")
    return run(config, device)


def run_experiment(name, folder=RESULTS, device="cpu", executor=None):
    """Computes the runs of a named experiment that folder/NAME.json does not hold -> all its runs.

    Each is kept as it finishes, under its whole config: after Ctrl-C, a crash or kill -9 the same
    call goes on. executor: where the runs are computed, see parallel.run_all. Results of a device
    other than the CPU are in NAME_DEVICE.json. Raises ValueError for an unknown name, an unusable
    device or an unwritable folder, and RuntimeError if runs failed, after all others were kept.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"name is {name!r}; allowed: {', '.join(EXPERIMENTS)}")
    results.check_writable(folder)
    results.check_writable(starts.MODELS)
    environment, path = results.environment(device), results_path(name, folder, device)
    done = [run["config"] for run in results.finished(path, environment)]
    missing = [config for config in EXPERIMENTS[name] if config not in done]
    kept = len(EXPERIMENTS[name]) - len(missing)
    print(f"{name}: {kept} of {len(EXPERIMENTS[name])} runs are in {path}", flush=True)
    function = partial(run_alike, device=device, environment=environment)
    keep, threads = partial(results.keep, path, here=environment), environment["threads"]
    work = [whole_effort(config) for config in missing]
    try:
        failures = run_all(function, missing, keep, work=work, threads=threads, executor=executor)
    except KeyboardInterrupt:
        message = f"stopped; finished runs are in {path}, the same command goes on"
        raise KeyboardInterrupt(message) from None
    if failures:
        message = f"{len(failures)} runs failed, the others are in {path}: {failures[0]!r}"
        raise RuntimeError(message) from failures[0]
    return stored(name, folder, device)


def results_path(name, folder=RESULTS, device="cpu"):
    """folder/NAME.json, or folder/NAME_DEVICE.json."""
    suffix = "" if device == "cpu" else f"_{device.replace(':', '')}"
    return Path(folder) / f"{name}{suffix}.json"


def stored(name, folder=RESULTS, device="cpu"):
    """The runs in results_path that belong to the experiment's present grid, in its order."""
    runs = results.load(results_path(name, folder, device))["runs"]
    return [run for config in EXPERIMENTS[name] for run in runs if run["config"] == config]

"""Named experiments: the missing runs of a grid, computed side by side, each kept when finished."""

from concurrent.futures import BrokenExecutor, CancelledError
from functools import partial

from experiments import results
from experiments.grids import EXPERIMENTS
from experiments.parallel import run_all
from experiments.results import RESULTS, identity, path_of
from experiments.runs import run
from tra_mini.training import MODELS


def run_in(environment, config, device):
    """run, where it computes as the caller would.

    Raises ValueError on a worker of another environment, and for numbers that no file may hold.
    """
    here = results.environment(device)
    if here != environment:
        raise ValueError(f"a worker's environment is {here}; allowed: {environment}, as here")
    record = run(config, device)
    for row in record["rows"]:
        results.check_row(row)  # a row that load refuses would spoil the file for all others
    return record


def run_experiment(name, folder=RESULTS, device="cpu", executor=None):
    """Computes the runs of a named experiment that folder/NAME.json does not hold -> all its runs.

    Each is kept as it finishes: after Ctrl-C, a crash or kill -9 the same call goes on.
    executor: where the runs are computed, see parallel.run_all. Results of a device other than the
    CPU are in NAME_DEVICE.json. Raises ValueError for an unknown name, an unusable device or a
    folder that cannot be written to, and RuntimeError if runs failed, after all others were kept,
    or if the executor's scheduler is gone.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"name is {name!r}; allowed: {', '.join(EXPERIMENTS)}")

    # What is missing, and whether it can be kept.
    environment = results.environment(device)
    results.check_writable(folder)
    results.check_writable(MODELS)
    path = path_of(name, folder, device)
    done = results.finished(path, environment)
    missing = [config for config in EXPERIMENTS[name] if identity(config) not in done]
    kept = len(EXPERIMENTS[name]) - len(missing)
    print(f"{name}: {kept} of {len(EXPERIMENTS[name])} runs are in {path}", flush=True)

    # Compute it; every run is kept as it finishes.
    job = partial(run_in, environment, device=device)
    keep = partial(results.keep, path, here=environment)
    try:
        failures = run_all(job, missing, keep, executor)
    except KeyboardInterrupt:
        message = f"stopped; finished runs are in {path}, the same command goes on"
        raise KeyboardInterrupt(message) from None
    except CancelledError:
        message = f"the scheduler is gone; finished runs are in {path}, the same command goes on"
        raise RuntimeError(message) from None

    # The first failure stands for all.
    if failures:
        message = f"{len(failures)} runs failed, the others are in {path}: {failures[0]!r}"
        if isinstance(failures[0], BrokenExecutor):
            message += " (a worker process was ended; memory may have run out)"
        raise RuntimeError(message) from failures[0]
    return stored(name, folder, device)


def stored(name, folder=RESULTS, device="cpu"):
    """The runs in the results file that belong to the experiment's present grid, in its order."""
    if name not in EXPERIMENTS:
        raise ValueError(f"name is {name!r}; allowed: {', '.join(EXPERIMENTS)}")
    runs = {
        identity(run["config"]): run for run in results.load(path_of(name, folder, device))["runs"]
    }
    return [runs[identity(config)] for config in EXPERIMENTS[name] if identity(config) in runs]


def stored_in_favour(folder=RESULTS):
    """Flip-flop runs of TRA with 8 heads, and of each rival with 8 or 4, as serves it better.

    Better is the higher mean of exact match over all seeds, lengths and kinds of strings.
    """
    best = {}  # {mechanism: its higher mean, the runs of that mean}
    for name in ("flip_flop", "flip_flop_four_heads"):
        groups = {}
        for record in stored(name, folder):
            groups.setdefault(record["config"]["mechanism"], []).append(record)
        for mechanism, runs in groups.items():
            if mechanism == "tra" and name != "flip_flop":
                continue
            shares = [row["exact_match"] for record in runs for row in record["rows"]]
            mean = sum(shares) / len(shares)
            if mechanism not in best or mean > best[mechanism][0]:
                best[mechanism] = (mean, runs)
    return [record for _, runs in best.values() for record in runs]

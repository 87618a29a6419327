"""What several tests share: tiny runs, made-up results, experiments as processes of their own."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from experiments import results
from experiments.grids import flip_flop_config

ROOT = Path(results.__file__).resolve().parents[1]
PATIENCE = 600  # seconds: on a free machine nothing here takes ten
NEVER = 10**6  # steps that no test waits for
DRIVER = '''
"""Computes grid.json as the experiment "headline" of the packages here, with so many workers."""

import json
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # worker processes import this file too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    here = Path(__file__).resolve().parent
    os.cpu_count = lambda: int(sys.argv[1])

    from experiments import __main__, grids, results

    assert results.RESULTS.is_relative_to(here)
    grids.EXPERIMENTS["headline"] = json.loads((here / "grid.json").read_text())
    __main__.redraw = lambda: []  # these grids are too small to be drawn
    __main__.main(["reproduce", *sys.argv[2:]])
'''


def config(mechanism="tra", seed=0, **changes):
    """A run that takes milliseconds."""
    settings = {"n_layer": 1, "n_head": 2, "d_model": 8, "steps": 3, "length": 8, "batch": 2}
    splits = {"in_distribution": 0.8, "dense": 0.1}
    settings["testing"] = {"splits": splits, "lengths": [8, 16], "tokens": 256}
    settings.update(learning_rate=1e-3)
    settings.update(changes)
    return flip_flop_config(mechanism, seed, **settings)


def made_up(config, value):
    """A run of a config, its exact matches given by value(config, split, length)."""
    rows = []
    for split in config["testing"]["splits"]:
        for length in config["testing"]["lengths"]:
            row = {"split": split, "length": length, "n": 20, "per_read": 0.5, "loss": 0.25}
            row["exact_match"] = value(config, split, length)
            rows.append(row)
    return {"config": config, "train_seconds": 1.0, "rows": rows}


def write_results(path, runs):
    """A results file of these runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"schema": results.SCHEMA, "experiment": path.stem, "environment": {}}
    results.write_json(path, head, {results.identity(run["config"]): run for run in runs})


def copy_packages(folder):
    """Both packages in a folder, which they take for the root of the project."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("tra_mini", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)


def keep_five(path, worker, run, environment):
    """What one of several processes does: it keeps five runs of its own in one file."""
    for seed in range(5):
        results.keep(path, {**run, "config": {"mechanism": worker, "seed": seed}}, environment)


class Laboratory:
    """A folder with a copy of the packages, whose experiments run as processes of their own."""

    def __init__(self, folder, *grid):
        copy_packages(folder)
        (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
        (folder / "grid.json").write_text(json.dumps(grid), encoding="utf-8")
        self.folder = folder
        self.results = folder / "figures" / "results" / "headline.json"

    def start(self, workers, *options):
        """Starts the command, in a process of its own, with workers of its own."""
        return subprocess.Popen(
            [sys.executable, "driver.py", str(workers), *options],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def runs(self):
        """The runs in the results file, which is whole whenever one looks."""
        if not self.results.exists():
            return []
        return json.loads(self.results.read_text(encoding="utf-8"))["runs"]

    def wait_for_a_run(self, process):
        """Until the results file holds one."""
        deadline = time.monotonic() + PATIENCE
        while not self.runs():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def mark(self):
        """Changes the seconds of every run in the file: computed again, it would lose the mark."""
        contents = json.loads(self.results.read_text(encoding="utf-8"))
        for run in contents["runs"]:
            run["train_seconds"] = 1234.5
        self.results.write_text(json.dumps(contents), encoding="utf-8")


def ended(process):
    """Waits until the process and all of its workers are gone -> what they printed.

    Workers share their parent's output: it closes when the last of them has ended.
    """
    return process.communicate(timeout=PATIENCE)

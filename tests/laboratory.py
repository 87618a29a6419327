"""Experiments as processes of their own, in a copy of the package: what several tests share."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import tra_mini
from tra_mini import results

DRIVER = '''
"""Computes grid.json as the experiment "headline" of the package here, with so many workers."""

import json
import os
import signal
import sys
from pathlib import Path

from tra_mini import experiments

if __name__ == "__main__":  # worker processes import this file too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it
    here = Path(__file__).parent
    assert experiments.ROOT == here  # results and models stay below this folder
    os.cpu_count = lambda: int(sys.argv[1])
    experiments.EXPERIMENTS["headline"] = json.loads((here / "grid.json").read_text())
    from tra_mini import __main__

    __main__.figures = lambda: None  # these grids are too small to be drawn
    __main__.main(["reproduce", *sys.argv[2:]])
'''
PATIENCE = 600  # seconds: on a free machine nothing here takes ten
NEVER = 10**6  # steps that no test waits for


def config(mechanism="tra", seed=0, steps=3, **changes):
    """A run that takes milliseconds."""
    testing = {"splits": {"in_distribution": 0.8, "dense": 0.1}, "lengths": [8, 16], "tokens": 256}
    settings = {"mechanism": mechanism, "seed": seed, "n_layer": 1, "n_head": 2, "d_model": 8}
    settings |= {"steps": steps, "length": 8, "batch": 2, "learning_rate": 1e-3, "p_ignore": 0.8}
    settings |= {"starts": 1}
    return settings | {"testing": testing} | changes


class Laboratory:
    """A folder with a copy of the package, whose experiments run as processes of their own."""

    def __init__(self, folder, *grid):
        package = Path(tra_mini.__file__).parent
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, folder / "tra_mini", ignore=ignored)
        (folder / "driver.py").write_text(DRIVER)
        (folder / "grid.json").write_text(json.dumps(grid))
        self.folder = folder
        self.results = folder / "figures" / "results" / "headline.json"

    def start(self, workers, *options):
        """Starts the command, in a process of its own, with workers of its own."""
        return subprocess.Popen(
            [sys.executable, "driver.py", str(workers), *options],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runs(self):
        """The runs in the results file, which is whole whenever one looks."""
        return json.loads(self.results.read_text())["runs"] if self.results.exists() else []

    def wait_for_a_run(self, process):
        """Until the results file holds one."""
        deadline = time.monotonic() + PATIENCE
        while not self.runs():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def mark(self):
        """Changes the seconds of every run in the file: computed again, it would lose the mark."""
        contents = json.loads(self.results.read_text())
        for run in contents["runs"]:
            run["train_seconds"] = 1234.5
        results.write(self.results, json.dumps(contents))


def ended(process):
    """Waits until the process and all of its workers are gone -> what they printed.

    Workers share their parent's output: it closes when the last of them has ended.
    """
    return process.communicate(timeout=PATIENCE)

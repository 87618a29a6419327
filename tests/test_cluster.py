"""The grid on a Dask cluster: a real scheduler, and workers that are processes of their own."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from laboratory import PATIENCE, Laboratory, config, ended

from tra_mini import cluster, experiments, results
from tra_mini.results import load

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
GRID = [config(seed=1, steps=400), config(seed=2, steps=400), config(seed=3), config("alibi")]
QUICK = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}


class Cluster:
    """A scheduler on this machine, and the workers started so far, each with a folder's package."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.file = folder / "scheduler.json"
        self.start(folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        deadline = time.monotonic() + PATIENCE
        while not self.file.exists() or not self.file.read_text().strip().endswith("}"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def start(self, package, kind, *options):
        """A process of Dask, which finds tra_mini in the folder package."""
        command = [sys.executable, "-m", "dask", kind, "--scheduler-file", str(self.file)]
        environment = os.environ | QUICK | {"PYTHONPATH": str(package)}
        with open(self.folder / f"{kind}{len(self.processes)}.log", "w") as log:
            self.processes.append(
                subprocess.Popen(
                    [*command, *options], cwd=self.folder, env=environment, stdout=log, stderr=log
                )
            )
        return self.processes[-1]

    def worker(self, package, threads=1):
        """A worker that nothing restarts."""
        options = ("--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        return self.start(package, "worker", "--host", "127.0.0.1", *options)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path):
    """A cluster without workers so far, ended afterwards."""
    running = Cluster(tmp_path)
    yield running
    running.stop()


def test_a_killed_worker_loses_nothing_and_results_are_identical(dask, tmp_path):
    """One of two workers dies while it computes; every run is there once, as computed here."""
    folder = tmp_path / "laboratory"
    folder.mkdir()
    laboratory = Laboratory(folder, *GRID)
    workers = [dask.worker(folder), dask.worker(folder)]
    with distributed.Client(dask.address) as client:
        client.wait_for_workers(2)
    process = laboratory.start(1, "--scheduler", dask.address)
    laboratory.wait_for_a_run(process)
    workers[0].kill()
    _, errors = ended(process)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    kept = laboratory.runs()
    assert sorted(run["config"]["seed"] for run in kept) == [0, 1, 2, 3]
    for run in kept:
        assert experiments.run(run["config"])["rows"] == run["rows"]
    assert load(laboratory.results)["environment"] == results.ENVIRONMENT


def test_a_worker_without_the_package_is_one_line(dask, tmp_path):
    """What the worker said, and nothing hangs."""
    (tmp_path / "tra_mini").mkdir()
    missing = "raise ModuleNotFoundError(\"No module named 'tra_mini'\")"
    (tmp_path / "tra_mini" / "__init__.py").write_text(missing)
    folder = tmp_path / "laboratory"
    folder.mkdir()
    laboratory = Laboratory(folder, config())
    dask.worker(tmp_path)
    _, errors = ended(laboratory.start(1, "--scheduler", dask.address))
    [line] = errors.splitlines()
    assert line.startswith("tra_mini: worker tcp://") and line.endswith(
        " lacks tra_mini; install it there, too (No module named 'tra_mini')"
    )
    assert laboratory.runs() == []


def test_a_worker_of_another_environment_is_refused(monkeypatch):
    """Numbers of another torch, or another device, would not be the same."""
    here = results.ENVIRONMENT
    with pytest.raises(ValueError, match="^a worker's environment is .*; allowed: .*'0.1'.* here"):
        experiments.run_alike(config(), "cpu", here | {"torch": "0.1"})


def test_a_worker_of_several_threads_is_refused(dask, tmp_path):
    """Several runs in one process would share torch's threads and its seeds."""
    dask.worker(tmp_path, threads=2)
    with pytest.raises(ValueError, match="^worker tcp://.* has 2 threads; allowed: 1, as "):
        cluster.executor(dask.address)


def test_a_scheduler_without_workers_is_refused(dask):
    with pytest.raises(ValueError, match="^scheduler is 'tcp.*, which has no worker so far"):
        cluster.executor(dask.address, patience=1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "no address"])
def test_an_unreachable_scheduler_is_refused(address):
    with pytest.raises(ValueError, match=f"^scheduler is '{address}', which does not answer"):
        cluster.executor(address, patience=1)


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"install it: pip install '\.\[cluster\]'$"):
        cluster.executor("tcp://127.0.0.1:8786")


def test_any_executor_will_do(tmp_path, monkeypatch):
    """One of the standard library's: a thread in this process."""
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", [config(), config("alibi")])
    monkeypatch.setattr("tra_mini.starts.MODELS", tmp_path / "models")
    with ThreadPoolExecutor(1) as threads:
        runs = experiments.run_experiment("tiny", tmp_path, executor=threads)
        assert [run["config"]["mechanism"] for run in runs] == ["tra", "alibi"]
        assert threads.submit(int).result() == 0  # it is the caller's: still open

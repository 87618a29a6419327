"""The grid on a Dask cluster: a real scheduler, and workers that are processes of their own."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from laboratory import NEVER, PATIENCE, Laboratory, config, ended

from experiments import cluster, results, runs

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
GRID = [config(seed=1, steps=400), config(seed=2, steps=400), config(seed=3), config("alibi")]


class Cluster:
    """A scheduler on this machine, and the workers started so far, each with a folder's package."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.file = folder / "scheduler.json"
        self.start(folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        deadline = time.monotonic() + PATIENCE
        while not self.file.exists() or not self.file.read_text(encoding="utf-8").strip().endswith(
            "}"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text(encoding="utf-8"))["address"]

    def start(self, package, kind, *options):
        """A process of Dask, which finds the packages in the folder package."""
        command = [sys.executable, "-m", "dask", kind, "--scheduler-file", str(self.file), *options]
        environment = {
            **os.environ,
            "PYTHONPATH": str(package),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
        with open(self.folder / f"{kind}{len(self.processes)}.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def worker(self, package, *options, threads=1):
        """A worker that nothing restarts."""
        options += ("--nthreads", str(threads), "--no-nanny", "--no-dashboard")
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


def test_a_killed_worker_loses_nothing_and_results_are_identical(dask, tmp_path, monkeypatch):
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
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    kept = laboratory.runs()
    assert sorted(run["config"]["seed"] for run in kept) == [0, 1, 2, 3]
    assert results.load(laboratory.results)["environment"] == results.environment()
    monkeypatch.setattr(runs, "MODELS", tmp_path / "models")
    for run in kept:
        assert runs.run(run["config"])["rows"] == run["rows"]


def test_workers_that_will_not_do_are_refused(dask, tmp_path):
    """None so far; one without this project; one of several threads, which would share seeds."""
    with pytest.raises(ValueError, match="^scheduler is 'tcp.*, which has no worker so far"):
        cluster.executor(dask.address, patience=1)

    missing = "raise ModuleNotFoundError(\"No module named 'experiments'\")"
    (tmp_path / "experiments.py").write_text(missing, encoding="utf-8")
    without = dask.worker(tmp_path)
    lacks = r"^worker tcp://.* lacks this project; .*\(No module named 'experiments'\)$"
    with pytest.raises(ValueError, match=lacks):
        cluster.executor(dask.address)

    without.kill()
    without.wait()
    dask.worker(tmp_path, threads=2)
    with pytest.raises(ValueError, match="^worker tcp://.* has 2 threads; allowed: 1, as "):
        cluster.executor(dask.address)


ANOTHER_PYTHON = """
from distributed import versions

about = versions.get_system_info()
versions.get_system_info = lambda: {**about, "python": "3.99.1.final.0"}
"""


def test_a_worker_with_another_python_is_refused(dask, tmp_path):
    """As one with another torch is: what pickles, and what draws numbers, may differ."""
    preload = tmp_path / "another_python.py"
    preload.write_text(ANOTHER_PYTHON, encoding="utf-8")
    dask.worker(tmp_path, "--preload", str(preload))
    here = rf"3\.{sys.version_info.minor}"
    refused = rf"^worker tcp://.* has Python 3\.99\.1\.final\.0; allowed: {here}$"
    with pytest.raises(ValueError, match=refused):
        cluster.executor(dask.address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "no address", ""])
def test_an_unreachable_scheduler_is_refused(address, monkeypatch):
    """Nothing is computed here instead, as Dask would for an empty address."""
    monkeypatch.setattr(cluster, "ANSWER", 1)
    with pytest.raises(ValueError, match=f"^scheduler is '{address}', which does not answer as "):
        cluster.executor(address)


@pytest.mark.parametrize("speech", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_another_service_at_the_address_is_refused(speech, monkeypatch):
    """One that waits to be spoken to, one that hangs up, one that speaks another protocol."""
    monkeypatch.setattr(cluster, "ANSWER", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def serve():
            connection, _ = server.accept()
            if speech is None:
                connection.recv(2**20)  # the greeting; the next returns when the caller hangs up
                while connection.recv(2**20):
                    pass
            else:
                connection.sendall(speech)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ValueError, match=f"^scheduler is '{address}', which does not answer "):
            cluster.executor(address)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_scheduler_that_dies_on_the_way_is_one_line(dask, tmp_path):
    """Finished runs are kept."""
    folder = tmp_path / "laboratory"
    folder.mkdir()
    laboratory = Laboratory(folder, config(), config(seed=1, steps=NEVER))
    dask.worker(folder)
    process = laboratory.start(1, "--scheduler", dask.address)
    laboratory.wait_for_a_run(process)
    dask.processes[0].kill()
    _, errors = ended(process)
    message = "experiments: the scheduler is gone; finished runs are in "
    assert (process.returncode, errors.count("\n")) == (1, 1), errors
    assert errors.startswith(message)
    assert len(laboratory.runs()) == 1


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"install it: pip install '\.\[cluster\]'$"):
        cluster.executor("tcp://127.0.0.1:8786")

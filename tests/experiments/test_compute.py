"""Experiments: a finished run is kept, never computed twice and never lost, whatever happens."""

import math
import signal
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

import pytest
from laboratory import NEVER, Laboratory, config, ended, made_up, write_results

from experiments import compute, results, runs
from experiments.compute import run_experiment, stored, stored_in_favour
from experiments.grids import EXPERIMENTS

SLOW = config(seed=1, steps=500)
FAILING = config("no such mechanism")
GRID = (config(seed=1, steps=4), config("alibi"), config())


@pytest.fixture(autouse=True)
def models(monkeypatch, tmp_path):
    """Models are kept in a folder of the test's own."""
    for module in (compute, runs):
        monkeypatch.setattr(module, "MODELS", tmp_path / "models")


@pytest.fixture
def grid(monkeypatch):
    """A list which is the experiment "tiny"."""
    configs = list(GRID)
    monkeypatch.setitem(EXPERIMENTS, "tiny", configs)
    return configs


@pytest.fixture
def computed(monkeypatch):
    """Lets experiments run in this process -> the configs that were computed, in order."""
    computed = []

    def one_after_the_other(function, jobs, on_result, executor):
        failures = []
        for job in reversed(jobs):  # the last in the grid finishes first
            try:
                on_result(function(job))
                computed.append(job)
            except ValueError as error:
                failures.append(error)
        return failures

    monkeypatch.setattr(compute, "run_all", one_after_the_other)
    return computed


def configs_of(done):
    return [run["config"] for run in done]


# What is computed, kept and returned; the runs themselves are computed in this process


def test_a_second_call_computes_nothing(grid, computed, tmp_path):
    """Runs come in the grid's order, whatever finished first; then not a byte changes."""
    done = run_experiment("tiny", tmp_path)
    assert configs_of(done) == list(GRID)
    assert computed == list(GRID)[::-1]
    text = (tmp_path / "tiny.json").read_text(encoding="utf-8")
    assert run_experiment("tiny", tmp_path) == done == stored("tiny", tmp_path)
    assert len(computed) == 3
    assert (tmp_path / "tiny.json").read_text(encoding="utf-8") == text


def test_a_changed_configuration_is_not_mixed_in(grid, computed, tmp_path):
    """Only the changed run is computed; old and new stay; a grid gets its own runs alone."""
    before = run_experiment("tiny", tmp_path)
    computed.clear()
    grid[0] = config(seed=1, steps=5)
    assert configs_of(run_experiment("tiny", tmp_path)) == grid
    assert computed == [grid[0]]
    kept = results.load(tmp_path / "tiny.json")["runs"]
    assert len(kept) == 4
    assert all(run in kept for run in before)
    grid[0] = GRID[0]
    assert stored("tiny", tmp_path) == before


def test_a_failing_run_does_not_lose_the_others(grid, computed, tmp_path):
    """The others are kept; then the message says how many failed, where the rest is, and why.

    The next call tries again what failed, and nothing else.
    """
    grid.insert(0, FAILING)
    for expected in (list(GRID)[::-1], []):
        computed.clear()
        with pytest.raises(RuntimeError) as failed:
            run_experiment("tiny", tmp_path)
        message = str(failed.value)
        assert message.startswith(f"1 runs failed, the others are in {tmp_path / 'tiny.json'}: ")
        assert "mechanism is 'no such mechanism'; allowed: " in message
        assert computed == expected
    assert configs_of(stored("tiny", tmp_path)) == list(GRID)


def test_a_run_of_impossible_numbers_fails_and_spoils_no_file(
    grid, computed, tmp_path, monkeypatch
):
    """A file with a loss that is no number would be refused, and all its other runs with it."""
    run = compute.run

    def diverged(config, device):
        done = run(config, device)
        if config["mechanism"] == "alibi":
            done["rows"][0]["loss"] = math.nan
        return done

    monkeypatch.setattr(compute, "run", diverged)
    with pytest.raises(RuntimeError, match="^1 runs failed.*loss is nan"):
        run_experiment("tiny", tmp_path)
    assert configs_of(stored("tiny", tmp_path)) == [GRID[0], GRID[2]]
    assert not list(tmp_path.glob("*.aside-*"))


def test_a_full_disk_stops_at_once_and_what_was_kept_stays(grid, computed, tmp_path, monkeypatch):
    """The system's own words; the next call goes on."""
    keep = results.keep

    def until_full(path, run, here):
        if computed:
            raise OSError(28, "No space left on device")
        keep(path, run, here)

    with monkeypatch.context() as patched:
        patched.setattr(results, "keep", until_full)
        with pytest.raises(OSError, match="No space left on device"):
            run_experiment("tiny", tmp_path)
    assert len(stored("tiny", tmp_path)) == 1
    assert len(run_experiment("tiny", tmp_path)) == 3
    assert len(computed) == 3


def test_any_executor_will_do(grid, tmp_path):
    """One of the standard library's: a thread in this process. It is the caller's: not closed."""
    with ThreadPoolExecutor(1) as threads:
        grid.append(FAILING)
        with pytest.raises(RuntimeError, match="^1 runs failed"):
            run_experiment("tiny", tmp_path, executor=threads)
        grid.pop()
        assert configs_of(run_experiment("tiny", tmp_path, executor=threads)) == grid
        assert threads.submit(int).result() == 0


def test_a_worker_that_was_ended_is_told(grid, computed, tmp_path, monkeypatch):
    """As the system does where memory runs out."""
    broken = BrokenExecutor("ended")
    monkeypatch.setattr(compute, "run_all", lambda *_: [broken])
    with pytest.raises(RuntimeError, match=r"^1 runs failed, .*memory may have run out\)$"):
        run_experiment("tiny", tmp_path, executor=None)


def test_a_worker_of_another_environment_is_refused():
    """Numbers of another torch, or another device, would not be the same."""
    there = {**results.environment(), "torch": "0.1"}
    with pytest.raises(ValueError, match="^a worker's environment is .*; allowed: .*'0.1'.* here"):
        compute.run_in(there, config(), "cpu")
    assert not runs.MODELS.exists()


def test_an_unknown_name_lists_those_there_are(tmp_path):
    """No folder is made for it."""
    with pytest.raises(ValueError, match="^name is 'no such'; allowed: recipe, headline"):
        run_experiment("no such", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_rivals_get_their_better_number_of_heads_and_tra_eight(tmp_path, monkeypatch):
    """By the mean of all their seeds, lengths and kinds of strings; the first of two alike."""
    shares = {  # of two seeds
        8: {
            "tra": (0.5, 0.5),
            "fox": (1, 0),
            "rope": (0.7, 0.2),
            "alibi": (0.3, 0.3),
            "lstm": (0, 0),
        },
        4: {"tra": (1, 1), "fox": (0.6, 0.6), "rope": (0.4, 0.4), "alibi": (0.3, 0.3)},
    }
    for name, n_head in (("flip_flop", 8), ("flip_flop_four_heads", 4)):
        runs = []
        for mechanism, values in shares[n_head].items():
            for seed in range(2):
                one = config(mechanism, seed, d_model=16, n_head=n_head)
                runs.append(made_up(one, lambda config, *_, values=values: values[config["seed"]]))
        monkeypatch.setitem(EXPERIMENTS, name, configs_of(runs))
        write_results(tmp_path / f"{name}.json", runs)

    chosen = configs_of(stored_in_favour(tmp_path))
    heads = [(one["mechanism"], one["n_head"], one["seed"]) for one in chosen]
    better = {"tra": 8, "fox": 4, "rope": 8, "alibi": 8, "lstm": 8}
    assert sorted(heads) == sorted(
        (mechanism, n_head, seed) for mechanism, n_head in better.items() for seed in range(2)
    )

    monkeypatch.setitem(EXPERIMENTS, "flip_flop", [])
    mechanisms = {one["mechanism"] for one in configs_of(stored_in_favour(tmp_path))}
    assert mechanisms == {"fox", "rope", "alibi"}  # of TRA nothing, rather than four heads


# Processes


def test_kill_9_loses_nothing_and_two_commands_at_once_complete_the_rest(tmp_path):
    """A finished run stays and is not computed again; the others are there once, as computed here.

    The second time two commands run side by side. The failing run is told last, in one line.
    """
    laboratory = Laboratory(tmp_path, config(), SLOW, FAILING, config("alibi"))
    process = laboratory.start(workers=1)
    laboratory.wait_for_a_run(process)
    process.kill()
    ended(process)
    laboratory.mark()
    before = laboratory.runs()
    assert 1 <= len(before) < 3

    processes = [laboratory.start(workers=1) for _ in range(2)]
    for process in processes:
        printed, errors = ended(process)
        assert f" of 4 runs are in {laboratory.results}" in printed.splitlines()[0]
        [line] = errors.splitlines()
        message = f"experiments: 1 runs failed, the others are in {laboratory.results}: "
        assert line.startswith(message)
        assert "no such mechanism" in line
        assert process.returncode == 1

    kept = laboratory.runs()
    assert all(run in kept for run in before)
    expected = [SLOW, config(), config("alibi")]
    assert sorted(map(str, configs_of(kept))) == sorted(map(str, expected))
    for run in kept:
        assert runs.run(run["config"])["rows"] == run["rows"]
    names = {path.name for path in laboratory.results.parent.iterdir()}
    assert names == {"headline.json", ".headline.json.lock"}


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path):
    """One line names the file; finished runs are in it; neither command nor worker goes on."""
    endless = [config(seed=seed, steps=NEVER) for seed in range(1, 5)]  # most of them must wait
    laboratory = Laboratory(tmp_path, config(), *endless)
    process = laboratory.start(workers=1)
    laboratory.wait_for_a_run(process)
    process.send_signal(signal.SIGINT)
    _, errors = ended(process)
    assert process.returncode == 1
    assert configs_of(laboratory.runs()) == [config()]
    message = f"stopped; finished runs are in {laboratory.results}, the same command goes on"
    assert errors.strip() == f"experiments: {message}"

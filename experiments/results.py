"""Results files, figures/results/NAME.json: one an experiment, a line a run, never half written.

A run is {"config": ..., "train_seconds": ..., "rows": [...]}. Two runs are the same
if their configs have the same identity; all runs of a file were computed in one environment.
"""

import fcntl
import hashlib
import json
import math
import os
from pathlib import Path

import torch

SCHEMA = 1
RESULTS = Path(__file__).resolve().parents[1] / "figures" / "results"


def environment(device="cpu"):
    """What numbers may depend on besides a config; a GPU by its name. ValueError if unusable."""
    check_device(device)
    name = device
    if torch.device(device).type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {"torch": torch.__version__.split("+")[0], "threads": 1, "device": name}


def check_device(device):
    """Raises ValueError for a device that is unknown or cannot be used here.

    Apple's GPUs ("mps") are refused because they lack float64, in which FoX sums its gates.
    """
    try:
        if torch.device(device).type in ("cpu", "cuda"):
            torch.ones(1, device=device).item()
            return
        reason = "allowed: cpu, cuda"
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
    raise ValueError(f"device is {device!r}, which cannot be used here ({reason})")


def identity(settings):
    """A name for settings (a config, say): equal settings, in whatever order, have the same."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def path_of(name, folder=RESULTS, device="cpu"):
    """folder/NAME.json, or folder/NAME_DEVICE.json."""
    suffix = "" if device == "cpu" else f"_{device.replace(':', '')}"
    return Path(folder) / f"{name}{suffix}.json"


def load(path):
    """The contents of a results file. ValueError if it is cut off or of another schema."""
    try:
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
        schema = contents["schema"]
        whole = "environment" in contents
        for run in contents["runs"]:
            whole = whole and {"config", "train_seconds", "rows"} <= run.keys()
            for row in run["rows"]:
                check_row(row)
        names = {identity(run["config"]) for run in contents["runs"]}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {str(error)[:80]}"
        raise ValueError(f"{path} is cut off or no results file ({reason})") from None

    # What can be read may still be of another schema, or contradict itself.
    if schema != SCHEMA or not whole:
        raise ValueError(f"{path} has schema {schema!r}; allowed: {SCHEMA}, with all of its fields")
    if len(names) < len(contents["runs"]):
        raise ValueError(f"{path} holds a run twice; allowed: each config once")
    return contents


def check_row(row):
    """Raises ValueError for impossible numbers, KeyError for a row without its length."""
    row["split"], row["length"], row["n"]
    for name in ("exact_match", "per_read"):
        if not 0 <= row.get(name, 0) <= 1:
            raise ValueError(f"{name} is {row[name]}")
    for name in ("loss", "bits_per_byte"):
        if not 0 <= row.get(name, 0) < math.inf:
            raise ValueError(f"{name} is {row[name]}")


def finished(path, here):
    """The runs kept at path, {identity: run}, if they were computed in the environment here.

    A file that load refuses, or of another environment, is never overwritten: see set_aside.
    """
    if not Path(path).exists():
        return {}
    try:
        contents = load(path)
        if contents["environment"] == here:
            return {identity(run["config"]): run for run in contents["runs"]}
        reason = f"{path} was computed under {contents['environment']}, this is {here}"
    except ValueError as error:
        reason = str(error)
    print(f"{reason}: set aside as {set_aside(path)}")
    return {}


def set_aside(path):
    """Renames a file to NAME.aside-1 (-2, ...) -> its new path."""
    number = 1
    while Path(f"{path}.aside-{number}").exists():
        number += 1
    return Path(path).rename(f"{path}.aside-{number}")


def keep(path, run, here):
    """Adds a finished run to the file at path, safely among several processes."""
    path = Path(path)
    with open(path.with_name(f".{path.name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = finished(path, here)
        runs[identity(run["config"])] = run
        write_json(path, {"schema": SCHEMA, "experiment": path.stem, "environment": here}, runs)


def write_json(path, head, runs):
    """Writes a results file: its head, and {identity: run}, sorted by config, a line a run."""
    ordered = sorted(runs.values(), key=lambda run: json.dumps(run["config"], sort_keys=True))
    lines = ",\n".join(json.dumps(run) for run in ordered)
    text = f'{json.dumps(head)[:-1]}, "runs": [\n{lines}\n]}}\n'
    write(path, lambda file: file.write(text.encode()))


def write(path, fill):
    """Replaces the file at path by what fill(file) writes, in one step: a crash leaves the old."""
    beside = Path(f"{path}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:  # a full disk, Ctrl-C
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            error.filename = str(path)  # the system's message names no file
        raise


def check_writable(folder):
    """Raises ValueError now rather than lose a run after minutes."""
    probe = Path(folder) / f".probe-{os.getpid()}"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"folder {folder} cannot be written to ({error})") from None


def by_seed(runs, value):
    """{(split, mechanism, length): a row's value, such as "per_read", for each seed} of runs."""
    values = {}
    for run in runs:
        for row in run["rows"]:
            key = (row["split"], run["config"]["mechanism"], row["length"])
            values.setdefault(key, []).append(row[value])
    return values

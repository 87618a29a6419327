"""Results files, figures/results/NAME.json: one an experiment, a line a run, never half written."""

import fcntl
import json
import os
from pathlib import Path

import torch

from tra_mini.training import check_device

SCHEMA = 1
ENVIRONMENT = {"torch": torch.__version__.split("+")[0], "threads": 1, "device": "cpu"}


def environment(device):
    """What numbers may depend on besides a config; a GPU by its name. ValueError if unusable."""
    check_device(device)
    is_gpu = torch.device(device).type == "cuda"
    return ENVIRONMENT | {"device": torch.cuda.get_device_name(device) if is_gpu else device}


def load(path):
    """The contents of a results file. ValueError if it is cut off or of another schema."""
    try:
        contents = json.loads(Path(path).read_text())
        schema = contents["schema"]
        whole = all({"config", "train_seconds", "rows"} <= run.keys() for run in contents["runs"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is cut off or no results file ({error!r})") from None
    if schema != SCHEMA or not whole or "environment" not in contents:
        raise ValueError(f"{path} has schema {schema!r}; allowed: {SCHEMA}, with all of its fields")
    return contents


def finished(path, here=ENVIRONMENT):
    """The runs kept at path in the environment here; [] if there is no such file.

    A file that load refuses, or of another environment, is never overwritten: it is renamed to
    NAME.json.aside-1 (-2, ...).
    """
    if not Path(path).exists():
        return []
    try:
        contents = load(path)
        if contents["environment"] == here:
            return contents["runs"]
        reason = f"{path} was computed under {contents['environment']}, this is {here}"
    except ValueError as error:
        reason = str(error)
    number = 1
    while Path(f"{path}.aside-{number}").exists():
        number += 1
    os.rename(path, f"{path}.aside-{number}")
    print(f"{reason}: set aside as {path}.aside-{number}")
    return []


def by_seed(runs, value):
    """{(split, mechanism, length): a row's value, such as "per_read", with each seed} of runs."""
    values = {}
    for run in runs:
        for row in run["rows"]:
            key = row["split"], run["config"]["mechanism"], row["length"]
            values.setdefault(key, []).append(row[value])
    return values


def exact_matches(runs):
    """{(split, mechanism, length): the exact match of each seed} of a list of runs."""
    return by_seed(runs, "exact_match")


def check_writable(folder):
    """Raises ValueError now rather than lose a run after minutes."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        probe = Path(folder) / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        message = f"folder is {folder}; allowed: one that can be written ({error})"
        raise ValueError(message) from None


def keep(path, run, here=ENVIRONMENT):
    """Adds a finished run to the file at path, safely among several processes."""
    path = Path(path)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        runs = [other for other in finished(path, here) if other["config"] != run["config"]] + [run]
        runs.sort(key=lambda run: json.dumps(run["config"], sort_keys=True))
        head = {"schema": SCHEMA, "experiment": path.stem, "environment": here}
        lines = ",\n".join(json.dumps(run) for run in runs)
        text = json.dumps(head)[:-1] + f', "runs": [\n{lines}\n]}}\n'
        write(path, text)


def write(path, text):
    """Replaces the file at path in one step: after a crash it holds the old text or the new."""
    beside = Path(f"{path}.{os.getpid()}")
    try:
        with open(beside, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:  # a full disk, for one
        beside.unlink(missing_ok=True)
        raise

"""One run: a config, the model that it describes, trained and tested.

A config is a dictionary that JSON can hold: the mechanism, the seed, sizes of the model, the
recipe of training, the task (flip-flops if none is named), and `testing`: splits, lengths, tokens.
"""

import resource
import sys
import time
from dataclasses import fields
from functools import partial

import torch

from experiments import results
from experiments.checkpoints import train_resumable
from experiments.decoding import read_in_pieces
from experiments.early import share_read, stop_early
from experiments.published import published_flip_flop
from experiments.rivals import ExperimentConfig
from experiments.tasks import TASKS
from experiments.text import bits_per_byte, corpus_facts, stdlib_bytes
from tra_mini import accuracy_by_length, flip_flop
from tra_mini.training import MODELS

KNOWN_TASKS = {
    **TASKS,
    "stdlib_bytes": stdlib_bytes,
    "published_flip_flop": published_flip_flop,
}
RECIPE = ("steps", "length", "batch", "learning_rate", "warmup")
LEARNED = 0.05  # nats per read at the training length: a training that ends above it failed
FULL_ATTENTION = 4096  # tokens; longer sequences are tested by a model that stops early


def model_config(config):
    """The GPTConfig of a run's config, which may leave settings at their defaults."""
    names = [field.name for field in fields(ExperimentConfig)]
    return ExperimentConfig(**{name: config[name] for name in names if name in config})


def task_of(config, setting):
    """A config's task at a setting of its testing: flip-flops' p_ignore, others' arguments."""
    if "task" not in config:
        return partial(flip_flop, p_ignore=setting)
    return partial(KNOWN_TASKS[config["task"]], **setting)


def training_task(config):
    """The task that a config's model learns, at lengths drawn anew for each batch if it says so."""
    task = task_of(config, config.get("settings", config.get("p_ignore")))
    if "shortest" not in config:
        return task

    def any_length(batch, length, generator):
        lengths = range(config["shortest"], length + 1, 2)
        drawn = torch.randint(len(lengths), (), generator=generator).item()
        return task(batch, lengths[drawn], generator=generator)

    return any_length


def model_path(config, environment):
    """Where a config's model is kept: a name of all that its weights depend on."""
    settings = {name: config[name] for name in config if name != "testing"}
    settings["environment"] = environment
    if config.get("task") == "stdlib_bytes":
        settings["corpus"] = corpus_facts()
    return MODELS / f"{results.identity(settings)}.pt"


def train_config(config, device="cpu"):
    """The model of a config: read from .cache/models if trained before, else trained and kept.

    The GPT has the attributes train_seconds and path.
    """
    torch.set_num_threads(1)  # their number changes the last bits, and so trained weights
    recipe = {name: config[name] for name in RECIPE if name in config}
    path = model_path(config, results.environment(device))
    model = train_resumable(
        model_config(config),
        training_task(config),
        path,
        seed=config["seed"],
        device=device,
        **recipe,
    )
    model.path = path
    return model


def on_cpu(model, device):
    """The model as a function of tokens and logits that lie on the CPU."""
    if device == "cpu":
        return model
    return lambda tokens: model(tokens.to(device)).cpu()


def sequences(length, tokens, at_most=512):
    """How many sequences of this length hold about so many tokens."""
    return max(1, min(at_most, tokens // length))


def run(config, device="cpu"):
    """Trains and tests what a config describes -> the run's record, see results.py."""
    model = train_config(config, device)
    record = {"config": config, "train_seconds": round(model.train_seconds, 1)}
    if config.get("task") == "stdlib_bytes":
        record["parameters"] = model.parameter_count()
        record["corpus"] = corpus_facts()
        record["rows"] = text_rows(config, on_cpu(model, device))
    elif min(config["testing"]["lengths"]) > FULL_ATTENTION:
        record["rows"] = long_rows(config, stop_early(model))
    else:
        record["rows"] = length_rows(config, on_cpu(model, device))
    return record


def length_rows(config, reader):
    """A row of accuracy_by_length for each split and length of a config's testing."""
    testing = config["testing"]
    rows = []
    for split, setting in testing["splits"].items():
        task = task_of(config, setting)
        for length in testing["lengths"]:
            n = sequences(length, testing["tokens"], testing.get("at_most", 512))
            [row] = accuracy_by_length(reader, task, [length], n=n, seed=1000 + config["seed"])
            head = {"split": split}
            if "task" not in config:
                head["p_ignore"] = setting
            rows.append({**head, **row})
    return rows


def long_rows(config, early):
    """length_rows by a model that stops early, and what that took.

    Also in each row: seconds of a core, read (the share of weights computed in each layer's heads)
    and peak_mb, this process's peak of memory so far.
    """
    rows = []
    for split, setting in config["testing"]["splits"].items():
        for length in config["testing"]["lengths"]:
            testing = {**config["testing"], "splits": {split: setting}, "lengths": [length]}
            began = time.process_time()
            [row] = length_rows({**config, "testing": testing}, partial(read_in_pieces, early))
            row["seconds"] = round(time.process_time() - began)
            row["read"] = share_read(early)
            row["peak_mb"] = peak_mb()
            rows.append(row)
    return rows


def peak_mb():
    """This process's peak of memory so far: macOS counts bytes, Linux kilobytes."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def text_rows(config, reader):
    """Rows of bits_per_byte: the same unseen text for all mechanisms and seeds."""
    testing = config["testing"]
    rows = []
    for split, setting in testing["splits"].items():
        task = task_of(config, setting)
        n = testing["tokens"] // max(testing["lengths"])
        for row in bits_per_byte(reader, task, testing["lengths"], n=n, seed=1000):
            rows.append({"split": split, **row})
    return rows

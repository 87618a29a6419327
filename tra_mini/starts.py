"""The trained model of a config: kept on disk, and started again where it has not learned."""

import hashlib
import json
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch

from tra_mini import results
from tra_mini.corpus import corpus_facts, stdlib_bytes
from tra_mini.evaluation import accuracy_by_length
from tra_mini.model import GPTConfig
from tra_mini.published import published_flip_flop
from tra_mini.tasks import TASKS, flip_flop
from tra_mini.training import train

MODELS = Path(__file__).resolve().parents[1] / ".cache" / "models"
NOT_OF_WEIGHTS = ("testing", "starts", "learned")  # nothing that one start depends on
KNOWN = TASKS | {task.__name__: task for task in (stdlib_bytes, published_flip_flop)}
LEARNED = 0.05  # nats a read: a training that ends above it, or a config's own, starts again


def model_path(config):
    """Where the model of a run's config is kept: named after all that its weights depend on."""
    settings = {name: config[name] for name in config if name not in NOT_OF_WEIGHTS}
    if config.get("task") == "stdlib_bytes":
        settings["corpus"] = corpus_facts()
    key = json.dumps([results.SCHEMA, results.ENVIRONMENT, settings], sort_keys=True)
    return MODELS / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.pt"


def model_config(config):
    """The GPTConfig of a run's config, which may leave settings at their defaults."""
    names = (field.name for field in fields(GPTConfig))
    return GPTConfig(**{name: config[name] for name in names if name in config})


def task_of(config, setting):
    """A config's task at a setting of its testing: flip-flops' p_ignore, others' arguments."""
    if "task" not in config:
        return partial(flip_flop, p_ignore=setting)
    return partial(KNOWN[config["task"]], **setting)


def of_any_length(batch, length, generator, *, task, shortest):
    """task at a length drawn anew for each batch: even, from shortest to length."""
    lengths = range(shortest, length + 1, 2)
    drawn = torch.randint(len(lengths), (), generator=generator).item()
    return task(batch, lengths[drawn], generator=generator)


def trained(config, on_step=None, device="cpu"):
    """The model of a config: read from .cache/models if trained before, else trained and kept.

    Where it has not learned its task, by its loss at the training length alone, it starts again
    from other weights, as often as config allows; the best start counts. Sets loss, started, path.
    """
    model = model_config(config)
    task = task_of(config, config.get("settings", config.get("p_ignore")))
    shown = task
    if "shortest" in config:
        shown = partial(of_any_length, task=task, shortest=config["shortest"])
    names = ("steps", "length", "batch", "learning_rate", "warmup", "precision")
    settings = {name: config[name] for name in names if name in config} | {"device": device}
    if device != "cpu":
        config = config | {"device": device}  # other weights, in another file
    starts, learned = [], config.get("learned", LEARNED)
    while len(starts) < config["starts"] and (not starts or starts[-1].loss > learned):
        seed = config["seed"] + 1000 * len(starts)
        path = model_path(config | {"seed": seed})
        starts.append(train(model, shown, seed=seed, **settings, checkpoint=path, on_step=on_step))
        [row] = accuracy_by_length(starts[-1], task, [config["length"]], n=256, seed=100 + seed)
        starts[-1].loss, starts[-1].path = row["loss"], path
    best = min(starts, key=lambda start: start.loss)
    best.started = len(starts)
    return best

"""Wrong types: a public function's first line of defence names the argument."""

import re
import traceback
from functools import partial
from pathlib import Path

import pytest
import torch

import tra_mini
from tra_mini import GPT, GPTConfig, training

PACKAGE = Path(tra_mini.__file__).parent
SMALL = GPTConfig(n_layer=1, n_head=1, d_model=4)
MODEL = GPT(SMALL)
TENSOR = torch.ones(1, 1, 4, 2)
TASK = partial(tra_mini.flip_flop, p_ignore=0.5)

# What is wrong instead of a tensor, a whole number, ...
NO_TENSOR = (None, "w0r0", [1.0], 2.5)
NOT_WHOLE = (None, "3", [3], 2.5)
NO_NUMBER = (None, "3", [3])
NO_NAME = (None, ["tra"], 3)
NO_OBJECT = (None, "tra", [1])

INTERFACE = [  # a function, good arguments, and what is wrong for each of them
    (
        tra_mini.threshold_relative_attention,
        {"q": TENSOR, "k": TENSOR, "v": TENSOR, "log_forget": -TENSOR[..., 0]},
        {
            "q": NO_TENSOR,
            "k": NO_TENSOR,
            "v": NO_TENSOR,
            "log_forget": NO_TENSOR,
            "threshold": NO_NUMBER,
            "block_size": NOT_WHOLE,
        },
    ),
    (
        GPTConfig,
        {},
        {
            "vocab_size": NOT_WHOLE,
            "mechanism": NO_NAME,
            "n_layer": NOT_WHOLE,
            "n_head": NOT_WHOLE,
            "d_model": NOT_WHOLE,
        },
    ),
    (GPT, {}, {"config": NO_OBJECT}),
    (MODEL.forward, {}, {"tokens": NO_TENSOR}),
    (
        MODEL.generate,
        {"tokens": torch.zeros(1, 2).long(), "new_tokens": 1, "generator": None},
        {"tokens": NO_TENSOR, "new_tokens": NOT_WHOLE, "generator": (3, "3")},
    ),
    (
        tra_mini.flip_flop,
        {"batch": 2, "length": 4, "p_ignore": 0.5, "generator": None},
        {
            "batch": NOT_WHOLE,
            "length": NOT_WHOLE,
            "p_ignore": NO_NUMBER,
            "generator": (3, "3"),
        },
    ),
    (tra_mini.encode, {}, {"text": (None, 3, [3])}),
    (tra_mini.decode, {}, {"tokens": NO_TENSOR}),
    (
        tra_mini.accuracy_by_length,
        {"model": MODEL, "task": TASK, "lengths": [4], "n": 1, "seed": 0},
        {
            "model": NO_OBJECT,
            "task": NO_OBJECT,
            "lengths": (None, 4),
            "n": NOT_WHOLE,
            "seed": NOT_WHOLE,
        },
    ),
    (
        tra_mini.train,
        {"config": SMALL, "task": TASK, "steps": 1, "length": 4},
        {
            "config": NO_OBJECT,
            "task": NO_OBJECT,
            "steps": NOT_WHOLE,
            "seed": NOT_WHOLE,
            "length": NOT_WHOLE,
            "batch": NOT_WHOLE,
            "learning_rate": NO_NUMBER,
        },
    ),
    (tra_mini.trained, {"mechanism": "tra"}, {"mechanism": NO_NAME, "seed": NOT_WHOLE}),
]
CALLS = [
    pytest.param(function, good, name, wrong, id=f"{function.__qualname__}-{name}-{wrong}")
    for function, good, arguments in INTERFACE
    for name, values in arguments.items()
    for wrong in values
]


@pytest.mark.parametrize(("function", "good", "name", "wrong"), CALLS)
def test_a_wrong_type_is_named(function, good, name, wrong, monkeypatch, tmp_path):
    """By the message or, where the error is Python's own, by our line that it points at."""
    monkeypatch.setattr(training, "MODELS", tmp_path)
    with pytest.raises((ValueError, TypeError, AttributeError, RuntimeError)) as error:
        function(**{**good, name: wrong})
    frames = traceback.extract_tb(error.tb)
    [*_, line] = [frame.line for frame in frames if Path(frame.filename).parent == PACKAGE]
    assert re.search(rf"\b{name}\b", f"{error.value} {line}"), (error.value, line)

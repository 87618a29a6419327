"""Wrong types: what the experiments' public functions refuse, they name."""

from functools import partial

import pytest
import torch

from experiments import checkpoints, compute, decoding, tasks, text
from tra_mini import GPT, GPTConfig, flip_flop

SMALL = GPTConfig(n_layer=1, n_head=1, d_model=4)
RUN = {"steps": 1, "seed": 0, "length": 4, "batch": 1, "learning_rate": 1e-3}
NOT_WHOLE = (None, "3", [3], 2.5)
SIZES = {  # of each task, besides the length
    tasks.registers: ("batch", "n_registers"),
    tasks.vote: ("batch", "n_votes"),
    tasks.recall: ("batch", "n_keys", "n_values"),
    tasks.copy: ("batch", "n_symbols"),
    tasks.count: ("batch", "modulus"),
    tasks.parity: ("batch",),
    tasks.max_retrieval: ("batch", "n_levels", "n_classes"),
}


@pytest.mark.parametrize("wrong", NOT_WHOLE)
@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, names in SIZES.items() for name in names]
)
def test_a_tasks_sizes_are_whole_numbers(task, name, wrong):
    arguments = {"batch": 1, "length": 12, "generator": torch.Generator(), name: wrong}
    with pytest.raises(ValueError) as error:
        task(**arguments)
    assert str(error.value).startswith(f"{name} is {wrong}; allowed: ")


@pytest.mark.parametrize("wrong", [None, "0.5", [0.5], float("nan")])
@pytest.mark.parametrize(
    ("task", "name"),
    [(tasks.registers, "p_ignore"), (tasks.vote, "p_ignore"), (tasks.count, "p_reset")],
)
def test_a_tasks_probabilities_are_numbers(task, name, wrong):
    with pytest.raises(ValueError) as error:
        task(1, 12, torch.Generator(), **{name: wrong})
    assert str(error.value) == f"{name} is {wrong}; allowed: 0 to 1"


@pytest.mark.parametrize("wrong", NOT_WHOLE)
@pytest.mark.parametrize("name", ["steps", "length", "batch"])
def test_numbers_of_a_training_are_whole(tmp_path, name, wrong):
    """Nothing is written."""
    arguments = {**RUN, name: wrong}
    task = partial(flip_flop, p_ignore=0.5)
    with pytest.raises(ValueError) as error:
        checkpoints.train_resumable(SMALL, task, tmp_path / "model.pt", **arguments)
    assert str(error.value) == f"{name} is {wrong}; allowed: 1 or more"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", NOT_WHOLE)
def test_spans_and_windows_are_counted_in_whole_numbers(wrong):
    with pytest.raises(ValueError) as error:
        text.bits_per_byte(GPT(SMALL), text.stdlib_bytes, [4], n=wrong, seed=0)
    assert str(error.value).startswith(f"n is {wrong}; allowed: ")
    with pytest.raises(ValueError) as error:
        decoding.keep_newest(GPT(SMALL), wrong)
    assert str(error.value).startswith(f"window is {wrong}; allowed: ")


@pytest.mark.parametrize("wrong", [None, 3])
def test_what_is_no_experiments_name_is_answered_with_those_that_exist(wrong):
    for function in (compute.run_experiment, compute.stored):
        with pytest.raises(ValueError, match=f"^name is {wrong}; allowed: recipe, "):
            function(wrong)

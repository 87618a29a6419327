"""Training on disk: the loop of tra_mini to the bit, and resumed without a trace."""

import math
from functools import partial

import pytest
import torch

from experiments import checkpoints
from experiments.checkpoints import train_resumable
from tra_mini import GPTConfig, flip_flop, train

TINY = GPTConfig(n_layer=1, n_head=2, d_model=8)
TASK = partial(flip_flop, p_ignore=0.5)
SETTINGS = {"steps": 11, "seed": 3, "length": 8, "batch": 4, "learning_rate": 1e-2}


@pytest.fixture
def path(monkeypatch, tmp_path):
    """Where the tests keep a training, every four steps."""
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 4)
    return tmp_path / "not yet there" / "model.pt"


def resumable(path, task=TASK, **changes):
    """A training of about a tenth of a second."""
    return train_resumable(TINY, task, path, **{**SETTINGS, **changes})


def same_weights(one, other):
    """Whether two models agree in every bit."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def stopped_in(step, path):
    """Trains up to Ctrl-C in this step -> what the interrupt says."""
    drawn = []

    def task(batch, length, generator):
        drawn.append(length)
        if len(drawn) == step:
            raise KeyboardInterrupt
        return TASK(batch, length, generator=generator)

    with pytest.raises(KeyboardInterrupt) as stopped:
        resumable(path, task)
    return str(stopped.value)


def no_task(batch, length, generator):
    pytest.fail("training began")


@pytest.mark.parametrize("steps", [1, 4, 11, 60])
def test_equals_the_plain_loop_to_the_bit(path, steps):
    """Whether or not the last step is one that is kept anyway, and beyond the warm-up.

    Once finished, the same call takes no step, and tells the seconds of the training.
    """
    model = resumable(path, steps=steps)
    assert same_weights(model, train(TINY, TASK, **{**SETTINGS, "steps": steps}))
    again = resumable(path, no_task, steps=steps)
    assert same_weights(model, again)
    assert again.train_seconds == model.train_seconds > 0
    assert not model.training
    assert not again.training


@pytest.mark.parametrize("steps", [[3], [5], [6], [9], [6, 2], [5, 5, 3]])
def test_resumed_equals_uninterrupted(path, steps):
    """After any number of interruptions the same call ends with the weights of one without."""
    for step in steps:
        stopped_in(step, path)
    assert same_weights(resumable(path), train(TINY, TASK, **SETTINGS))


def test_the_message_says_where_it_stopped_and_how_to_go_on(path):
    """The steps kept, at first none, then those of the run before."""
    assert stopped_in(2, path) == "stopped in step 2 of 11; the same command goes on from step 0"
    assert stopped_in(6, path) == "stopped in step 6 of 11; the same command goes on from step 4"
    assert stopped_in(3, path) == "stopped in step 7 of 11; the same command goes on from step 4"


def without(name):
    """Damages a checkpoint: one of its parts is missing."""

    def damage(path):
        state = torch.load(path, weights_only=True)
        del state[name]
        torch.save(state, path)

    return damage


def other_shape(path):
    """Damages a checkpoint: a matrix of another model."""
    state = torch.load(path, weights_only=True)
    state["model"]["head.weight"] = torch.zeros(5, 9)
    torch.save(state, path)


DAMAGES = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "no checkpoint": lambda path: path.write_text("something else", encoding="utf-8"),
    "a list": lambda path: torch.save([1, 2], path),
    "another shape": other_shape,
    **{f"no {name}": without(name) for name in ("model", "optimizer", "generator", "step")},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_anew(path, damage, capsys):
    """With nothing of it in the new weights; its bytes stay under another name."""
    stopped_in(10, path)
    damage(path)
    damaged = path.read_bytes()
    assert same_weights(resumable(path), train(TINY, TASK, **SETTINGS))
    aside = path.with_name("model.pt.aside-1")
    assert aside.read_bytes() == damaged
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{path} is damaged (")
    assert line.endswith(f"set aside as {aside}")


def test_a_half_written_checkpoint_never_replaces_a_good_one(path, monkeypatch):
    """A disk that fills up in the middle of a save leaves the last good one, and nothing else."""
    stopped_in(6, path)
    good = path.read_bytes()

    def full_disk(state, file):
        file.write(good[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        resumable(path)
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", 0), ("batch", 0), ("length", 0), ("warmup", -1), ("device", "abacus")),
        *(("learning_rate", rate) for rate in (0, -1e-3, math.nan, 2, math.inf)),
        *(("seed", seed) for seed in (-1, 2**32)),
    ],
)
def test_what_is_impossible_is_named_before_any_work(path, name, value):
    with pytest.raises(ValueError, match=f"{name} (is )?'?{value}"):
        resumable(path, no_task, **{name: value})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_trains_to_nearly_the_same_weights(path):
    """The same first weights and data on every device; rounding alone may differ."""
    on_cuda = resumable(path, device="cuda")
    on_cpu = train(TINY, TASK, **SETTINGS)
    for one, other in zip(on_cpu.parameters(), on_cuda.parameters(), strict=True):
        assert other.device.type == "cuda"
        torch.testing.assert_close(one, other.cpu(), atol=1e-3, rtol=1e-3)

"""Stopping early: what is not read would have weighed exactly nothing."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tra_mini import GPT, GPTConfig, flip_flop, threshold_relative_attention, train
from tra_mini.attention import surviving, survivor_distance
from tra_mini.early import UNDERFLOW, attend_early, share_read, stop_early


def random_inputs(seed, T, B=1, H=2, D=8, strictness=1.0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(B, H, T, D, generator=generator) for _ in range(3))
    return q, k, v, -strictness * torch.rand(B, H, T, generator=generator)


def close(found, expected):
    """Equal but for the order of sums: a few units in the last place of numbers around 1."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 3e-6


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    T=st.integers(1, 300),
    strictness=st.sampled_from([0.0, 0.1, 3.0, 50.0]),
    threshold=st.sampled_from([0.0, -0.5, 0.7]),
    block_size=st.sampled_from([1, 7, 64, 300]),
)
def test_equals_the_full_computation(seed, T, strictness, threshold, block_size):
    """On random vectors, strict gates and lax ones, dead rows included."""
    inputs = random_inputs(seed, T, strictness=strictness)
    output, read = attend_early(*inputs, threshold, block_size)
    close(output, threshold_relative_attention(*inputs, threshold=threshold))
    assert (read > 0).all()


def test_what_is_not_read_weighs_exactly_zero():
    """In the full computation, every weight whose logit is UNDERFLOW below its row's highest."""
    q, k, v, log_forget = random_inputs(0, 400, strictness=5.0)
    _, weights = threshold_relative_attention(q, k, v, log_forget, return_weights=True)
    scores = q @ k.mT / 8**0.5
    keep = surviving(scores)
    logits = scores + log_forget[..., None] * survivor_distance(keep)
    highest = logits.masked_fill(keep == 0, -torch.inf).amax(-1, keepdim=True)
    below = (logits < highest - UNDERFLOW) & (keep == 1)
    assert below.sum() > 10_000
    assert (weights[below] == 0).all()


def test_strict_gates_read_little_and_lax_ones_all():
    """delta = -5 needs some twenty survivors, at any length; delta = 0 never lets a row stop."""
    q, k, v, _ = random_inputs(1, 4000, H=1)
    for delta, least, most in ((-5.0, 0, 0.15), (-0.5, 0, 0.6), (0.0, 1, 1.2)):
        output, read = attend_early(q, k, v, torch.full((1, 1, 4000), delta))
        assert least <= read.item() <= most
        close(output, threshold_relative_attention(q, k, v, torch.full((1, 1, 4000), delta)))


def test_a_head_that_forgets_slowly_does_not_keep_the_others_reading():
    q, k, v, _ = random_inputs(2, 2000, H=2)
    log_forget = torch.tensor([-5.0, 0.0])[None, :, None].expand(1, 2, 2000)
    _, read = attend_early(q, k, v, log_forget)
    assert read[0, 0] < 0.3 and read[0, 1] >= 1


def test_a_row_without_survivors_is_silent_and_a_late_one_found():
    """A dead row gives zeros; a survivor thousands of keys back is found, whatever lies between."""
    q = torch.ones(1, 1, 3000, 4)
    k = -torch.ones(1, 1, 3000, 4)
    v = torch.randn(1, 1, 3000, 4, generator=torch.Generator().manual_seed(3))
    log_forget = torch.full((1, 1, 3000), -30.0)
    assert (attend_early(q, k, v, log_forget)[0] == 0).all()
    k[:, :, 5] = 1
    output, _ = attend_early(q, k, v, log_forget)
    close(output[:, :, 5:], v[:, :, 5:6].expand(1, 1, 2995, 4))
    assert (output[:, :, :5] == 0).all()


def test_other_number_formats_are_refused():
    """The bound is float32's: in float64 e^-105 is not 0."""
    with pytest.raises(ValueError, match="^q is torch.float64; allowed"):
        attend_early(*(x.double() for x in random_inputs(4, 8)))


def task(batch, length, generator):
    return flip_flop(batch, length, 0.8, generator)


def test_a_trained_model_answers_the_same_and_reads_less():
    """Logits of a model trained for a moment, at 48 times its training length."""
    config = GPTConfig(mechanism="tra", n_layer=2, n_head=2, d_model=32)
    model = train(config, task, steps=60, batch=8, length=64)
    tokens, _ = flip_flop(1, 3072, 0.8, torch.Generator().manual_seed(0))
    early = stop_early(copy.deepcopy(model))
    with torch.no_grad():
        full = model(tokens)
        close(early(tokens), full)
    shares = share_read(early)
    assert min(min(layer) for layer in shares) < 0.7 and len(shares[0]) == 2
    with torch.no_grad():
        caches = early.empty_caches()
        pieces = [early(piece, caches=caches) for piece in tokens.split(1000, 1)]
    close(torch.cat(pieces, 1), full)
    assert torch.allclose(torch.tensor(share_read(early)), torch.tensor(shares), atol=0.1)
    assert torch.equal(early(tokens, return_weights=True)[1][0], model(tokens, True)[1][0])


def test_only_tra_can_stop_early():
    """Other mechanisms never rule a key out: a clear error."""
    with pytest.raises(ValueError, match="^mechanism is 'alibi'; allowed: 'tra'"):
        stop_early(GPT(GPTConfig(mechanism="alibi")))

"""Stopping early: what is not read would have weighed exactly nothing."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import decoding
from experiments.decoding import read_in_pieces
from experiments.early import UNDERFLOW, attend_early, share_read, stop_early
from tra_mini import GPT, GPTConfig, flip_flop, threshold_relative_attention, train
from tra_mini.attention import surviving, survivor_distance


def random_inputs(seed, T, B=1, H=2, D=8, strictness=1.0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(B, H, T, D, generator=generator) for _ in range(3))
    return q, k, v, -strictness * torch.rand(B, H, T, generator=generator)


def close(values, expected):
    """Equal but for the order of sums: a few units in the last place of numbers around 1."""
    assert values.shape == expected.shape
    assert (values - expected).abs().max() < 3e-6


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    T=st.integers(1, 300),
    strictness=st.sampled_from([0.0, 0.1, 3.0, 50.0]),
    threshold=st.sampled_from([0.0, -0.5, 0.7]),
    block_size=st.sampled_from([1, 7, 64, 300]),
    share_new=st.sampled_from([0.1, 1.0]),
)
def test_equals_the_full_computation(seed, T, strictness, threshold, block_size, share_new):
    """On random vectors, strict gates and lax ones, silent rows included; all or the newest."""
    q, k, v, log_forget = random_inputs(seed, T, strictness=strictness)
    full = threshold_relative_attention(q, k, v, log_forget, threshold=threshold)
    first = T - max(1, int(share_new * T))
    output, read = attend_early(
        q[:, :, first:], k, v, log_forget[:, :, first:], threshold, block_size
    )
    close(output, full[:, :, first:])
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
    """delta = -5 needs some twenty survivors, at any length; delta = 0 never lets a row stop.

    A head that forgets slowly does not keep the others reading.
    """
    q, k, v, _ = random_inputs(1, 3000, H=3)
    log_forget = torch.tensor([-5.0, -0.5, 0.0])[None, :, None].expand(1, 3, 3000)
    output, read = attend_early(q, k, v, log_forget)
    close(output, threshold_relative_attention(q, k, v, log_forget))
    assert read[0, 0] < 0.2
    assert read[0, 1] < 0.7
    assert 1 <= read[0, 2] < 1.2


def test_a_silent_row_is_zero_and_a_late_survivor_is_found():
    """A survivor thousands of keys back is found, whatever lies between."""
    q = torch.ones(1, 1, 3000, 4)
    k = -torch.ones(1, 1, 3000, 4)
    v = torch.randn(1, 1, 3000, 4, generator=torch.Generator().manual_seed(3))
    log_forget = torch.full((1, 1, 3000), -30.0)
    assert (attend_early(q, k, v, log_forget)[0] == 0).all()
    k[:, :, 5] = 1
    output, _ = attend_early(q, k, v, log_forget)
    close(output[:, :, 5:], v[:, :, 5:6].expand(1, 1, 2995, 4))
    assert (output[:, :, :5] == 0).all()


def test_a_long_key_far_back_is_found():
    """The bound knows the longest key: a score of 300 outweighs forty nearer survivors."""
    q = torch.ones(1, 1, 2000, 4)
    k = torch.full((1, 1, 2000, 4), -1.0)
    k[:, :, -40:] = 0.1
    k[:, :, 5] = 150
    v = torch.randn(1, 1, 2000, 4, generator=torch.Generator().manual_seed(3))
    output, _ = attend_early(q, k, v, torch.full((1, 1, 2000), -5.0))
    close(output[:, :, -1], v[:, :, 5])


@torch.no_grad()
def test_a_trained_model_answers_the_same_and_reads_less(monkeypatch):
    """Logits at 48 times the training length, read at once or in pieces, and again afterwards."""
    config = GPTConfig(n_head=2, d_model=32)
    with torch.enable_grad():
        model = train(config, partial(flip_flop, p_ignore=0.8), steps=60, batch=8)
    tokens, _ = flip_flop(1, 3072, 0.8, torch.Generator().manual_seed(0))
    full, maps = model(tokens, return_weights=True)
    early = stop_early(model)
    close(read_in_pieces(early, tokens), full)
    shares = share_read(early)
    assert [len(layer) for layer in shares] == [2, 2]
    assert min(min(layer) for layer in shares) < 0.7

    monkeypatch.setattr(decoding, "PIECE", 1000)
    close(read_in_pieces(early, tokens), full)
    assert torch.allclose(torch.tensor(share_read(early)), torch.tensor(shares), atol=0.1)
    with pytest.raises(ValueError, match="has read nothing since share_read"):
        share_read(early)
    for block in early.blocks:
        block.attention.forget()
    for weights, expected in zip(early(tokens, return_weights=True)[1], maps, strict=True):
        assert torch.equal(weights, expected)


def test_what_cannot_stop_early_is_refused():
    """Other mechanisms never rule a key out; the bound is float32's: in float64 e^-105 is not 0."""
    with pytest.raises(ValueError, match="^q is torch.float64; allowed"):
        attend_early(*(x.double() for x in random_inputs(4, 8)))
    q, k, v, log_forget = random_inputs(4, 8)
    with pytest.raises(ValueError, match="^q and k have scores up to .*; allowed: 5e"):
        attend_early(1e5 * q, 1e5 * k, v, log_forget)
    with pytest.raises(ValueError, match="^v holds nan"):
        attend_early(q, k, v * torch.nan, log_forget)
    with pytest.raises(ValueError, match="^mechanism is ALiBi; allowed: 'tra'"):
        stop_early(GPT(GPTConfig(mechanism="alibi")))

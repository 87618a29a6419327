"""Decoding from caches equals the whole computation; what a window loses is bounded."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import decoding
from experiments.decoding import cached, keep_newest, read_in_pieces, share_lost
from experiments.early import stop_early
from tra_mini import GPT, GPTConfig


def model_of(mechanism="tra", **sizes):
    """A model of random weights, large ones."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(mechanism=mechanism, **sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def tokens_of(T, B=2):
    return torch.randint(5, (B, T), generator=torch.Generator().manual_seed(1))


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(1, 149), max_size=6, unique=True))
@torch.no_grad()
def test_a_sequence_in_pieces_equals_the_whole(cuts):
    """Any cuts, pieces longer and shorter than a block of 64 rows; logits and weights."""
    model = model_of(n_head=2, d_model=16)
    tokens = tokens_of(150)
    whole, maps = model(tokens, return_weights=True)
    reader = cached(model)
    for first, last in pairwise([0, *sorted(cuts), 150]):
        piece, weights = reader(tokens[:, first:last], return_weights=True)
        torch.testing.assert_close(piece, whole[:, first:last], atol=2e-5, rtol=1e-4)
        for new, old in zip(weights, maps, strict=True):
            assert new.shape[2:] == (last - first, last)
            torch.testing.assert_close(new, old[:, :, first:last, :last], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "copy_of",
    [cached, stop_early, lambda model: keep_newest(model, 40)],
    ids=["cached", "stop_early", "keep_newest"],
)
@torch.no_grad()
def test_copies_leave_the_model_alone_and_begin_anew(copy_of, monkeypatch):
    """read_in_pieces reads whole sequences, whatever was read before, and the model is as it was.

    So does a window that is wide enough.
    """
    monkeypatch.setattr(decoding, "PIECE", 9)
    model = model_of(n_head=2, d_model=16)
    tokens = tokens_of(40)
    before = model(tokens)
    reader = copy_of(model)
    for _ in range(2):
        torch.testing.assert_close(read_in_pieces(reader, tokens), before, atol=2e-5, rtol=1e-4)
        assert reader.blocks[0].attention.k.shape[2] == 40
    assert torch.equal(model(tokens), before)


@given(
    seed=st.integers(0, 10**6),
    window=st.integers(1, 60),
    piece=st.sampled_from([1, 3, 20]),
    bias=st.sampled_from([-4.0, 0.0, 3.0]),
)
@torch.no_grad()
def test_what_a_window_loses_is_bounded(seed, window, piece, bias):
    """In every row of every head: error of the output <= 2 * lost * the longest value."""
    model = model_of(n_layer=1, n_head=2, d_model=16)
    attention = model.blocks[0].attention
    attention.output = torch.nn.Identity()  # the heads' outputs side by side
    torch.manual_seed(seed)
    torch.nn.init.normal_(attention.project.weight, std=0.25)
    torch.nn.init.constant_(attention.gate.bias, bias)
    x = torch.randn(1, 80, 16)
    whole = attention(x)[0].unflatten(-1, (2, 8))  # (1, T, H, D)
    longest = attention.heads(x)[2].norm(dim=-1).amax(-1)  # (1, H)

    reader = keep_newest(model, window).blocks[0].attention
    evicted = 0
    for first in range(0, 80, piece):
        assert reader.evicted == evicted
        output = reader(x[:, first : first + piece])[0].unflatten(-1, (2, 8))
        error = (output - whole[:, first : first + piece]).norm(dim=-1).mT  # (1, H, piece)
        assert (error <= 2 * reader.lost * longest[..., None] + 1e-5).all()
        if evicted == 0:
            assert (reader.lost == 0).all()
        last = min(80, first + piece)
        evicted = max(0, last - window)
        assert reader.k.shape[2] == reader.v.shape[2] == last - evicted


@torch.no_grad()
def test_a_row_whose_survivors_were_all_evicted_says_so():
    """Keys are minus the tokens: -1 looks for 1, and once that is evicted finds nothing."""
    model = model_of(n_layer=1, n_head=1, d_model=2)
    attention = model.blocks[0].attention
    attention.output = torch.nn.Identity()
    attention.project.weight[:] = torch.cat((torch.eye(2), -torch.eye(2), torch.eye(2)))
    reader = keep_newest(model, 2).blocks[0].attention
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]])
    reader(x[:, :3])
    assert reader.evicted == 1
    assert (reader.lost == 0).all()
    output, _ = reader(x[:, 3:])
    assert reader.lost.item() == 1
    assert (output == 0).all()
    torch.testing.assert_close(attention(x)[0][:, 3], x[:, 0])  # what the evicted key would say


@given(
    logits=st.lists(st.floats(-4, 4), min_size=1, max_size=30),
    delta=st.sampled_from([0.0, -1e-4, -0.3, -5.0, -60.0]),
    evicted=st.integers(1, 3000),
)
def test_the_bound_is_its_sum_and_half_precision_does_not_lower_it(logits, delta, evicted):
    """E / (E + Z) of one row, in which every second key survives: finite in every format."""
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        row = torch.tensor(logits, dtype=dtype)
        gate = torch.tensor(delta, dtype=dtype)
        keep = (torch.arange(len(row)) % 2 == 0).to(dtype)
        lost = share_lost(row[None], keep[None], gate[None], evicted, 16)

        Z = sum(math.exp(logit) for logit in row[::2].tolist())
        firsts = range(len(row[::2]) + 1, len(row[::2]) + 1 + evicted)
        E = sum(math.exp(math.sqrt(16) + gate.item() * distance) for distance in firsts)
        assert lost.isfinite().all()
        assert lost.item() == pytest.approx(E / (E + Z), rel=1e-3, abs=1e-30)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_bound_holds_beyond_what_half_precision_can_count(dtype):
    """With 10^5 kept survivors and 10^6 evicted keys: finite, and not below float64's."""
    logits = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0)).to(dtype)
    keep = torch.ones_like(logits)
    for delta in (0.0, -1e-7, -1e-5):
        gate = torch.tensor([delta], dtype=dtype)
        lost = share_lost(logits, keep, gate, 10**6, 16)
        exact = share_lost(logits.double(), keep.double(), gate.double(), 10**6, 16)
        assert exact * (1 - 1e-3) < lost <= 1


def test_bad_input_is_named():
    for model in (model_of("fox"), model_of("tra_low_threshold"), cached(model_of())):
        with pytest.raises(ValueError, match="^mechanism is .*; allowed: 'tra', with its own"):
            cached(model)
    with pytest.raises(ValueError, match="^window is 0; allowed: 1 or more keys"):
        keep_newest(model_of(), 0)

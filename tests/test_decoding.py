"""Decoding from caches equals the whole computation; what a window loses is bounded."""

import copy
from itertools import pairwise

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tra_mini import GPT, MECHANISMS, GPTConfig
from tra_mini.attention import attend
from tra_mini.decoding import keep_newest
from tra_mini.layers import ThresholdRelativeAttention


def model_of(mechanism, seed=0):
    """Two layers of random weights, those of CoPE's table and FoX's gates among them."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(mechanism=mechanism, n_head=2, d_model=16, cope_table=12)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def tokens_of(T, B=2, seed=1):
    return torch.randint(5, (B, T), generator=torch.Generator().manual_seed(seed))


def forward(model, tokens, caches=None):
    """Logits, and a layer's weights where there are any: an LSTM has none."""
    if model.config.mechanism == "lstm":
        return model(tokens, caches=caches), []
    return model(tokens, return_weights=True, caches=caches)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(1, 149), max_size=6, unique=True))
@torch.no_grad()
def test_a_sequence_in_pieces_equals_the_whole(mechanism, cuts):
    """Any cuts, pieces longer and shorter than a block of 64 rows; logits, and weights if any."""
    model, tokens = model_of(mechanism), tokens_of(150)
    caches, edges = model.empty_caches(), [0, *sorted(cuts), 150]
    whole, maps = forward(model, tokens)
    for first, last in pairwise(edges):
        piece, weights = forward(model, tokens[:, first:last], caches)
        torch.testing.assert_close(piece, whole[:, first:last], atol=2e-5, rtol=1e-4)
        for new, old in zip(weights, maps, strict=True):
            assert new.shape[2:] == (last - first, last)
            torch.testing.assert_close(new, old[:, :, first:last, :last], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@torch.no_grad()
def test_each_step_of_generate_equals_the_uncached_model(mechanism, monkeypatch):
    """The logits that each new token is chosen by, 40 steps after a prompt of 70."""
    model, tokens = model_of(mechanism), tokens_of(70)
    steps, forward = [], GPT.forward

    def spy(self, tokens, return_weights=False, caches=None):
        logits = forward(self, tokens, return_weights, caches)
        steps.append((tokens.shape[1], logits[:, -1]))
        return logits

    monkeypatch.setattr(GPT, "forward", spy)
    generated = model.generate(tokens, 40)
    monkeypatch.undo()
    assert [length for length, _ in steps] == [70] + [1] * 39
    for number, (_, logits) in enumerate(steps):
        uncached = model(generated[:, : 70 + number])[:, -1]
        torch.testing.assert_close(logits, uncached, atol=2e-5, rtol=1e-4)
        assert torch.equal(generated[:, 70 + number], logits.argmax(-1))


@pytest.mark.parametrize("mechanism", oracles.ROWS)  # all but the LSTM, which scores no keys
@torch.no_grad()
def test_a_new_token_scores_each_kept_key_once(mechanism, monkeypatch):
    """The cost of a token is linear in what is kept: one row of scores a head, no more."""
    seen = []

    def spy(q, k, v, weigh, **options):
        seen.append((q.shape[2], k.shape[2]))
        return attend(q, k, v, weigh, **options)

    monkeypatch.setattr("tra_mini.layers.attend", spy)
    model_of(mechanism).generate(tokens_of(9), 4)
    assert seen == [(9, 9)] * 2 + [(1, 10)] * 2 + [(1, 11)] * 2 + [(1, 12)] * 2


def test_sampling_is_the_same_with_a_generator_of_the_same_seed():
    model, tokens = model_of("tra"), tokens_of(5)
    first, again = (
        model.generate(tokens, 30, torch.Generator().manual_seed(seed)) for seed in (3, 3)
    )
    other = model.generate(tokens, 30, torch.Generator().manual_seed(4))
    assert torch.equal(first, again) and not torch.equal(first, other)


@given(
    seed=st.integers(0, 10**6),
    window=st.integers(1, 60),
    piece=st.sampled_from([1, 3, 20]),
    bias=st.sampled_from([-4.0, 0.0, 3.0]),
)
@torch.no_grad()
def test_what_a_window_loses_is_bounded(seed, window, piece, bias):
    """In every row of every head: error of the output <= 2 * lost * the longest value."""
    torch.manual_seed(seed)
    attention = ThresholdRelativeAttention(GPTConfig(n_head=2, d_model=16))
    attention.output = torch.nn.Identity()  # the heads' outputs side by side
    attention.gate.bias.fill_(bias)
    x = torch.randn(1, 80, 16)
    whole = attention(x)[0].unflatten(-1, (2, 8))  # (1, T, H, D)
    longest = attention.heads(x)[2].norm(dim=-1).amax(-1)  # (1, H)
    [windowed] = keep_newest(one_layer(attention), window).blocks
    cache, evicted = {}, False
    for first in range(0, 80, piece):
        new = x[:, first : first + piece]
        output = windowed.attention(new, cache=cache)[0].unflatten(-1, (2, 8))
        error = (output - whole[:, first : first + piece]).norm(dim=-1).mT  # (1, H, piece)
        lost = windowed.attention.lost
        assert (error <= 2 * lost * longest[..., None] + 1e-5).all()
        assert evicted or (lost == 0).all()
        evicted = first + piece > window
        assert cache["k"].shape[2] == min(window, first + new.shape[1])
    assert cache["evicted"] == 80 - min(window, 80)


def one_layer(attention):
    """A model around one attention layer."""
    model = GPT(GPTConfig(n_layer=1, n_head=2, d_model=16))
    model.blocks[0].attention = attention
    return model


@torch.no_grad()
def test_a_row_whose_survivors_were_all_evicted_says_so():
    """Keys are minus the tokens: -1 looks for 1, and once that is evicted finds nothing."""
    attention = ThresholdRelativeAttention(GPTConfig(n_head=1, d_model=2))
    attention.output = torch.nn.Identity()
    attention.project.weight[:] = torch.cat((torch.eye(2), -torch.eye(2), torch.eye(2)))
    windowed = keep_newest(one_layer(attention), 2).blocks[0].attention
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]])
    cache = {}
    windowed(x[:, :3], cache=cache)
    assert cache["evicted"] == 1 and (windowed.lost == 0).all()
    output, _ = windowed(x[:, 3:], cache=cache)
    assert windowed.lost.item() == 1 and (output == 0).all()
    torch.testing.assert_close(attention(x)[0][:, 3], x[:, 0])  # what the evicted key would say


@torch.no_grad()
def test_in_a_window_wide_enough_nothing_is_lost():
    model, tokens = model_of("tra"), tokens_of(50)
    narrow = keep_newest(copy.deepcopy(model), 50)
    assert torch.equal(narrow.generate(tokens[:, :20], 30), model.generate(tokens[:, :20], 30))
    assert all((block.attention.lost == 0).all() for block in narrow.blocks)
    assert torch.equal(narrow(tokens), model(tokens))  # without a cache, all keys as before


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="^mechanism is 'fox'; allowed: 'tra'"):
        keep_newest(model_of("fox"), 4)
    with pytest.raises(ValueError, match="^window is 0; allowed: 1 or more keys"):
        keep_newest(model_of("tra"), 0)

"""What must hold of tra_mini's mechanisms: each is its formula, and nothing else."""

import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F

from tra_mini import MECHANISMS, GPTConfig
from tra_mini.attention import attend
from tra_mini.mechanisms import ALiBi, raw_distance

LENGTH = 9
HEADS = 4
WIDTH = 8  # of a head: d_model = 32
PRECISION = {"rope": 1e-5}  # its angles are float32; all else is float64 here


def layer_of(mechanism, n_head=HEADS):
    """A mechanism's layer with random weights, in float64."""
    torch.manual_seed(0)
    config = GPTConfig(mechanism=mechanism, d_model=n_head * WIDTH, n_head=n_head)
    return MECHANISMS[mechanism](config).double().eval()


def sequences(batch=2, length=LENGTH, d_model=HEADS * WIDTH, seed=1):
    """x (B, T, d_model) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, d_model, generator=generator, dtype=torch.float64)


def heads_output(layer, x):
    """What a layer's heads put out, before the output projection, in blocks of four rows."""
    q, k, v = layer.heads(x)
    rule = functools.partial(layer.weigh, x=x, q=q)
    output, _ = attend(q, k, v, rule, block_size=4)
    return output


def assert_close(actual, expected, precision=1e-10):
    torch.testing.assert_close(actual, expected, rtol=precision, atol=precision)


# All of them


@pytest.mark.parametrize("block_size", [1, 4, LENGTH, 64])
@pytest.mark.parametrize("mechanism", oracles.CORE)
def test_layer_equals_its_loop(mechanism, block_size, monkeypatch):
    """Output and weights are those of the formula, whatever the block size."""
    in_blocks = functools.partial(attend, block_size=block_size)
    monkeypatch.setattr("tra_mini.mechanisms.attend", in_blocks)
    layer = layer_of(mechanism)
    x = sequences()
    output, weights = layer(x, return_weights=True)
    expected_output, expected_weights = oracles.attention_module(mechanism, layer, x)
    precision = PRECISION.get(mechanism, 1e-10)
    assert_close(weights, expected_weights, precision)
    assert_close(output, expected_output, precision)

    output_alone, no_weights = layer(x)
    assert no_weights is None
    assert torch.equal(output_alone, output)


@pytest.mark.parametrize("mechanism", oracles.CORE)
def test_logits_equal_their_formula(mechanism):
    """The logits themselves, before softmax hides a shift: distances start where they should."""
    layer = layer_of(mechanism)
    x = sequences(batch=1)
    q, k, _ = layer.heads(x)
    scores = q @ k.mT / math.sqrt(WIDTH)
    for rows in (slice(0, 4), slice(4, LENGTH)):
        logits, keep = layer.weigh(scores[:, :, rows, : rows.stop], rows, x, q)
        keep = keep.expand_as(logits)
        for h in range(HEADS):
            head = oracles.head_of(mechanism, layer, x[0], h)
            S = oracles.score_matrix(head.queries, head.keys)
            for i in range(rows.start, rows.stop):
                expected = oracles.ROWS[mechanism](S, i, head)
                row = logits[0, h, i - rows.start]
                assert keep[0, h, i - rows.start].nonzero()[:, 0].tolist() == list(expected)
                for j, logit in expected.items():
                    precision = PRECISION.get(mechanism, 1e-10)
                    assert row[j].item() == pytest.approx(logit, abs=precision)


@pytest.mark.parametrize("mechanism", ["nope", "rope"])  # the others inherit their heads from NoPE
def test_scores_lie_within_the_root_of_the_width(mechanism):
    """q and k are RMS-normalised to length sqrt(D), so |S_ij| <= sqrt(D)."""
    q, k, _ = layer_of(mechanism).heads(100 * sequences())
    length = torch.full(q.shape[:3], math.sqrt(WIDTH), dtype=q.dtype)
    assert_close(q.norm(dim=-1), length, 1e-6)
    assert_close(k.norm(dim=-1), length, 1e-6)


def test_raw_distance_by_hand():
    """Two new queries among four keys: r = i - j, negative for the later key."""
    scores = torch.zeros(1, 1, 2, 4)
    assert raw_distance(scores).tolist() == [[2, 1, 0, -1], [3, 2, 1, 0]]


# Against torch's own attention, with an explicit bias


def assert_equals_torch(layer, x, bias):
    """The heads' output is scaled_dot_product_attention with this bias (B or 1, H, T, T)."""
    q, k, v = layer.heads(x)
    future = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    bias = bias.masked_fill(future, -math.inf)
    assert_close(heads_output(layer, x), F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


def test_nope_is_plain_causal_attention():
    """softmax(S), as torch computes it."""
    layer = layer_of("nope")
    x = sequences()
    q, k, v = layer.heads(x)
    assert_close(heads_output(layer, x), F.scaled_dot_product_attention(q, k, v, is_causal=True))


def test_alibi_is_a_linear_bias():
    """S_ij - m_h (i - j), with four heads' slopes 1/4, 1/16, 1/64, 1/256."""
    slopes = torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256], dtype=torch.float64)
    place = torch.arange(LENGTH)
    r = place[:, None] - place
    assert_equals_torch(layer_of("alibi"), sequences(), -slopes[None, :, None, None] * r)


def test_fox_is_a_bias_of_the_keys_gates():
    """S_ij + log(f_{j+1} ... f_i): a product of the gates after the key, the query's included."""
    layer = layer_of("fox")
    x = sequences()
    gates = torch.sigmoid(layer.gate(x)).mT  # (B, H, T)
    product = torch.ones(*gates.shape, LENGTH, dtype=x.dtype)
    for i in range(LENGTH):
        for j in range(i):
            product[:, :, i, j] = gates[:, :, j + 1 : i + 1].prod(-1)
    assert_equals_torch(layer, x, product.log())


def test_tra_is_a_mask_and_a_bias_of_the_querys_gate():
    """S_ij + delta_i c_ij where S_ij > 0, else -inf: the rows in which a key survives."""
    layer = layer_of("tra")
    x = sequences()
    q, k, _ = layer.heads(x)
    survives = (q @ k.mT > 0).tril()
    distance = survives.flip(-1).cumsum(-1).flip(-1)
    delta = torch.sigmoid(layer.gate(x)).log().mT[..., None]  # (B, H, T, 1)
    bias = (delta * distance).masked_fill(~survives, -math.inf)
    silent = ~survives.any(-1, keepdim=True)
    assert silent.any()
    assert_equals_torch(layer, x, bias)  # torch, too, gives zeros for a row without keys


# ALiBi


@pytest.mark.parametrize("n_head", [1, 3, 8])
def test_alibi_slopes(n_head):
    """2^(-8h/H): 1/256 for a single head; 1/2, 1/4 ... 1/256 for eight, as published."""
    published = {
        1: [1 / 256],
        3: [2 ** (-8 / 3), 2 ** (-16 / 3), 1 / 256],
        8: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
    }
    layer = ALiBi(GPTConfig(mechanism="alibi", n_head=n_head, d_model=n_head * WIDTH))
    assert layer.slopes() == pytest.approx(published[n_head], rel=1e-15)


# FoX


@torch.no_grad()
def test_fox_stays_exact_in_float32_at_length():
    """4,000 tokens in float32 give what float64 gives, though the sums of gates pass 2,000."""
    layer = layer_of("fox", n_head=1)
    x = sequences(1, 4000, WIDTH)
    exact, _ = layer(x)
    output, _ = layer.float()(x.float())
    assert (output - exact).abs().max() < 1.5e-5  # sums kept in float32 are off by some 6e-5


# RoPE


def test_rope_equals_complex_rotation():
    """Entries m and m + D/2 are one complex number, turned by i / 10000^(2m/D); v is not turned."""
    rope = layer_of("rope")
    nope = layer_of("nope")
    rope.load_state_dict(nope.state_dict())
    x = sequences(length=40)
    rate = 10000.0 ** (-2 * torch.arange(WIDTH // 2, dtype=torch.float64) / WIDTH)
    angle = torch.outer(torch.arange(40), rate)
    turn = torch.polar(torch.ones_like(angle), angle)
    turned = rope.heads(x)
    plain = nope.heads(x)
    for after, before in zip(turned[:2], plain[:2], strict=True):
        number = torch.complex(*before.chunk(2, -1)) * turn
        assert_close(after, torch.cat((number.real, number.imag), -1), 1e-5)
        assert_close(after.norm(dim=-1), before.norm(dim=-1), 1e-6)
        assert torch.equal(after[:, :, 0], before[:, :, 0])  # position 0 is not turned
    assert torch.equal(turned[2], plain[2])


def test_rope_scores_depend_on_the_distance_only():
    """The same tokens farther along score the same; with one token repeated, S_ij = g(i - j)."""
    layer = layer_of("rope")
    x = sequences(1, 8)
    q, k, _ = layer.heads(x)
    later_q, later_k, _ = layer.heads(torch.cat((sequences(1, 25, seed=2), x), 1))
    assert_close(later_q[:, :, 25:] @ later_k[:, :, 25:].mT, q @ k.mT, 1e-4)

    q, k, _ = layer.heads(x[:, :1].expand(-1, 30, -1))
    scores = q @ k.mT
    assert_close(scores[:, :, 1:, 1:], scores[:, :, :-1, :-1], 1e-4)
    assert (scores[:, :, 5, 0] - scores[:, :, 5, 5]).abs().min() > 0.01  # they do depend on it

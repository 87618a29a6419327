"""Rivals and variants: each is its formula, and keeps the laws that it is known for."""

import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import experiments  # noqa: F401 (adds its mechanisms)
from experiments.rivals import ExperimentConfig, SinusoidalEmbedding, entmax
from tra_mini import GPT, MECHANISMS, GPTConfig
from tra_mini.attention import attend

LENGTH = 9
HEADS = 4
WIDTH = 8  # of a head: d_model is 32
PRECISION = 1e-10  # the modules compute in float64
ADDED = [name for name in MECHANISMS if name not in oracles.CORE]
WITH_WEIGHTS = [name for name in ADDED if name != "lstm"]


def module_of(mechanism, n_head=HEADS, cope_table=5):
    """A mechanism's module in float64; CoPE's table is short."""
    torch.manual_seed(0)
    config = ExperimentConfig(
        mechanism=mechanism, d_model=n_head * WIDTH, n_head=n_head, cope_table=cope_table
    )
    module = MECHANISMS[mechanism](config).double().eval()
    for name in ("table", "scale"):  # CoPE's zeros and SSMax's equal scales would hide errors
        if hasattr(module, name):
            torch.nn.init.normal_(getattr(module, name))
    return module


def sequences(batch=2, length=LENGTH, d_model=HEADS * WIDTH):
    """x (B, T, d_model) in float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, length, d_model, generator=generator, dtype=torch.float64)


def close(values, expected, precision=PRECISION):
    torch.testing.assert_close(values, expected, rtol=precision, atol=precision)


# Against the loops


@pytest.mark.parametrize("block_size", [1, 4, 64])
@pytest.mark.parametrize("mechanism", WITH_WEIGHTS)
def test_module_equals_its_loop(mechanism, block_size, monkeypatch):
    """Output and weights are those of the formula, whatever the block size."""
    blocked = functools.partial(attend, block_size=block_size)
    monkeypatch.setattr("tra_mini.mechanisms.attend", blocked)
    module = module_of(mechanism)
    x = sequences()
    output, weights = module(x, return_weights=True)
    expected_output, expected_weights = oracles.attention_module(mechanism, module, x)
    close(weights, expected_weights)
    close(output, expected_output)


# As layers of a GPT


@pytest.mark.parametrize("mechanism", ADDED)
def test_every_parameter_learns(mechanism):
    """Gates, scales and CoPE's table of zeros too get a finite gradient other than 0."""
    torch.manual_seed(0)
    model = GPT(ExperimentConfig(mechanism=mechanism, d_model=32, cope_table=8))
    tokens = torch.randint(5, (4, 24), generator=torch.Generator().manual_seed(3))
    F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


# 1.5-entmax

LOGITS = st.floats(-20, 20) | st.sampled_from([-1e30, -1.0, 0.0, 0.5, 1.0, 3.0])  # with ties
ROWS_OF_LOGITS = st.builds(
    lambda kept, others: [kept, *others], st.floats(-20, 20), st.lists(LOGITS, max_size=40)
)


def tensor(row):
    return torch.tensor(row, dtype=torch.float64)


@given(row=ROWS_OF_LOGITS)
def test_entmax_equals_halving(row):
    """Sorting finds the tau that halving an interval finds, whatever the ties and magnitudes."""
    expected = oracles.entmax(dict(enumerate(row)))
    close(entmax(tensor(row)), tensor(list(expected.values())))


@given(row=ROWS_OF_LOGITS, shift=st.floats(-100, 100))
def test_entmax_is_a_distribution_with_exact_zeros(row, shift):
    """It sums to 1, keeps the order, forgets a shift; from 2 below the highest on it is 0."""
    logits = tensor(row)
    p = entmax(logits)
    assert (p >= 0).all()
    close(p.sum(), tensor(1.0), 1e-12)
    assert (p[logits.argsort()].diff() >= 0).all()
    assert (p[logits <= logits.max() - 2] == 0).all()
    assert all(len(p[logits == logit].unique()) == 1 for logit in set(row))
    close(entmax(logits + shift), p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entmax_gives_removed_keys_exactly_nothing(dtype):
    """However many are removed beside one key or two; and nothing flows back to them."""
    for n in (*range(3, 450), 4096):
        logits = torch.full((2, n), -1e30, dtype=dtype)
        logits[:, 0] = 0.7
        logits[1, 1] = 0.4
        p = entmax(logits.requires_grad_())
        [gradient] = torch.autograd.grad(p[:, 0].sum(), logits)
        for removed in (p[0, 1:], p[1, 2:], gradient[0, 1:], gradient[1, 2:]):
            assert (removed == 0).all(), n
        close(p.sum(-1), torch.ones_like(p[:, 0]), 1e-6)
        assert gradient.isfinite().all()


def test_entmax_gradients():
    """Equal to finite differences, many keys outside."""
    torch.manual_seed(0)
    logits = (2 * torch.randn(3, 7, dtype=torch.float64)).requires_grad_()
    assert (entmax(logits) == 0).any()
    assert torch.autograd.gradcheck(entmax, logits)


# Stick-breaking


@pytest.mark.parametrize("score", ["random", 4.0, -4.0, 30.0, -30.0])
def test_stick_breaking_in_float32_over_ten_thousand_keys(score):
    """Scores up to the root of the width, 4, and far beyond: as float64 multiplies the shares."""
    keys = 10_000
    scores = 8 * torch.rand(1, 1, 2, keys, generator=torch.Generator().manual_seed(0)) - 4
    if score != "random":
        scores.fill_(score)
    scores.requires_grad_()
    logits, keep = module_of("stick_breaking").weigh(scores, slice(0, 2), None, None)
    weights = logits.exp() * keep
    for row, last in ((0, keys - 2), (1, keys - 1)):  # each query's own key, which it does not see
        share = torch.sigmoid(scores[0, 0, row, :last].double()).flip(-1)  # newest first
        left = torch.cat((torch.ones(1), (1 - share).cumprod(-1)[:-1]))
        assert (weights[0, 0, row, :last] - (share * left).flip(-1)).abs().max() < 1e-6
        assert torch.count_nonzero(weights[0, 0, row, last:]) == 0
        assert weights[0, 0, row].sum() < 1 + 1e-5
    weights.sum().backward()
    assert scores.grad.isfinite().all()


# SSMax, and TRA annealed


def test_ssmax_keeps_its_key_where_softmax_disperses():
    """A key that scores 1 above n - 1 others: softmax gives it e / (e + n - 1), which vanishes.

    With s = 2 SSMax gives it m^2 / (m^2 + n - 1), m = n + 1, which grows to 1.
    """
    module = module_of("ssmax")
    torch.nn.init.constant_(module.scale, 2.0)
    for n in (4, 32, 256):
        sharpness = module.sharpness(sequences(length=n))[:, -1]  # (n_far, 1)
        logits = torch.zeros(HEADS // 2, n, dtype=torch.float64)
        logits[:, 0] = 1
        weight = (sharpness * logits).softmax(-1)[:, 0]
        m = n + 1
        close(weight, torch.full_like(weight, m**2 / (m**2 + n - 1)))


@pytest.mark.parametrize(("n_head", "slopes"), [(1, [0]), (3, [1, 0, 0]), (4, [1, 1 / 2, 0, 0])])
def test_nape_has_distance_in_the_first_half_of_its_heads(n_head, slopes):
    """Also where their number is odd; only the others are sharpened."""
    assert module_of("entmax", n_head).slopes() == slopes
    module = module_of("asentmax", n_head)
    x = sequences(d_model=n_head * WIDTH)
    plain = module_of("entmax", n_head).heads(x)[0]
    sharpened = module.heads(x)[0] / plain
    near = n_head // 2
    close(sharpened[:, :near], torch.ones_like(sharpened[:, :near]))
    assert (sharpened[:, near:] > 1).all()


def test_cope_counts_positions_from_the_right():
    """In float32, over 4,096 keys: the newest positions are small, and so exact."""
    torch.manual_seed(0)
    module = MECHANISMS["cope"](ExperimentConfig(d_model=8, n_head=1, cope_table=2**13))
    torch.nn.init.normal_(module.table)
    scores = torch.randn(1, 1, 1, 4096)
    q = torch.randn(1, 1, 4096, 8)
    rows = slice(4095, 4096)
    logits, _ = module.weigh(scores, rows, None, q)
    exact, _ = module.double().weigh(scores.double(), rows, None, q.double())
    assert (logits - exact)[..., -64:].abs().max() < 5e-5
    assert (logits - exact).abs().max() < 2e-3


def test_removal_sets_in_over_500_steps_of_training_and_nowhere_else():
    """kappa = 2p / (1 - p) on scores below 0, p the share done; from step 500 on it is TRA.

    In evaluation, and in a pass without gradients, it is TRA and no step is counted.
    """
    module = module_of("tra_annealed")
    tra = module_of("tra")
    tra.load_state_dict(module.state_dict(), strict=False)
    x = sequences(batch=1)
    scores = 4 * torch.rand(1, HEADS, LENGTH, LENGTH, dtype=x.dtype) - 2
    rows = slice(0, LENGTH)
    exact, _ = tra.weigh(scores, rows, x, None)
    module.train()
    for step in (1, 250, 499):
        module.steps.fill_(step)
        logits, keep = module.weigh(scores, rows, x, None)
        close(logits, exact + 2 * step / (500 - step) * scores.clamp(max=0))
        assert torch.equal(keep.bool(), torch.ones(LENGTH, LENGTH).tril().bool())

    module.steps.fill_(498)
    assert not torch.equal(module(x)[0], tra(x)[0])  # step 499
    assert torch.equal(module(x)[0], tra(x)[0])
    assert module.steps == 500
    module.steps.zero_()
    with torch.no_grad():
        assert torch.equal(module(x)[0], tra(x)[0])
    assert torch.equal(module.eval()(x)[0], tra(x)[0])
    assert module.steps == 0


# The LSTM, and positions in the embeddings


@torch.no_grad()
def test_lstm_equals_a_loop_of_its_equations():
    """i, f, g, o of x_t and h_(t-1); c = f c + i g; h = o tanh(c), number by number."""
    module = module_of("lstm", n_head=1)
    x = sequences(length=6, d_model=WIDTH)
    of_x, of_h, bias_x, bias_h = (weights.tolist() for weights in module.lstm.parameters())
    output, no_weights = module(x)
    assert no_weights is None
    for sequence, outputs in zip(x.tolist(), output.tolist(), strict=True):
        h = [0.0] * WIDTH
        c = [0.0] * WIDTH
        for x_t, expected in zip(sequence, outputs, strict=True):
            gates = [
                oracles.dot(of_x[row], x_t) + bias_x[row] + oracles.dot(of_h[row], h) + bias_h[row]
                for row in range(4 * WIDTH)
            ]
            i, f, g, o = (gates[part * WIDTH : (part + 1) * WIDTH] for part in range(4))
            for n in range(WIDTH):
                kept = oracles.sigmoid(f[n]) * c[n]
                c[n] = kept + oracles.sigmoid(i[n]) * math.tanh(g[n])
                h[n] = oracles.sigmoid(o[n]) * math.tanh(c[n])
            assert h == pytest.approx(expected, abs=1e-12)


def test_what_a_mechanism_cannot_do_is_named():
    """Halves of an odd number of heads; weights of an LSTM."""
    with pytest.raises(ValueError, match="^n_head is 3; allowed for two halves: even numbers$"):
        GPT(GPTConfig(mechanism="tra_beside_local", d_model=12, n_head=3))
    with pytest.raises(ValueError, match="^return_weights is True; allowed for an LSTM: False$"):
        GPT(GPTConfig(mechanism="lstm"))(torch.tensor([[0, 1]]), return_weights=True)


def test_sinusoidal_embeddings_equal_a_loop():
    """Entries 2m and 2m + 1 gain the sine and cosine of i / 10000^(2m / d_model)."""
    embedding = SinusoidalEmbedding(5, 12)
    positions = embedding(torch.full((1, 50), 3))[0] - embedding.weight[3]
    for i in range(50):
        for m in range(6):
            angle = i / 10000 ** (2 * m / 12)
            assert positions[i, 2 * m].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert positions[i, 2 * m + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert isinstance(GPT(GPTConfig(mechanism="sinusoidal")).embedding, SinusoidalEmbedding)

"""What must hold of every mechanism in MECHANISMS: each is its formula, and nothing else."""

import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tra_mini import GPT, MECHANISMS, GPTConfig
from tra_mini.attention import BLOCK_SIZE, attend
from tra_mini.positions import alibi_slopes, sinusoids
from tra_mini.rivals import LSTM, entmax

LENGTH = 9
HEADS, WIDTH = 4, 8  # of the modules below: d_model = 32
PRECISION = {"rope": 1e-5}  # its angles are float32; all else is float64 here


def module_of(mechanism, cope_table=5, seed=0, n_head=HEADS):
    """A mechanism's module in float64; CoPE's table is short."""
    torch.manual_seed(seed)
    config = GPTConfig(
        mechanism=mechanism, d_model=n_head * WIDTH, n_head=n_head, cope_table=cope_table
    )
    module = MECHANISMS[mechanism](config).double().eval()
    for name in ("table", "scale"):  # CoPE's zeros and SSMax's 0.43 would hide errors
        if hasattr(module, name):
            torch.nn.init.normal_(getattr(module, name))
    return module


def sequences(batch=2, length=LENGTH, d_model=HEADS * WIDTH, seed=1):
    """x (B, T, d_model) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, d_model, generator=generator, dtype=torch.float64)


def close(given, expected, precision=1e-10):
    torch.testing.assert_close(given, expected, rtol=precision, atol=precision)


# Against the loops


def test_every_mechanism_has_its_loop():
    """The LSTM's is below: it has no weights."""
    assert set(oracles.ROWS) == set(MECHANISMS) - {"lstm"}


@pytest.mark.parametrize("block_size", [1, 4, LENGTH, 64])
@pytest.mark.parametrize("mechanism", oracles.ROWS)
def test_module_equals_its_loop(mechanism, block_size, monkeypatch):
    """Output and weights of every mechanism are those of its formula, whatever the block size."""
    blocked = functools.partial(attend, block_size=block_size)
    monkeypatch.setattr("tra_mini.layers.attend", blocked)
    module, x = module_of(mechanism), sequences()
    output, weights = module(x, return_weights=True)
    expected_output, expected_weights = oracles.attention_module(mechanism, module, x)
    precision = PRECISION.get(mechanism, 1e-10)
    close(weights, expected_weights, precision)
    close(output, expected_output, precision)
    alone, no_weights = module(x)
    assert no_weights is None
    assert torch.equal(alone, output)


@pytest.mark.parametrize("mechanism", oracles.ROWS)
def test_logits_equal_their_formula(mechanism):
    """The logits themselves, before softmax forgets a shift: distances start where they should."""
    module, x = module_of(mechanism), sequences(batch=1)
    q, k, _ = module.heads(x)
    weigh = module.weighing(x, q)
    scores = q @ k.mT / math.sqrt(WIDTH)
    for rows in (slice(0, 4), slice(4, LENGTH)):
        logits, keep = weigh(scores[:, :, rows, : rows.stop].clone(), rows)
        keep = keep.expand_as(logits)
        for h in range(HEADS):
            head = oracles.head_of(mechanism, module, x[0], h)
            S = oracles.score_matrix(head.queries, head.keys)
            for i in range(rows.start, rows.stop):
                expected = oracles.ROWS[mechanism](S, i, head)
                row = logits[0, h, i - rows.start].tolist()
                kept = keep[0, h, i - rows.start].tolist()
                assert [j for j in range(rows.stop) if kept[j]] == list(expected)
                for j, logit in expected.items():
                    assert row[j] == pytest.approx(logit, abs=PRECISION.get(mechanism, 1e-10))


@pytest.mark.parametrize("mechanism", oracles.ROWS)
def test_scores_lie_within_the_root_of_the_width(mechanism):
    """q and k are RMS-normalised to length sqrt(D), so |S_ij| <= sqrt(D), for every mechanism."""
    q, k, _ = module_of(mechanism).heads(100 * sequences())
    close(q.norm(dim=-1), torch.full(q.shape[:3], math.sqrt(WIDTH), dtype=q.dtype), 1e-6)
    close(k.norm(dim=-1), torch.full(k.shape[:3], math.sqrt(WIDTH), dtype=k.dtype), 1e-6)


# Against torch's own attention with an explicit bias


def compare_with_torch(mechanism, bias_of):
    """The output before its last projection is scaled_dot_product_attention with this bias."""
    module, x = module_of(mechanism), sequences(length=LENGTH)
    q, k, v = module.heads(x)
    ours, _ = attend(q, k, v, module.weighing(x, q), block_size=4)
    place = torch.arange(LENGTH)
    future = place[None, :] > place[:, None]
    bias = bias_of(module, x, place[:, None] - place[None, :])  # (B or 1, H, T, T)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.masked_fill(future, -math.inf))
    close(ours, theirs)


def test_nope_is_plain_causal_attention():
    """softmax(S), as torch computes it."""
    module, x = module_of("nope"), sequences()
    q, k, v = module.heads(x)
    ours, _ = attend(q, k, v, module.weighing(x, q), block_size=4)
    close(ours, F.scaled_dot_product_attention(q, k, v, is_causal=True))


def test_alibi_is_a_linear_bias():
    """S_ij - m_h (i - j), with four heads' slopes 1/4, 1/16, 1/64, 1/256."""
    slopes = torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256], dtype=torch.float64)
    compare_with_torch("alibi", lambda module, x, back: -slopes[None, :, None, None] * back)


def test_ssmax_is_a_longer_query():
    """softmax(s log(i + 1) S_ij - m (i - j)), m = 1/4, 0, 1/64, 0: q is s log(i + 1) times longer.

    Row 0, a single key, has log 1 = 0 times its score; s is learned, 0.43 at first.
    """
    module, x = module_of("ssmax"), sequences()
    q, k, v = module.heads(x)
    ours, _ = attend(q, k, v, module.weighing(x, q), block_size=4)
    place = torch.arange(LENGTH, dtype=x.dtype)
    slopes = torch.tensor([1 / 4, 0, 1 / 64, 0], dtype=x.dtype)[:, None, None]
    bias = (slopes * (place - place[:, None])).masked_fill(place > place[:, None], -math.inf)
    longer = q * module.scale[:, None, None] * (place + 1).log()[:, None]
    close(ours, F.scaled_dot_product_attention(longer, k, v, attn_mask=bias))
    initial = MECHANISMS["ssmax"](GPTConfig(mechanism="ssmax", d_model=16, n_head=2)).scale
    assert initial.tolist() == pytest.approx([0.43, 0.43])


def test_fox_is_a_bias_of_the_keys_gates():
    """S_ij + log(f_{j+1} ... f_i): a product of the gates after the key, the query's included."""

    def bias(module, x, back):
        gates = torch.sigmoid(module.gate(x)).mT  # (B, H, T)
        product = torch.ones(*gates.shape, LENGTH, dtype=x.dtype)
        for i in range(LENGTH):
            for j in range(i):
                product[:, :, i, j] = gates[:, :, j + 1 : i + 1].prod(-1)
        return product.log()

    compare_with_torch("fox", bias)


def test_distance_only_is_a_bias_of_the_querys_gate():
    """S_ij + delta_i (i - j + 1)."""

    def bias(module, x, back):
        return torch.sigmoid(module.gate(x)).log().mT[..., None] * (back + 1)

    compare_with_torch("distance_only", bias)


@torch.no_grad()
def test_fox_stays_exact_in_float32_at_length():
    """4,000 tokens in float32 give what float64 gives, though the sums of gates pass 2,000."""
    module, x = module_of("fox", n_head=1), sequences(1, 4000, WIDTH)
    exact, _ = module(x)
    output, _ = module.float()(x.float())
    assert (output - exact).abs().max() < 1.5e-5  # sums kept in float32 are off by some 6e-5


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


@given(row=ROWS_OF_LOGITS, rival=ROWS_OF_LOGITS, share=st.floats(0, 1))
def test_entmax_is_what_entmax_maximises(row, rival, share):
    """p . z + 4/3 sum(p - p^1.5), its definition (Peters et al. 2019), is nowhere higher."""

    def objective(p):
        return p @ tensor(row) + (p - p**1.5).sum() * 4 / 3

    p = entmax(tensor(row))
    other = torch.zeros_like(p)
    other[: len(rival)] = tensor(rival)[: len(p)].softmax(-1)
    assert objective(torch.lerp(p, other / other.sum(), share)) <= objective(p) + 1e-10


@given(row=ROWS_OF_LOGITS, shift=st.floats(-100, 100))
def test_entmax_is_a_distribution_with_exact_zeros(row, shift):
    """It sums to 1, keeps the order, forgets a shift; from 2 below the highest on it is 0."""
    logits = tensor(row)
    p = entmax(logits)
    assert (p >= 0).all()
    close(p.sum(), tensor(1.0), 1e-12)
    order = logits.argsort()
    assert (p[order].diff() >= 0).all()
    assert (p[logits <= logits.max() - 2] == 0).all()
    assert all(len(p[logits == logit].unique()) == 1 for logit in set(row))
    close(entmax(logits + shift), p)


def test_entmax_by_hand():
    """Ties share; two keys 1 apart: x^2 + (x - 1/2)^2 = 1; 2 apart, the lower has nothing."""
    x = (0.5 + math.sqrt(1.75)) / 2
    close(entmax(tensor([3.0, 3.0, 3.0, 3.0])), tensor([0.25] * 4))
    close(entmax(tensor([1.0, 0.0])), tensor([x**2, (x - 0.5) ** 2]))
    assert entmax(tensor([-5.0, -7.0, -7.0])).tolist() == [1, 0, 0]
    assert entmax(tensor([-1e30])).tolist() == [1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_removed_keys_weigh_exactly_nothing(dtype):
    """However many are removed beside one key or two; and nothing flows back to them."""
    for n in (*range(3, 450), 4096):
        logits = torch.full((2, n), -1e30, dtype=dtype)
        logits[:, 0], logits[1, 1] = 0.7, 0.4
        p = entmax(logits.requires_grad_())
        [gradient] = torch.autograd.grad(p[:, 0].sum(), logits)
        for removed in (p[0, 1:], p[1, 2:], gradient[0, 1:], gradient[1, 2:]):
            assert (removed == 0).all(), n
        close(p.sum(-1), torch.ones_like(p[:, 0]), 1e-6)
        assert gradient.isfinite().all()


def test_entmax_gradients():
    """Equal to finite differences, many keys outside; and to the formula of its Jacobian.

    dp/dz = diag(s) - s s^T / sum(s), s = sqrt(p) (Peters et al. 2019, proposition 2).
    """
    torch.manual_seed(0)
    logits = (2 * torch.randn(3, 7, dtype=torch.float64)).requires_grad_()
    assert (entmax(logits) == 0).any()
    assert torch.autograd.gradcheck(entmax, logits)
    row = logits[0].detach()
    s = entmax(row).sqrt()
    jacobian = torch.autograd.functional.jacobian(entmax, row)
    close(jacobian, torch.diag(s) - torch.outer(s, s) / s.sum(), 1e-9)


@pytest.mark.parametrize("length", [1, 9, 300])
def test_entmax_equals_its_authors_package(length):
    """Weights and gradients of entmax15, where the package entmax is installed."""
    theirs = pytest.importorskip("entmax").entmax15
    torch.manual_seed(0)
    logits, uneven = torch.randn(2, 20, length, dtype=torch.float64)
    logits = 3 * logits.masked_fill(uneven > 1, -1e30)
    results = []
    for function in (entmax, lambda logits: theirs(logits, dim=-1)):
        given_logits = logits.clone().requires_grad_()
        p = function(given_logits)
        (p * uneven).sum().backward()
        results.append((p, given_logits.grad))
    close(results[0], results[1], 1e-9)


# Stick-breaking


def test_what_is_left_of_the_stick_is_silence():
    """Rows sum to 1 - prod (1 - beta) over the earlier keys; a token never sees itself."""
    module, x = module_of("stick_breaking"), sequences()
    q, k, _ = module.heads(x)
    output, weights = module(x, return_weights=True)
    shares = torch.sigmoid(q @ k.mT / math.sqrt(WIDTH))
    for i in range(LENGTH):
        close(weights[:, :, i].sum(-1), 1 - (1 - shares[:, :, i, :i]).prod(-1))
    assert torch.count_nonzero(weights.triu()) == 0
    assert torch.count_nonzero(output[:, 0]) == 0 and (output[:, 1] != 0).any()


@pytest.mark.parametrize("score", ["random", 4.0, -4.0, 30.0, -30.0])
def test_stick_breaking_in_float32_over_ten_thousand_keys(score):
    """Scores up to the root of the width, 4, and far beyond: as float64 multiplies the shares."""
    keys = 10_000
    scores = 8 * torch.rand(1, 1, 2, keys, generator=torch.Generator().manual_seed(0)) - 4
    if score != "random":
        scores.fill_(score)
    scores.requires_grad_()
    logits, keep = module_of("stick_breaking").weighing(None, None)(scores, slice(0, 2))
    weights = logits.exp() * keep
    for row, last in ((0, keys - 2), (1, keys - 1)):  # each query's own key, which it does not see
        share = torch.sigmoid(scores[0, 0, row, :last].double()).flip(-1)  # newest first
        left = torch.cat((torch.ones(1), (1 - share).cumprod(-1)[:-1]))
        assert (weights[0, 0, row, :last] - (share * left).flip(-1)).abs().max() < 1e-6
        assert torch.count_nonzero(weights[0, 0, row, last:]) == 0
        assert weights[0, 0, row].sum() < 1 + 1e-5
    weights.sum().backward()
    assert scores.grad.isfinite().all()


# RoPE


def test_rope_equals_complex_rotation():
    """Entries m and m + D/2 are one complex number, turned by i / 10000^(2m/D); v stays."""
    turned, plain = module_of("rope"), module_of("nope")
    turned.load_state_dict(plain.state_dict())
    x = sequences(length=40)
    rate = 10000.0 ** (-2 * torch.arange(WIDTH // 2, dtype=torch.float64) / WIDTH)
    turn = torch.polar(
        torch.ones(40, WIDTH // 2, dtype=torch.float64), torch.outer(torch.arange(40), rate)
    )
    new, old = turned.heads(x), plain.heads(x)
    for after, before in zip(new[:2], old[:2], strict=True):
        number = torch.complex(*before.chunk(2, -1)) * turn
        close(after, torch.cat((number.real, number.imag), -1), 1e-5)
        close(after.norm(dim=-1), before.norm(dim=-1), 1e-6)
        assert torch.equal(after[:, :, 0], before[:, :, 0])  # position 0 is not turned
    assert torch.equal(new[2], old[2])


def test_rope_scores_depend_on_the_distance_only():
    """The same tokens further along score the same; with one token repeated, S_ij = g(i - j)."""
    module, x = module_of("rope"), sequences(1, 8)
    q, k, _ = module.heads(x)
    shifted_q, shifted_k, _ = module.heads(torch.cat((sequences(1, 25, seed=2), x), 1))
    close(shifted_q[:, :, 25:] @ shifted_k[:, :, 25:].mT, q @ k.mT, 1e-4)
    q, k, _ = module.heads(x[:, :1].expand(-1, 30, -1))
    scores = q @ k.mT
    close(scores[:, :, 1:, 1:], scores[:, :, :-1, :-1], 1e-4)
    assert (scores[:, :, 5, 0] - scores[:, :, 5, 5]).abs().min() > 0.01  # and they do depend on it


# ALiBi and CoPE


def test_alibi_slopes_are_the_published_ones():
    """Powers of 1/2 for 8 heads; for 12 also every other slope of 16; a single head has 1/256."""
    powers = [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert alibi_slopes(8) == powers
    between = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert alibi_slopes(12) == pytest.approx(powers + between)
    assert alibi_slopes(1) == [1 / 256]
    assert alibi_slopes(16) == pytest.approx([2 ** (-h / 2) for h in range(1, 17)])


@pytest.mark.parametrize("mechanism", ["ssmax", "entmax"])
def test_half_of_the_heads_have_alibi(mechanism):
    """Those of odd number, counted from 1, keep their slope; the others know no distance."""
    module = module_of(mechanism, n_head=8)
    assert module.slopes() == [1 / 2, 0, 1 / 8, 0, 1 / 32, 0, 1 / 128, 0]
    assert module_of(mechanism, n_head=1).slopes() == [1 / 256]


def test_cope_with_zeros_is_nope():
    """A table of zeros adds nothing."""
    cope, plain = module_of("cope"), module_of("nope")
    torch.nn.init.zeros_(cope.table)
    plain.load_state_dict({name: w for name, w in cope.state_dict().items() if name != "table"})
    x = sequences()
    for ours, expected in zip(cope(x, True), plain(x, True), strict=True):
        close(ours, expected)


def test_cope_beyond_the_tables_end_uses_the_last_entry():
    """Where the position passes the table's end, the logit is S_ij + q_i . E[last]."""
    module, x = module_of("cope", cope_table=3), sequences(1)
    q, _, _ = module.heads(x)
    scores = torch.full((1, HEADS, LENGTH, LENGTH), 20.0, dtype=x.dtype)  # every gate is almost 1
    logits, _ = module.weighing(x, q)(scores.clone(), slice(0, LENGTH))
    last = 20 + q @ module.table[-1]  # (1, H, T)
    for i in range(LENGTH):
        for j in range(i - 1):  # positions of almost 3 and more
            close(logits[:, :, i, j], last[:, :, i])
    single = module_of("cope", cope_table=1)
    q, _, _ = single.heads(x)
    logits, _ = single.weighing(x, q)(0 * scores, slice(0, LENGTH))
    close(logits, (q @ single.table[0])[..., None].expand_as(logits))


def test_cope_interpolates_between_positions():
    """A gate of 1/2 at every key puts the newest key halfway between the first two entries."""
    module, x = module_of("cope"), sequences(1)
    q, _, _ = module.heads(x)
    scores = torch.zeros(1, HEADS, LENGTH, LENGTH, dtype=x.dtype)
    logits, _ = module.weighing(x, q)(scores, slice(0, LENGTH))
    halfway = q @ (module.table[0] + module.table[1]) / 2
    close(logits.diagonal(dim1=-2, dim2=-1), halfway)


# TRA beside other heads


@pytest.mark.parametrize(
    ("mixed", "other"), [("tra_beside_nope", "nope"), ("tra_beside_local", "distance_only")]
)
@pytest.mark.parametrize("n_head", [2, 4])
def test_half_of_the_heads_are_tra(mixed, other, n_head):
    """With the same parameters: the first half are TRA's, to the bit, the second the other's."""
    module, x = module_of(mixed, n_head=n_head), sequences(length=70, d_model=n_head * WIDTH)
    maps = {}
    for mechanism in (mixed, "tra", other):
        alike = module_of(mechanism, n_head=n_head)
        alike.load_state_dict(module.state_dict(), strict=mechanism != "nope")  # which has no gate
        _, maps[mechanism] = alike(x, return_weights=True)
    half = n_head // 2
    assert torch.equal(maps[mixed][:, :half], maps["tra"][:, :half])
    assert torch.equal(maps[mixed][:, half:], maps[other][:, half:])
    assert not torch.allclose(maps[mixed][:, half:], maps["tra"][:, half:])


# The LSTM


@torch.no_grad()
def test_lstm_equals_a_loop_of_its_equations():
    """i, f, g, o of x_t and h_(t-1); c = f c + i g; h = o tanh(c), number by number."""
    module, x = module_of("lstm", n_head=1), sequences(length=6, d_model=WIDTH)
    weights = [each.tolist() for each in module.lstm.parameters()]  # of x, of h; 4 * WIDTH rows
    of_x, of_h, bias_x, bias_h = weights
    output, no_weights = module(x)
    assert no_weights is None and output.shape == x.shape
    for sequence, outputs in zip(x.tolist(), output.tolist(), strict=True):
        h, c = [0.0] * WIDTH, [0.0] * WIDTH
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


@pytest.mark.parametrize("n_head", [1, 3])
@pytest.mark.parametrize("mechanism", ["tra_beside_nope", "tra_beside_local"])
def test_halves_need_an_even_number_of_heads(mechanism, n_head):
    """An error that says so, of the layer and so of the GPT."""
    with pytest.raises(ValueError, match=f"^n_head is {n_head}; allowed for two halves: even"):
        GPT(GPTConfig(mechanism=mechanism, d_model=12, n_head=n_head))


def test_an_lstm_keeps_its_precision():
    """Where matrices are multiplied in bfloat16, for which not every processor has an LSTM."""
    module, x = LSTM(GPTConfig(mechanism="lstm", d_model=16)), torch.randn(2, 5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = module(x.bfloat16())
    assert torch.equal(mixed, module(x.bfloat16().float())[0])


def test_an_lstm_has_no_weights():
    """To ask for them is an error, of the layer and of the GPT."""
    config = GPTConfig(mechanism="lstm", d_model=16)
    allowed = "^return_weights is True; allowed: False, for an LSTM has no weights$"
    with pytest.raises(ValueError, match=allowed):
        LSTM(config)(torch.zeros(1, 3, 16), return_weights=True)
    with pytest.raises(ValueError, match=allowed):
        GPT(config)(torch.tensor([[0, 1]]), return_weights=True)


# Sinusoidal positions


def test_sinusoids_equal_a_loop():
    """Entries 2m and 2m + 1 are the sine and cosine of i / 10000^(2m / d_model)."""
    vectors = sinusoids(torch.arange(50), 12)
    assert vectors.shape == (50, 12)
    for i in range(50):
        for m in range(6):
            angle = i / 10000 ** (2 * m / 12)
            assert vectors[i, 2 * m].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert vectors[i, 2 * m + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_sinusoidal_adds_positions_to_the_embeddings():
    """The GPT with sinusoidal positions is the one without, its embeddings moved by sinusoids."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(mechanism="sinusoidal", d_model=16))
    tokens = torch.tensor([[0, 3, 1, 4, 2]])
    x = model.embedding(tokens) + sinusoids(torch.arange(5), 16)
    for block in model.blocks:
        x, _ = block(x)
    close(model(tokens), model.head(model.norm(x)), 1e-6)


# The whole GPT


def random_tokens(batch, length, seed):
    return torch.randint(5, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_future_tokens_change_no_earlier_logits(mechanism):
    """Causality through the whole GPT, across blocks of rows and within one."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(mechanism=mechanism, d_model=16, n_head=2, cope_table=8)).double().eval()
    length = BLOCK_SIZE + 9
    tokens, other = random_tokens(1, length, 1), random_tokens(1, length, 2)
    with torch.no_grad():
        logits = model(tokens)
        for place in (1, 20, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 3):
            changed = model(torch.cat((tokens[:, :place], other[:, place:]), 1))
            close(changed[:, :place], logits[:, :place], 1e-12)
            assert not torch.allclose(changed[:, place:], logits[:, place:])


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_parameter_learns(mechanism):
    """Every parameter, gates and CoPE's table of zeros too, gets a finite gradient other than 0."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(mechanism=mechanism, d_model=32, cope_table=8))
    tokens = random_tokens(4, 24, 3)
    F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_annealed_removal_sets_in_over_500_steps_of_training_and_never_outside():
    """kappa = 2p / (1 - p) on scores below 0, p the share done; then, and in eval, TRA."""
    module, x = module_of("tra_annealed"), sequences(batch=1)
    q, k, _ = module.heads(x)
    scores = q @ k.mT / math.sqrt(WIDTH)
    rows = slice(0, LENGTH)
    exact, survivors = module.weighing(x, q)(scores, rows)
    assert module.steps == 0 and (survivors.sum() < LENGTH * (LENGTH + 1))
    module.train()
    for step in (1, 250, 499):
        module.steps.fill_(step - 1)
        logits, keep = module.weighing(x, q)(scores, rows)
        kappa = 2 * step / (500 - step)
        close(logits, exact + kappa * scores.clamp(max=0), 1e-10)
        assert torch.equal(keep.bool(), torch.ones(LENGTH, LENGTH).tril().bool())
        assert module.steps == step
    logits, keep = module.weighing(x, q)(scores, rows)  # step 500
    assert torch.equal(logits, exact) and torch.equal(keep, survivors)
    module.steps.zero_()
    with torch.no_grad():  # no step of training, as in generate
        logits, keep = module.weighing(x, q)(scores, rows)
    assert module.steps == 0 and torch.equal(logits, exact)
    assert module.bfloat16().steps.dtype == torch.long  # which would not count beyond 256

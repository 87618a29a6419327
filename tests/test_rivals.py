"""What must hold of every mechanism in MECHANISMS: each is its formula, and nothing else."""

import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F

import tra_mini.attention
from tra_mini import GPT, MECHANISMS, GPTConfig
from tra_mini.attention import BLOCK_SIZE, attend
from tra_mini.rivals import alibi_slopes, sinusoids

LENGTH = 9
HEADS, WIDTH = 4, 8  # of the modules below: d_model = 32
PRECISION = {"rope": 1e-5}  # its angles are float32; all else is float64 here


def module_of(mechanism, cope_table=5, seed=0, n_head=HEADS):
    """A mechanism's module in float64; CoPE's table is short, and not its initial zeros."""
    torch.manual_seed(seed)
    config = GPTConfig(
        mechanism=mechanism, d_model=n_head * WIDTH, n_head=n_head, cope_table=cope_table
    )
    module = MECHANISMS[mechanism](config).double()
    if hasattr(module, "table"):
        torch.nn.init.normal_(module.table)
    return module


def sequences(batch=2, length=LENGTH, d_model=HEADS * WIDTH, seed=1):
    """x (B, T, d_model) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, d_model, generator=generator, dtype=torch.float64)


def close(given, expected, precision=1e-10):
    torch.testing.assert_close(given, expected, rtol=precision, atol=precision)


# Against the loops


@pytest.mark.parametrize("block_size", [1, 4, LENGTH, 64])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_module_equals_its_loop(mechanism, block_size, monkeypatch):
    """Output and weights of every mechanism are those of its formula, whatever the block size."""
    blocked = functools.partial(attend, block_size=block_size)
    monkeypatch.setattr(tra_mini.attention, "attend", blocked)
    module, x = module_of(mechanism), sequences()
    output, weights = module(x, return_weights=True)
    expected_output, expected_weights = oracles.attention_module(mechanism, module, x)
    precision = PRECISION.get(mechanism, 1e-10)
    close(weights, expected_weights, precision)
    close(output, expected_output, precision)
    alone, no_weights = module(x)
    assert no_weights is None
    assert torch.equal(alone, output)


@pytest.mark.parametrize("mechanism", MECHANISMS)
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


@pytest.mark.parametrize("mechanism", MECHANISMS)
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


def test_cope_with_zeros_is_nope():
    """A table of zeros adds nothing."""
    cope, plain = module_of("cope"), module_of("nope")
    torch.nn.init.zeros_(cope.table)
    plain.load_state_dict({name: w for name, w in cope.state_dict().items() if name != "table"})
    x = sequences()
    for given, expected in zip(cope(x, True), plain(x, True), strict=True):
        close(given, expected)


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
    model = GPT(GPTConfig(mechanism=mechanism, d_model=16, n_head=2, cope_table=8)).double()
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

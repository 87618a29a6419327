"""What must hold of threshold relative attention (TRA)."""

import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tra_mini import threshold_relative_attention
from tra_mini.attention import surviving, survivor_distance, thresholded


def random_inputs(seed, batch=2, heads=2, length=7, width=4, dtype=torch.float64):
    """q, k, v (B, H, T, D) from a normal distribution, and log_forget (B, H, T) in (-2, 0]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, length, width)
    q, k, v = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    return q, k, v, -2 * torch.rand(shape[:3], generator=generator, dtype=dtype)


def scores_of(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def kept(q, k, threshold=0.0):
    """True where key j survives for query i, as whole matrices (B, H, T, T)."""
    return (scores_of(q, k) > threshold).tril()


def gradients(function, inputs):
    """The gradients of an uneven sum over a function's output, one for each input."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    output = function(*inputs)
    uneven = torch.arange(1.0, output.numel() + 1, dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * uneven / output.numel()).sum(), inputs)


def close(given, expected):
    torch.testing.assert_close(given, expected, rtol=1e-10, atol=1e-12)


# Against slow and independent specifications


@given(
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    length=st.integers(1, 9),
    width=st.integers(1, 5),
    threshold=st.floats(-1, 1),
    block_size=st.integers(1, 10),
    seed=st.integers(0, 2**16),
)
def test_equals_the_triple_loop(batch, heads, length, width, threshold, block_size, seed):
    """A_ij = softmax over surviving j of S_ij + delta_i c_ij, on any shape, with any threshold."""
    inputs = random_inputs(seed, batch, heads, length, width)
    output, weights = threshold_relative_attention(
        *inputs, threshold=threshold, block_size=block_size, return_weights=True
    )
    expected_output, expected_weights = oracles.threshold_relative_attention(*inputs, threshold)
    close(output, expected_output)
    close(weights, expected_weights)


def test_a_single_token_attends_to_itself_or_to_nothing():
    """T = 1: weight 1 if the score is above the threshold, else a silent row."""
    one = torch.ones(1, 1, 1, 1)
    gate = torch.full((1, 1, 1), -3.0)
    assert threshold_relative_attention(one, one, 5 * one, gate).item() == 5.0
    assert threshold_relative_attention(one, -one, 5 * one, gate).item() == 0.0


@pytest.mark.parametrize("threshold", [0.0, 0.5, -0.5])
def test_equals_flip_cumsum_flip_on_whole_matrices(threshold):
    """Output, weights and gradients equal those of the formula over T x T matrices with -inf."""
    inputs = random_inputs(1, length=11)
    output, weights = threshold_relative_attention(
        *inputs, threshold=threshold, block_size=4, return_weights=True
    )
    expected_output, expected_weights = oracles.whole_matrix(*inputs, threshold)
    close(output, expected_output)
    close(weights, expected_weights)
    given = gradients(
        lambda *x: threshold_relative_attention(*x, threshold=threshold, block_size=4), inputs
    )
    close(given, gradients(lambda *x: oracles.whole_matrix(*x, threshold)[0], inputs))


def test_distance_counts_the_survivors_from_key_to_query():
    """c_ij counts the survivors from j to i, key j too: the nearest survivor is at distance 1."""
    q, k, _, log_forget = random_inputs(2, batch=1, heads=1, length=8)
    whole = slice(0, 8)
    scores = scores_of(q, k)
    counted = survivor_distance(surviving(scores))[0, 0]
    logits, keep = thresholded(log_forget)(scores, whole)
    S, delta = scores[0, 0].tolist(), log_forget[0, 0].tolist()
    for i in range(8):
        for j in range(i + 1):
            distance = oracles.distance(S, i, j)
            assert counted[i, j] == distance
            assert logits[0, 0, i, j].item() == pytest.approx(S[i][j] + delta[i] * distance)
            assert keep[0, 0, i, j] == (S[i][j] > 0)


def test_distance_by_hand():
    """Survivors at 0, 2, 3 of five are 3, 2, 1 away; a removed key counts those after it."""
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    assert survivor_distance(keep).tolist() == [3.0, 2.0, 2.0, 1.0, 0.0]


# Blocks, gradients, causality


@pytest.mark.parametrize("length", [1, 2, 7])
def test_blocks_change_nothing(length):
    """Any block size gives the same output, weights and gradients as the whole sequence at once."""
    inputs = random_inputs(3, length=length)

    def attention(block_size):
        return threshold_relative_attention(*inputs, block_size=block_size, return_weights=True)

    def slopes(block_size):
        return gradients(lambda *x: threshold_relative_attention(*x, block_size=block_size), inputs)

    for block_size in range(1, length + 2):
        close(attention(block_size), attention(length))
        close(slopes(block_size), slopes(length))


def test_gradients_equal_finite_differences():
    """The gradients are right, away from scores at the threshold, where the weights jump."""
    inputs = random_inputs(4, length=5, width=3)
    inputs[3].sub_(0.1)  # a finite difference must not lift a gate above 0
    scores = scores_of(*inputs[:2])
    assert scores.abs().min() > 1e-3
    assert not kept(*inputs[:2]).any(-1).all()  # a silent row is among them
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *x: threshold_relative_attention(*x, block_size=2, return_weights=True), inputs
    )


@pytest.mark.parametrize("block_size", [1, 3, 64])
def test_the_future_changes_nothing(block_size):
    """New inputs from a place on leave every earlier row the same, bit for bit."""
    before, other = random_inputs(5, length=9), random_inputs(6, length=9)
    rows = threshold_relative_attention(*before, block_size=block_size, return_weights=True)
    for place in range(1, 9):
        after = [
            torch.cat((old[:, :, :place], 100 * new[:, :, place:]), 2)
            for old, new in zip(before, other, strict=True)
        ]
        changed = threshold_relative_attention(*after, block_size=block_size, return_weights=True)
        for old, new in zip(rows, changed, strict=True):
            assert torch.equal(old[:, :, :place], new[:, :, :place])


def test_inputs_are_left_as_they_were():
    """Nothing is written into the caller's tensors."""
    inputs = random_inputs(7)
    copies = [tensor.clone() for tensor in inputs]
    threshold_relative_attention(*inputs, return_weights=True)
    assert all(torch.equal(a, b) for a, b in zip(inputs, copies, strict=True))


# Removed keys and silent rows


@given(length=st.integers(1, 12), threshold=st.floats(-1, 2), seed=st.integers(0, 2**16))
def test_rows_sum_to_one_or_are_silent(length, threshold, seed):
    """A row sums to 1, or is exactly zero if no key survives; removed keys weigh exactly 0."""
    inputs = random_inputs(seed, length=length)
    output, weights = threshold_relative_attention(
        *inputs, threshold=threshold, block_size=5, return_weights=True
    )
    keep = kept(*inputs[:2], threshold)
    alive = keep.any(-1)
    close(weights.sum(-1)[alive], torch.ones_like(weights.sum(-1)[alive]))
    assert torch.equal(weights[~keep], torch.zeros_like(weights[~keep]))
    assert torch.equal(output[~alive], torch.zeros_like(output[~alive]))
    assert (weights[keep] > 0).all()


def test_however_strong_the_forgetting_no_removed_key_takes_over():
    """At log_forget = -10^6 a row is its nearest survivor alone: removed and later keys stay 0."""
    q, k, v, log_forget = random_inputs(12, length=20, dtype=torch.float32)
    gates = torch.full_like(log_forget, -1e6)
    _, weights = threshold_relative_attention(q, k, v, gates, return_weights=True)
    keep = kept(q, k)
    nearest = keep & (keep.flip(-1).cumsum(-1).flip(-1) == 1)
    assert torch.equal(weights, nearest.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_that_no_query_keeps_get_no_gradient(dtype):
    """A key removed for every query moves nothing: it and its value get a gradient of exactly 0."""
    q, k, v, log_forget = random_inputs(8, length=8, dtype=dtype)
    q, k = q.abs(), k.abs()
    k[:, :, [0, 3, 4]] *= -1  # every score of these three keys is negative; row 0 is silent
    _, of_k, of_v, _ = gradients(
        lambda *x: threshold_relative_attention(*x, block_size=3), (q, k, v, log_forget)
    )
    for gradient in (of_k, of_v):
        assert torch.count_nonzero(gradient[:, :, [0, 3, 4]]) == 0
        assert torch.count_nonzero(gradient[:, :, [1, 2, 5, 6, 7]]) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_silent_rows_are_zero_with_finite_gradients(dtype):
    """Rows in which no key survives give zeros, not NaN, and finite gradients, in every dtype."""
    q, k, v, log_forget = random_inputs(9, length=6, dtype=dtype)
    q, k = q.abs(), k.abs()
    k[:, :, :3] *= -1  # rows 0, 1 and 2 are silent
    k[:, 1] = -k[:, 1].abs()  # and every row of the second head
    inputs = (q, k, v, log_forget)
    output, weights = threshold_relative_attention(*inputs, return_weights=True)
    assert output.dtype == dtype
    assert torch.equal(output[:, :, :3], torch.zeros_like(output[:, :, :3]))
    assert torch.equal(output[:, 1], torch.zeros_like(output[:, 1]))
    assert torch.count_nonzero(weights[:, 1]) == 0
    assert (output[:, 0, 3:] != 0).any()
    for gradient in gradients(threshold_relative_attention, inputs):
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


def test_bfloat16_counts_past_256():
    """600 survivors in bfloat16 are counted exactly; a count kept in bfloat16 would go wrong."""
    length, generator = 600, torch.Generator().manual_seed(11)
    q = k = torch.ones(
        1, 1, length, 4, dtype=torch.bfloat16
    )  # every score is 2: every key survives
    v = torch.randn(q.shape, generator=generator).bfloat16()
    log_forget = torch.full((1, 1, length), -0.5, dtype=torch.bfloat16)
    exact, _ = oracles.whole_matrix(q.float(), k.float(), v.float(), log_forget.float())
    output = threshold_relative_attention(q, k, v, log_forget)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), exact, rtol=2**-8, atol=1e-5)

    counted = torch.ones(length, dtype=torch.bfloat16).cumsum(-1)
    naive = counted[-1] - counted + 1  # distances in the last row, 600 ... 1, but for the rounding
    assert naive[-3:].tolist() == [1.0, 1.0, 1.0]
    wrong = (-0.5 * naive.float()).softmax(-1) @ v[0, 0].float()
    assert (wrong - exact[0, 0, -1]).abs().max() > 0.1


# Laws


@given(
    length=st.sampled_from([2, 8, 40, 300]),
    width=st.integers(1, 6),
    log_forget=st.floats(-4, -0.01),
    seed=st.integers(0, 2**16),
)
def test_the_nearest_survivor_keeps_its_weight_at_any_length(length, width, log_forget, seed):
    """The nearest survivor weighs at least 1 / (1 + e^sqrt(D) f / (1 - f)), where f = e^delta.

    With q and k RMS-normalised, survivors score in (0, sqrt(D)]: another leads the nearest by less
    than sqrt(D), and at distance c it has lost (c - 1) |delta| more. Its odds against the nearest
    are below e^sqrt(D) f^(c - 1), which sums over c = 2, 3, ... to e^sqrt(D) f / (1 - f).
    """
    q, k, v, _ = random_inputs(seed, batch=1, length=length, width=width)
    q, k = F.rms_norm(q, (width,)), F.rms_norm(k, (width,))
    assert scores_of(q, k).abs().max() <= math.sqrt(width) * (1 + 1e-12)
    gates = torch.full(q.shape[:3], log_forget, dtype=q.dtype)
    _, weights = threshold_relative_attention(q, k, v, gates, return_weights=True)
    keep = kept(q, k)
    nearest = keep.long().mul(torch.arange(length)).amax(-1, keepdim=True)
    weight = weights.gather(-1, nearest)[keep.any(-1)]
    f = math.exp(log_forget)
    assert (weight >= 1 / (1 + math.exp(math.sqrt(width)) * f / (1 - f)) - 1e-12).all()


def test_the_guarantee_cannot_be_improved():
    """A nearest survivor just above 0, behind many that score sqrt(D), weighs as little as that."""
    length, width, log_forget = 500, 4, -0.2
    q = torch.ones(1, 1, length, width, dtype=torch.float64)
    k = q.clone()
    k[:, :, -1] = torch.tensor([1.0, -1.0, 1.0, -1.0 + 1e-6])  # scores 5e-7 against every query
    gates = torch.full((1, 1, length), log_forget, dtype=torch.float64)
    _, weights = threshold_relative_attention(q, k, q, gates, return_weights=True)
    f = math.exp(log_forget)
    bound = 1 / (1 + math.exp(math.sqrt(width)) * f / (1 - f))
    assert weights[0, 0, -1, -1].item() == pytest.approx(bound, rel=1e-5)


@given(places=st.sets(st.integers(0, 14), min_size=1, max_size=10), seed=st.integers(0, 2**16))
def test_inserting_irrelevant_keys_changes_nothing(places, seed):
    """Tokens whose keys score below 0, inserted anywhere, leave the other rows' output the same."""
    q, k, v, log_forget = random_inputs(seed, length=15)
    q, k = q.abs(), k.abs()
    k[:, :, sorted(places)] *= -1
    long = threshold_relative_attention(q, k, v, log_forget, block_size=4)
    rest = [place for place in range(15) if place not in places]
    short = threshold_relative_attention(
        *(tensor[:, :, rest] for tensor in (q, k, v, log_forget)), block_size=4
    )
    close(long[:, :, rest], short)


def test_a_score_at_the_threshold_is_removed():
    """A key survives only above the threshold: scores 1, 2, 3 with thresholds at and below them."""
    q = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    k = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 3, 1)
    gates = torch.zeros(1, 1, 3, dtype=torch.float64)
    for threshold, stay in [(0.999, 3), (1.0, 2), (1.999, 2), (2.0, 1), (2.999, 1), (3.0, 0)]:
        _, weights = threshold_relative_attention(
            q, k, k, gates, threshold=threshold, return_weights=True
        )
        assert torch.count_nonzero(weights[0, 0, -1]) == stay
    zero_scores = threshold_relative_attention(0 * q, k, k, gates)
    assert torch.equal(zero_scores, torch.zeros_like(zero_scores))


# Bad input


def changed(name, value):
    """Good inputs of shape (1, 2, 3, 4) with one argument replaced or added."""
    inputs = dict(zip(("q", "k", "v", "log_forget"), random_inputs(10, 1, 2, 3), strict=True))
    return inputs | {name: value}


def holding(name, number):
    inputs = changed("block_size", 64)
    inputs[name][0, 1, 2] = number
    return inputs


def shaped(*shape):
    q = torch.zeros(shape)
    return {"q": q, "k": q, "v": q, "log_forget": torch.zeros(shape[:3])}


BAD_INPUTS = [
    ("q", "(2, 3, 4)", shaped(2, 3, 4)),
    ("q", "(0, 2, 3, 4)", shaped(0, 2, 3, 4)),
    ("q", "(1, 2, 0, 4)", shaped(1, 2, 0, 4)),
    ("q", "(1, 2, 3, 0)", shaped(1, 2, 3, 0)),
    ("k", "(1, 2, 5, 4)", changed("k", torch.zeros(1, 2, 5, 4))),
    ("k", "(2, 3, 4)", changed("k", torch.zeros(2, 3, 4))),
    ("v", "(1, 2, 3, 6)", changed("v", torch.zeros(1, 2, 3, 6))),
    ("log_forget", "(1, 2, 3, 1)", changed("log_forget", torch.zeros(1, 2, 3, 1))),
    ("log_forget", "(2, 3)", changed("log_forget", torch.zeros(2, 3))),
    ("log_forget", "0.25", changed("log_forget", torch.full((1, 2, 3), 0.25, dtype=torch.float64))),
    ("q", "int64", changed("q", torch.zeros(1, 2, 3, 4, dtype=torch.long))),
    ("v", "float16", changed("v", torch.zeros(1, 2, 3, 4, dtype=torch.float16))),
    *((name, "nan", holding(name, math.nan)) for name in ("q", "k", "v", "log_forget")),
    *((name, "inf", holding(name, -math.inf)) for name in ("q", "k", "v", "log_forget")),
    ("k", "1e+20", holding("k", 1e20)),
    ("log_forget", "-1e+30", holding("log_forget", -1e30)),
    ("threshold", "nan", changed("threshold", math.nan)),
    ("block_size", "0", changed("block_size", 0)),
    ("block_size", "2.5", changed("block_size", 2.5)),
    ("block_size", "-3", changed("block_size", -3)),
]


@pytest.mark.parametrize(
    ("name", "shown", "arguments"),
    BAD_INPUTS,
    ids=[f"{name} {shown}" for name, shown, _ in BAD_INPUTS],
)
def test_bad_input_is_named(name, shown, arguments):
    """A ValueError says which argument, what was given and what is allowed."""
    with pytest.raises(ValueError, match=rf"^{name} ") as raised:
        threshold_relative_attention(**arguments)
    message = str(raised.value)
    assert shown in message
    assert "allowed" in message


def test_the_largest_numbers_allowed_keep_every_promise():
    """Inputs of magnitude 1e12: no NaN, rows sum to one or zero, removed and later keys weigh 0."""
    q, k, v, log_forget = (x.sign() * 1e12 for x in random_inputs(11, length=9))
    output, weights = threshold_relative_attention(q, k, v, log_forget, return_weights=True)
    keep = surviving(scores_of(q, k))
    assert output.isfinite().all()
    assert (weights[keep == 0] == 0).all()
    close(weights.sum(-1), keep.amax(-1))

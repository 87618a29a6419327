"""What must hold of threshold relative attention (TRA)."""

import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tra_mini import threshold_relative_attention
from tra_mini.attention import attend, causal, surviving, survivor_distance, tra_logits


def random_inputs(seed, batch=2, heads=2, length=7, width=4, dtype=torch.float64):
    """q, k, v (B, H, T, D) from a normal distribution, and log_forget (B, H, T) in (-2, 0]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, length, width)
    q, k, v = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    log_forget = -2 * torch.rand(shape[:3], generator=generator, dtype=dtype)
    return q, k, v, log_forget


def scores_of(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def survives(q, k, threshold=0.0):
    """True where key j survives for query i, as whole matrices (B, H, T, T)."""
    return (scores_of(q, k) > threshold).tril()


def gradients(function, inputs):
    """The gradients of an uneven sum over a function's output, one for each input."""
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    output = function(*inputs)
    uneven = torch.arange(1.0, output.numel() + 1, dtype=output.dtype).view_as(output)
    return torch.autograd.grad((output * uneven / output.numel()).sum(), inputs)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


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
    """A_ij = softmax over surviving j of S_ij + delta_i c_ij, for any shape and threshold."""
    inputs = random_inputs(seed, batch, heads, length, width)
    output, weights = threshold_relative_attention(
        *inputs, threshold=threshold, block_size=block_size, return_weights=True
    )
    expected_output, expected_weights = oracles.threshold_relative_attention(*inputs, threshold)
    assert_close(output, expected_output)
    assert_close(weights, expected_weights)


@pytest.mark.parametrize("threshold", [0.0, 0.5, -0.5])
def test_equals_flip_cumsum_flip_on_whole_matrices(threshold):
    """Output, weights and gradients equal those of the formula over T x T matrices with -inf."""
    inputs = random_inputs(1, length=11)

    def blocked(*inputs):
        return threshold_relative_attention(*inputs, threshold=threshold, block_size=4)

    def whole(*inputs):
        return oracles.whole_matrix(*inputs, threshold)[0]

    _, weights = threshold_relative_attention(*inputs, threshold=threshold, return_weights=True)
    assert_close(weights, oracles.whole_matrix(*inputs, threshold)[1])
    assert_close(blocked(*inputs), whole(*inputs))
    assert_close(gradients(blocked, inputs), gradients(whole, inputs))


def test_without_removing_and_forgetting_it_is_plain_attention():
    """With threshold -inf and gates of 0, TRA equals torch's causal attention."""
    q, k, v, log_forget = random_inputs(2, length=11)
    gates = torch.zeros_like(log_forget)
    output = threshold_relative_attention(q, k, v, gates, threshold=-math.inf, block_size=4)
    assert_close(output, F.scaled_dot_product_attention(q, k, v, is_causal=True))


def test_a_single_token_attends_to_itself_or_to_nothing():
    """T = 1: weight 1 if the score is above the threshold, else a silent row."""
    one = torch.ones(1, 1, 1, 1)
    gate = torch.full((1, 1, 1), -3.0)
    assert threshold_relative_attention(one, one, 5 * one, gate).item() == 5.0
    assert threshold_relative_attention(one, -one, 5 * one, gate).item() == 0.0


def test_distance_by_hand():
    """Survivors at 0, 2, 3 of five are at distances 3, 2, 1."""
    keep = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    distance = survivor_distance(keep)
    assert distance[keep == 1].tolist() == [3.0, 2.0, 1.0]


def test_logits_and_distances_equal_their_formulas():
    """c_ij counts the survivors from j to i, key j included; the logits are S_ij + delta_i c_ij."""
    q, k, _, log_forget = random_inputs(2, batch=1, heads=1, length=8)
    scores = scores_of(q, k)
    distances = survivor_distance(surviving(scores))[0, 0]
    logits, keep = tra_logits(scores, log_forget)
    S = scores[0, 0].tolist()
    delta = log_forget[0, 0].tolist()
    for i in range(8):
        for j in range(i + 1):
            distance = oracles.distance(S, i, j)
            assert distances[i, j] == distance
            assert logits[0, 0, i, j].item() == pytest.approx(S[i][j] + delta[i] * distance)
            assert keep[0, 0, i, j] == (S[i][j] > 0)


# The guarantee


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
    q = F.rms_norm(q, (width,))
    k = F.rms_norm(k, (width,))
    assert scores_of(q, k).abs().max() <= math.sqrt(width) * (1 + 1e-12)
    gates = torch.full(q.shape[:3], log_forget, dtype=q.dtype)
    _, weights = threshold_relative_attention(q, k, v, gates, return_weights=True)

    keep = survives(q, k)
    nearest = keep.long().mul(torch.arange(length)).amax(-1, keepdim=True)
    weight = weights.gather(-1, nearest)[keep.any(-1)]
    f = math.exp(log_forget)
    assert (weight >= 1 / (1 + math.exp(math.sqrt(width)) * f / (1 - f)) - 1e-12).all()


def test_the_guarantee_cannot_be_improved():
    """A nearest survivor just above 0, after many that score sqrt(D), has just that weight."""
    length = 500
    width = 4
    log_forget = -0.2
    q = torch.ones(1, 1, length, width, dtype=torch.float64)
    k = q.clone()
    k[:, :, -1] = torch.tensor([1.0, -1.0, 1.0, -1.0 + 1e-6])  # scores 5e-7 with every query
    gates = torch.full((1, 1, length), log_forget, dtype=torch.float64)
    _, weights = threshold_relative_attention(q, k, q, gates, return_weights=True)
    f = math.exp(log_forget)
    bound = 1 / (1 + math.exp(math.sqrt(width)) * f / (1 - f))
    assert weights[0, 0, -1, -1].item() == pytest.approx(bound, rel=1e-5)


# Invariance: what changes nothing


@given(places=st.sets(st.integers(0, 14), min_size=1, max_size=10), seed=st.integers(0, 2**16))
def test_inserting_irrelevant_keys_changes_nothing(places, seed):
    """Tokens whose keys score below 0, inserted anywhere, leave the other rows' output the same."""
    q, k, v, log_forget = random_inputs(seed, length=15)
    q = q.abs()
    k = k.abs()
    k[:, :, sorted(places)] *= -1
    long = threshold_relative_attention(q, k, v, log_forget, block_size=4)
    rest = [place for place in range(15) if place not in places]
    short_inputs = [tensor[:, :, rest] for tensor in (q, k, v, log_forget)]
    short = threshold_relative_attention(*short_inputs, block_size=4)
    assert_close(long[:, :, rest], short)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_blocks_change_nothing(length):
    """Any block size gives the same output, weights and gradients as the whole sequence at once."""
    inputs = random_inputs(3, length=length)

    def attention(block_size):
        return threshold_relative_attention(*inputs, block_size=block_size, return_weights=True)

    def slopes(block_size):
        return gradients(lambda *x: threshold_relative_attention(*x, block_size=block_size), inputs)

    for block_size in range(1, length + 2):
        assert_close(attention(block_size), attention(length))
        assert_close(slopes(block_size), slopes(length))


@pytest.mark.parametrize("block_size", [1, 3, 64])
def test_the_future_changes_nothing(block_size):
    """New inputs from a place on leave every earlier row the same, bit for bit."""
    before = random_inputs(5, length=9)
    other = random_inputs(6, length=9)
    rows = threshold_relative_attention(*before, block_size=block_size, return_weights=True)
    for place in range(1, 9):
        after = [
            torch.cat((old[:, :, :place], 100 * new[:, :, place:]), 2)
            for old, new in zip(before, other, strict=True)
        ]
        new_rows = threshold_relative_attention(*after, block_size=block_size, return_weights=True)
        for old, new in zip(rows, new_rows, strict=True):
            assert torch.equal(old[:, :, :place], new[:, :, :place])


@pytest.mark.parametrize("new", [1, 4, 9])
def test_the_newest_rows_need_only_their_own_queries(new):
    """attend computes the last rows alone, as in decoding: the same as in the whole matrix."""
    q, k, v, log_forget = random_inputs(13, length=9)
    newest_gates = log_forget[:, :, -new:]

    def weigh(scores, rows):
        return tra_logits(scores, newest_gates[:, :, rows])

    output, weights = attend(q[:, :, -new:], k, v, weigh, return_weights=True, block_size=3)
    whole, whole_weights = oracles.whole_matrix(q, k, v, log_forget)
    assert_close(output, whole[:, :, -new:])
    assert_close(weights, whole_weights[:, :, -new:])


def test_inputs_are_left_as_they_were():
    """Nothing is written into the caller's tensors."""
    inputs = random_inputs(7)
    copies = [tensor.clone() for tensor in inputs]
    threshold_relative_attention(*inputs, return_weights=True)
    for tensor, copy in zip(inputs, copies, strict=True):
        assert torch.equal(tensor, copy)


# Removed keys and silent rows


@given(length=st.integers(1, 12), threshold=st.floats(-1, 2), seed=st.integers(0, 2**16))
def test_rows_sum_to_one_or_are_silent(length, threshold, seed):
    """A row sums to 1, or is exactly zero if no key survives; removed keys weigh exactly 0."""
    inputs = random_inputs(seed, length=length)
    output, weights = threshold_relative_attention(
        *inputs, threshold=threshold, block_size=5, return_weights=True
    )
    keep = survives(*inputs[:2], threshold)
    sums = weights.sum(-1)
    silent = ~keep.any(-1)
    assert_close(sums[~silent], torch.ones_like(sums[~silent]))
    assert torch.count_nonzero(weights[~keep]) == 0
    assert torch.count_nonzero(output[silent]) == 0
    assert (weights[keep] > 0).all()


@pytest.mark.parametrize(
    ("threshold", "survivors"),
    [(0.999, 3), (1.0, 2), (1.999, 2), (2.0, 1), (2.999, 1), (3.0, 0), (math.inf, 0)],
)
def test_a_score_at_the_threshold_is_removed(threshold, survivors):
    """A key survives only above the threshold: scores 1, 2, 3, and thresholds beside each."""
    q = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    k = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 3, 1)
    gates = torch.zeros(1, 1, 3, dtype=torch.float64)
    _, weights = threshold_relative_attention(
        q, k, k, gates, threshold=threshold, return_weights=True
    )
    assert torch.count_nonzero(weights[0, 0, -1]) == survivors


def test_a_score_of_zero_is_removed():
    """The threshold is 0 unless another is chosen."""
    _, k, v, log_forget = random_inputs(2)
    assert torch.count_nonzero(threshold_relative_attention(0 * k, k, v, log_forget)) == 0


def test_forgetting_never_brings_back_a_removed_key():
    """At log_forget = -10^6 a row is its nearest survivor alone: removed and later keys stay 0."""
    q, k, v, log_forget = random_inputs(12, length=20, dtype=torch.float32)
    gates = torch.full_like(log_forget, -1e6)
    _, weights = threshold_relative_attention(q, k, v, gates, return_weights=True)
    keep = survives(q, k)
    nearest = keep & (keep.flip(-1).cumsum(-1).flip(-1) == 1)
    assert torch.equal(weights, nearest.float())


# Gradients


def test_gradients_equal_finite_differences():
    """Away from scores at the threshold, where the weights jump."""
    inputs = random_inputs(4, length=5, width=3)
    inputs[3].sub_(0.1)  # a finite difference must not lift a gate above 0
    assert scores_of(*inputs[:2]).abs().min() > 1e-3
    assert not survives(*inputs[:2]).any(-1).all()  # a silent row is among them
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *x: threshold_relative_attention(*x, block_size=2, return_weights=True), inputs
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_removed_for_every_query_get_no_gradient(dtype):
    """Such a key moves nothing: it and its value get a gradient of exactly 0."""
    q, k, v, log_forget = random_inputs(8, length=8, dtype=dtype)
    q = q.abs()
    k = k.abs()
    k[:, :, [0, 3, 4]] *= -1  # every score of these three keys is negative; row 0 is silent
    _, k_gradient, v_gradient, _ = gradients(
        lambda *x: threshold_relative_attention(*x, block_size=3), (q, k, v, log_forget)
    )
    for gradient in (k_gradient, v_gradient):
        assert torch.count_nonzero(gradient[:, :, [0, 3, 4]]) == 0
        assert torch.count_nonzero(gradient[:, :, [1, 2, 5, 6, 7]]) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_silent_rows_are_zero_with_finite_gradients(dtype):
    """Rows in which no key survives give zeros, not NaN, and finite gradients, in every dtype."""
    q, k, v, log_forget = random_inputs(9, length=6, dtype=dtype)
    q = q.abs()
    k = k.abs()
    k[:, :, :3] *= -1  # rows 0, 1 and 2 are silent
    k[:, 1] = -k[:, 1].abs()  # and every row of the second head
    inputs = (q, k, v, log_forget)
    output, weights = threshold_relative_attention(*inputs, return_weights=True)
    assert output.dtype == dtype
    assert torch.count_nonzero(output[:, :, :3]) == 0
    assert torch.count_nonzero(output[:, 1]) == 0
    assert torch.count_nonzero(weights[:, 1]) == 0
    assert (output[:, 0, 3:] != 0).any()
    for gradient in gradients(threshold_relative_attention, inputs):
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


# Precision and range


def test_bfloat16_counts_past_256():
    """600 survivors in bfloat16 are counted exactly; a count kept in bfloat16 would go wrong."""
    length = 600
    q = torch.ones(1, 1, length, 4, dtype=torch.bfloat16)  # every score is 2: every key survives
    v = torch.randn(q.shape, generator=torch.Generator().manual_seed(11)).bfloat16()
    log_forget = torch.full((1, 1, length), -0.5, dtype=torch.bfloat16)
    exact, _ = oracles.whole_matrix(q.float(), q.float(), v.float(), log_forget.float())
    output = threshold_relative_attention(q, q, v, log_forget)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), exact, rtol=2**-8, atol=1e-5)

    # The fault that this test would catch: three keys at distance 1, and an output far off.
    count = torch.ones(length, dtype=torch.bfloat16).cumsum(-1)
    naive_distance = count[-1] - count + 1
    assert naive_distance[-3:].tolist() == [1.0, 1.0, 1.0]
    wrong = (-0.5 * naive_distance.float()).softmax(-1) @ v[0, 0].float()
    assert (wrong - exact[0, 0, -1]).abs().max() > 0.1


def test_float16_scores_do_not_overflow():
    """q = k = 91 and D = 64 score 66,248, more than float16 holds: computed in float32."""
    q = torch.full((1, 1, 5, 64), 91, dtype=torch.float16)
    v = torch.randn(q.shape, generator=torch.Generator().manual_seed(14)).half()
    log_forget = torch.full((1, 1, 5), -0.5, dtype=torch.float16)
    assert scores_of(q, q).isinf().all()
    exact, _ = oracles.whole_matrix(q.double(), q.double(), v.double(), log_forget.double())
    output = threshold_relative_attention(q, q, v, log_forget)
    assert output.dtype == torch.float16
    torch.testing.assert_close(output.double(), exact, rtol=1e-2, atol=1e-2)


def test_the_largest_numbers_allowed_keep_every_promise():
    """Inputs of magnitude 1e12: no NaN, rows sum to one or zero, removed and later keys weigh 0."""
    inputs = [tensor.sign() * 1e12 for tensor in random_inputs(11, length=9)]
    output, weights = threshold_relative_attention(*inputs, return_weights=True)
    keep = survives(*inputs[:2])
    assert output.isfinite().all()
    assert (weights[~keep] == 0).all()
    assert_close(weights.sum(-1), keep.any(-1).double())


def test_causal_and_surviving_by_hand():
    """Two new queries among four keys: the first sees three of them, the last all four."""
    scores = torch.tensor([[1.0, -1.0, 0.5, 2.0], [0.0, 3.0, -2.0, 1.0]])[None, None]
    assert causal(scores).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert surviving(scores)[0, 0].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert surviving(scores, 0.75)[0, 0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 1]]


# Bad input


def inputs_with(name, value):
    """Good inputs of shape (1, 2, 3, 4) with one argument replaced or added."""
    q, k, v, log_forget = random_inputs(10, 1, 2, 3)
    inputs = {"q": q, "k": k, "v": v, "log_forget": log_forget}
    inputs[name] = value
    return inputs


def inputs_holding(name, number):
    """Good inputs, in one of which one number is replaced."""
    inputs = inputs_with("block_size", 64)
    inputs[name][0, 1, 2] = number
    return inputs


def zeros(*shape):
    """Zeros in one shape (B, H, T, D)."""
    q = torch.zeros(shape)
    return {"q": q, "k": q, "v": q, "log_forget": torch.zeros(shape[:3])}


BAD_INPUTS = [
    # What the message is about, what it quotes, and the arguments.
    ("q", "(2, 3, 4)", zeros(2, 3, 4)),
    ("q", "(0, 2, 3, 4)", zeros(0, 2, 3, 4)),
    ("q", "(1, 2, 0, 4)", zeros(1, 2, 0, 4)),
    ("q", "(1, 2, 3, 0)", zeros(1, 2, 3, 0)),
    ("q", "int64", inputs_with("q", torch.zeros(1, 2, 3, 4, dtype=torch.long))),
    ("k", "(1, 2, 5, 4)", inputs_with("k", torch.zeros(1, 2, 5, 4))),
    ("k", "(2, 3, 4)", inputs_with("k", torch.zeros(2, 3, 4))),
    ("v", "(1, 2, 3, 6)", inputs_with("v", torch.zeros(1, 2, 3, 6))),
    ("v", "float16", inputs_with("v", torch.zeros(1, 2, 3, 4, dtype=torch.float16))),
    ("log_forget", "(1, 2, 3, 1)", inputs_with("log_forget", torch.zeros(1, 2, 3, 1))),
    ("log_forget", "(2, 3)", inputs_with("log_forget", torch.zeros(2, 3))),
    ("log_forget", "float32", inputs_with("log_forget", torch.zeros(1, 2, 3))),
    (
        "log_forget",
        "0.25",
        inputs_with("log_forget", torch.full((1, 2, 3), 0.25, dtype=torch.float64)),
    ),
    ("q", "nan", inputs_holding("q", math.nan)),
    ("k", "nan", inputs_holding("k", math.nan)),
    ("v", "nan", inputs_holding("v", math.nan)),
    ("log_forget", "nan", inputs_holding("log_forget", math.nan)),
    ("q", "inf", inputs_holding("q", -math.inf)),
    ("v", "inf", inputs_holding("v", math.inf)),
    ("log_forget", "inf", inputs_holding("log_forget", -math.inf)),
    ("k", "1e+20", inputs_holding("k", 1e20)),
    ("log_forget", "1e+30", inputs_holding("log_forget", -1e30)),
    ("threshold", "nan", inputs_with("threshold", math.nan)),
    ("block_size", "0", inputs_with("block_size", 0)),
    ("block_size", "-3", inputs_with("block_size", -3)),
]


@pytest.mark.parametrize(("name", "quote", "arguments"), BAD_INPUTS)
def test_bad_input_is_named(name, quote, arguments):
    """A ValueError says which argument, what it is and what is allowed."""
    with pytest.raises(ValueError, match=rf"^{name} ") as error:
        threshold_relative_attention(**arguments)
    assert quote in str(error.value)
    assert "allowed" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["q", "k", "v", "log_forget"])
def test_infinite_numbers_are_refused_in_half_precision_too(name, dtype):
    """There 1e12 itself may be rounded to infinity."""
    inputs = {key: tensor.to(dtype) for key, tensor in zeros(1, 2, 3, 4).items()}
    inputs[name] = inputs[name].clone()
    inputs[name][0, 1, 2] = -math.inf
    with pytest.raises(ValueError, match=f"^{name} holds -inf "):
        threshold_relative_attention(**inputs)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    "dims", [(0, 0, 0, 0), (1, None, None, 0), (None, 0, None, None), (None, None, 3, None)]
)
def test_the_public_function_works_under_vmap(dims):
    """As calls one after the other; what is out of range in any of them is still refused."""
    inputs = random_inputs(15, length=70)
    stacked = []
    for tensor, dim in zip(inputs, dims, strict=True):
        copies = [tensor, tensor.flip(2), tensor / 2]
        stacked.append(tensor if dim is None else torch.stack(copies, dim))
    expected = []
    for number in range(3):
        pairs = zip(stacked, dims, strict=True)
        chosen = [tensor if dim is None else tensor.select(dim, number) for tensor, dim in pairs]
        expected.append(threshold_relative_attention(*chosen))
    mapped = torch.vmap(threshold_relative_attention, in_dims=dims)
    torch.testing.assert_close(mapped(*stacked), torch.stack(expected))
    with pytest.raises(ValueError, match=r"^log_forget holds .*; allowed: -1e12 \.\.\. 0$"):
        mapped(*stacked[:3], -stacked[3])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_the_public_function_works_under_grad_of_torch_func():
    """The gradient of each sample, as autograd's."""
    inputs = [torch.stack((tensor, tensor / 2)) for tensor in random_inputs(16, length=9)]

    def loss(q, k, v, log_forget):
        return threshold_relative_attention(q, k, v, log_forget).square().sum()

    gradients = torch.vmap(torch.func.grad(loss, argnums=(0, 1, 2, 3)))(*inputs)
    for tensor in inputs:
        tensor.requires_grad_()
    total = sum(loss(*sample) for sample in zip(*inputs, strict=True))
    torch.testing.assert_close(gradients, torch.autograd.grad(total, inputs))


def test_the_public_function_compiles_as_one_graph():
    """Its checks of values stand aside while a tracer runs it."""
    inputs = random_inputs(13, length=9)
    compiled = torch.compile(threshold_relative_attention, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), threshold_relative_attention(*inputs))

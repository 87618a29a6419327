"""Checks of the exercises that follow notebook 02; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, check, fresh, gradients, tensor, whole


def most_keys_by_loop(gap, share):
    """Adds irrelevant keys one by one as long as the relevant one keeps its share."""
    relevant = math.exp(gap)
    irrelevant = 0
    while relevant / (relevant + irrelevant + 1) >= share:
        irrelevant += 1
    return irrelevant + 1


@check
def exercise_2_1(most_keys):
    """Equal keys, few keys, many keys, then random gaps and shares."""
    generator, seed = fresh()
    pairs = [(0.0, 0.9), (0.0, 0.5), (0.0, 0.3), (1.0, 0.9), (5.0, 0.5), (12.0, 0.5)]
    for gap, share in torch.rand(20, 2, generator=generator, dtype=torch.float64).tolist():
        pair = 6 * gap, 0.2 + 0.7 * share
        irrelevant = math.exp(pair[0]) * (1 / pair[1] - 1)
        if abs(irrelevant - round(irrelevant)) > 0.01:  # else rounding might decide
            pairs.append(pair)
    for gap, share in pairs:
        where = f"gap {gap:.3f}, share {share:.3f}, seed {seed}"
        n = whole(call(most_keys, gap, share), f"most_keys(gap, share) with {where},")
        expected = most_keys_by_loop(gap, share)
        if n < 1:
            raise Wrong(f"n = {n}: the relevant key counts, so n is at least 1 ({where})")
        if n > expected:
            weight = 1 / (1 + (n - 1) * math.exp(-gap))
            raise Wrong(f"n = {n} is too large: the relevant key has {weight:.4f} ({where})")
        if n < expected:
            weight = 1 / (1 + n * math.exp(-gap))
            raise Wrong(f"n = {n} is too small: with one more it has {weight:.4f} ({where})")


def longer_row(weights, relevant, times):
    """The relevant key's weight after every other key of a row was really repeated, by loops."""
    crowd = 0.0
    for _ in range(times):
        for j, weight in enumerate(weights):
            if j != relevant:
                crowd += weight
    return weights[relevant] / (weights[relevant] + crowd)


@check
def exercise_2_2(forecast):
    """Random rows in each shape, with every irrelevant key repeated; then extreme rows."""
    generator, seed = fresh()
    for shape in ((63,), (9,), (4, 9), (2, 4, 9), (2, 1, 3, 7), (5, 2)):
        scores = 2 * torch.randn(shape, generator=generator)
        weights = scores.softmax(-1)
        last = shape[-1] - 1
        for relevant, times in ((1, 1), (1, 2), (0, 3), (last, 16), (last // 2, 100)):
            where = f"weights {shape}, relevant {relevant}, times {times}, seed {seed}"
            answer = call(forecast, weights, relevant, times)
            answer = tensor(answer, shape[:-1], f"forecast(...) for weights {shape}")
            for row, after in zip(weights.view(-1, last + 1).tolist(), answer.flatten().tolist()):
                check_forecast(row, relevant, times, after, where)

    rows = torch.eye(3)  # the relevant key has no weight, all of it, none
    answer = tensor(call(forecast, rows, 1, 10), (3,), "the forecast for rows of 1 and 0")
    if not close(answer, rows[:, 1]):
        raise Wrong("a relevant key with all of the weight, or none of it, does not change")


def check_forecast(row, relevant, times, after, where):
    """One row's forecast against the longer row."""
    before = row[relevant]
    expected = longer_row(row, relevant, times)
    if times == 1 and not math.isclose(after, before, rel_tol=1e-3):
        raise Wrong(f"with times 1 nothing changes, yet {before:.4g} became {after:.4g} ({where})")
    if not 0 <= after <= before + 1e-6:
        raise Wrong(f"{before:.4g} becomes {after:.4g}: it must stay between 0 and that ({where})")
    if after > expected + 1e-3 * expected:
        raise Wrong(f"from {before:.4g} to {after:.4g} is too large a weight ({where})")
    if after < expected - 1e-3 * expected:
        raise Wrong(f"from {before:.4g} to {after:.4g} is too small a weight ({where})")


def silence_by_loop(scores):
    """e^S_j / (1 + sum over l <= i of e^S_l), with all exponents lowered by the largest."""
    T = scores.shape[-1]
    rows = []
    for place, row in enumerate(scores.reshape(-1, T).tolist()):
        seen = row[: place % T + 1]
        top = max(0.0, *seen)
        total = math.exp(-top) + sum(math.exp(score - top) for score in seen)
        weights = [math.exp(score - top) / total for score in seen]
        rows.append(weights + [0.0] * (T - len(seen)))
    return torch.tensor(rows, dtype=torch.float64).view(scores.shape)


SILENCE_INPUTS = (  # shape, size of the scores, and about where they lie
    ((7, 7), 1, 0),
    ((3, 5, 5), 1, -8),
    ((2, 3, 7, 7), 300, 0),
    ((1, 1), 1, -3),
    ((2, 2, 1, 9, 9), 1, 900),
    ((4, 12, 12), 1, 90),
    ((7, 7), 1, -500),
)


@check
def exercise_2_3(softmax_or_silence):
    """Causality, the sums of rows, weights, gradients; for each of the inputs above."""
    generator, seed = fresh()
    for shape, size, shift in SILENCE_INPUTS:
        scores = size * torch.randn(shape, generator=generator) + shift
        expected = silence_by_loop(scores)
        where = f"scores {shape}, about {shift} ± {size}, seed {seed}"
        answer = call(softmax_or_silence, scores)
        weights = tensor(answer, shape, f"the answer for {where},").double()
        if weights.triu(1).any():
            raise Wrong(f"a query looks at a later key ({where})")
        later = scores + 500 * torch.ones(shape).triu(1)
        other = tensor(call(softmax_or_silence, later), shape, f"the answer for {where},")
        if not close(other, weights):
            raise Wrong(f"a row changes with the scores of later keys ({where})")
        if (weights < 0).any() or (weights.sum(-1) > 1.001).any():
            raise Wrong(f"a weight is negative, or a row sums to more than one ({where})")
        if not close(weights.sum(-1), expected.sum(-1)):
            raise Wrong(f"a row does not sum to what the formula gives ({where})")
        if not close(weights, expected):
            raise Wrong(f"the rows have the correct sums, but wrong weights ({where})")

        pull = torch.randn(shape, generator=generator)
        scores.requires_grad_()
        [gradient] = gradients(call(softmax_or_silence, scores), pull, [scores])
        if not gradient.isfinite().all():
            raise Wrong(f"the gradient is not finite ({where})")
        slope = expected * (pull - (expected * pull).sum(-1, keepdim=True))
        if not torch.allclose(gradient.double(), slope, atol=2e-3):
            raise Wrong(f"the weights are correct, but their gradient is not ({where})")


def close(ours, theirs):
    """Equal but for rounding."""
    return torch.allclose(ours.double(), theirs.double(), rtol=2e-3, atol=1e-6)

"""Checks of the exercises that follow notebook 05; each raises Wrong, or returns silently."""

import math
from itertools import product

import torch
from checking import Wrong, call, check, fresh, gradients, numbers, tensor, whole

from tra_mini.evaluation import wilson_interval

Z = 1.959964


def needed_by_loop(rate):
    """Adds passed tests one by one until the interval begins high enough."""
    n = 1
    while wilson_interval(n, n)[0] < rate:
        n += 1
    return n


@check
def exercise_5_1(tests_needed):
    """The smallest n for small, random and large rates; one rate is met exactly, at n = 4."""
    generator, seed = fresh()
    rates = [0.5, 0.9, 0.1, 0.3, wilson_interval(4, 4)[0]]
    for share in torch.rand(8, generator=generator).tolist():
        rate = 0.55 + 0.445 * share
        exactly = Z * Z * rate / (1 - rate)
        if abs(exactly - round(exactly)) > 0.03:  # else the digits of z decide
            rates.append(rate)
    rates.append(19204.2 / (19204.2 + Z * Z))  # met by 19,204.2 tests, so by 19,205
    for rate in rates:
        n = whole(call(tests_needed, rate), f"tests_needed({rate:.5f})")
        if n < 1:
            raise Wrong(f"tests_needed({rate:.5f}) is {n}; expected: a whole number from 1")
        start = wilson_interval(n, n)[0]
        told = f"rate {rate:.5f}; after {n} of {n} the interval begins at {start:.5f}"
        expected = needed_by_loop(rate)
        if n < expected:
            raise Wrong(f"too few: {told} (seed {seed})")
        if n > expected:
            raise Wrong(f"too many: {told}; fewer would do (seed {seed})")


def best_by_loop(values, k):
    """Mean of the best of k: a value is the best of each choice whose others are below it."""
    total = 0.0
    for below, value in enumerate(sorted(values)):
        total += value * math.comb(below, k - 1)
    return total / math.comb(len(values), k)


@check
def exercise_5_2(conclusions):
    """The interval of the mean over seeds; then the best of 1, of all, and of some seeds."""
    generator, seed = fresh()
    for m in (5, 6, 12, 1):
        values = (torch.randint(17, (m,), generator=generator) / 16).tolist()
        if m > 1:  # never all alike, and two that tie
            values[1:5] = [1.0, 0.25, values[3], values[3]]
        where = f"{m} seeds with {', '.join(f'{value:.2f}' for value in values)}; seed {seed}"
        for k in (1, m, *range(2, m, 3)):
            answer = numbers(call(conclusions, values, k), 3, "conclusions(values, k)")
            check_interval(answer[0], answer[1], values, where)
            check_best(answer[2], values, k, where)


def check_interval(low, high, values, where):
    """Which property a wrong interval breaks."""
    m = len(values)
    expected_low, expected_high = wilson_interval(sum(values), m)
    told = f"the interval {low:.3f} ... {high:.3f}"
    if not low <= sum(values) / m <= high:
        raise Wrong(f"{told} does not contain the mean over all seeds ({where})")
    if high - low < 0.9 * (expected_high - expected_low):
        raise Wrong(f"{told} is too narrow: what is the sample, and how many are in it? ({where})")
    if max(abs(low - expected_low), abs(high - expected_high)) > 1e-4:
        raise Wrong(f"{told} is not Wilson's for the mean over the seeds ({where})")


def check_best(best, values, k, where):
    """Which property a wrong best of k breaks."""
    m = len(values)
    if math.isclose(best, best_by_loop(values, k), abs_tol=1e-6):
        return
    if k == 1:
        reason = "with k = 1 there is no best to choose"
    elif k == m:
        reason = "with k = all there is only one choice"
    else:
        reason = "k = 1 and k = all are correct, but those between are not"
    raise Wrong(f"best is {best:.4f} for k = {k}: {reason} ({where})")


def cell_by_loop(scores, log_forget, removal, counted):
    """A cell's weights and distances from the table; rows are the last queries of the keys."""
    _, _, R, K = scores.shape
    weights = torch.zeros(scores.shape, dtype=torch.float64)
    distance = torch.zeros_like(weights)
    for row in product(*map(range, scores.shape[:3])):
        i = K - R + row[2]
        S = scores[row].tolist()
        positive = [j for j in range(i + 1) if S[j] > 0]
        kept = range(i + 1)
        if removal:
            kept = positive
        for j in kept:
            if counted:
                distance[row][j] = sum(key >= j for key in positive)
            else:
                distance[row][j] = i - j + 1
            weights[row][j] = math.exp(S[j] + log_forget[row] * distance[row][j])
        weights[row] /= max(weights[row].sum(), 1e-30)
    return weights, distance


CELL_INPUTS = (  # B, H, R, K and the type
    ((2, 2, 9, 9), torch.float64),
    ((2, 2, 4, 9), torch.float64),
    ((1, 3, 1, 6), torch.float32),
    ((2, 1, 7, 7), torch.float32),
)


@check
def exercise_5_3(cell):
    """As many queries as keys, then fewer: which keys are kept, weights, gradients."""
    generator, seed = fresh()
    for shape, dtype in CELL_INPUTS:
        R, K = shape[2:]
        scores = torch.randn(shape, generator=generator, dtype=dtype)
        scores[..., 0] = 0.0  # at the threshold
        scores += 3 * torch.ones(R, K).triu(K - R + 1)  # later keys tempt
        log_forget = -torch.rand(shape[:3], generator=generator, dtype=dtype) - 0.2
        pull = torch.randn(shape, generator=generator, dtype=dtype)
        for removal, counted in ((False, False), (True, False), (False, True), (True, True)):
            where = f"cell(..., removal={removal}, counted={counted}), {R} queries of {K} keys"
            inputs = (scores.clone().requires_grad_(), log_forget.clone().requires_grad_())
            answer = call(cell, *inputs, removal, counted)
            logits, keep = check_kept(answer, scores, removal, where)
            expected, distance = cell_by_loop(scores, log_forget, removal, counted)

            weights = logits.masked_fill(~keep, -1e30).softmax(-1) * keep.any(-1, keepdim=True)
            if not close(weights, expected):
                told = "keep is correct, but the logits are not: what does the distance count?"
                raise Wrong(f"{where}: {told} (seed {seed})")
            slope = expected * (pull - (expected * pull).sum(-1, keepdim=True))
            slopes = (slope, (slope * distance).sum(-1))
            answers = gradients(weights, pull, inputs)
            for place, name in enumerate(("scores", "log_forget")):
                if not close(answers[place], slopes[place]):
                    raise Wrong(f"{where}: the gradient of {name} is wrong (seed {seed})")


def check_kept(answer, scores, removal, where):
    """An answer's logits and keep, if keep is correct: no later key, no key that is removed."""
    _, _, R, K = scores.shape
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Wrong("cell must return two tensors: logits and keep")
    logits = tensor(answer[0], scores.shape, "logits")
    keep = tensor(answer[1], scores.shape, "keep")
    if logits.dtype != scores.dtype:
        raise Wrong(f"{where}: logits are {logits.dtype}; expected: as the scores, {scores.dtype}")
    if not logits.isfinite().all():
        raise Wrong(f"{where}: logits must be finite everywhere; leave removal to keep")
    if not ((keep == 0) | (keep == 1)).all():
        raise Wrong(f"{where}: keep must hold only True and False (or 1 and 0)")
    keep = keep.bool()
    seen = torch.ones(R, K, dtype=torch.bool).tril(K - R)
    if keep[..., ~seen].any():
        raise Wrong(f"{where}: causality: a key later than its query is kept")
    if removal and keep[..., 0].any():
        raise Wrong(f"{where}: a key with a score of exactly 0 is kept, but 0 is not above 0")
    expected = seen.expand(scores.shape)
    if removal:
        expected = seen & (scores > 0)
    if (expected & ~keep).any():
        raise Wrong(f"{where}: too few keys are kept")
    if (keep & ~expected).any():
        raise Wrong(f"{where}: too many keys are kept")
    return logits, keep


def close(ours, theirs):
    """Equal but for rounding."""
    return torch.allclose(ours.double(), theirs.double(), rtol=1e-3, atol=1e-5)

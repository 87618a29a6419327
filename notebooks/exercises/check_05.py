"""Checks of the exercises that follow notebook 05; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, fresh, tensor

from tra_mini.evaluation import wilson_interval


def number(answer, name):
    """answer as a float, or Wrong."""
    if torch.is_tensor(answer) and answer.numel() == 1:
        answer = answer.item()
    try:
        answer = float(answer)
    except (TypeError, ValueError):
        raise Wrong(f"{name} is {type(answer).__name__}; expected: a number") from None
    if not math.isfinite(answer):
        raise Wrong(f"{name} is {answer}; expected: a finite number")
    return answer


def needed_by_loop(rate):
    """One right answer more, until the interval begins high enough."""
    n = 1
    while wilson_interval(n, n)[0] < rate:
        n += 1
    return n


def exercise_5_1(tests_needed):
    """The smallest n for some rates, of which one belongs to five."""
    generator, seed = fresh()
    low, high = wilson_interval(5, 5)[0], 0.995
    rates = [low - 0.01] + (low + (high - low) * torch.rand(8, generator=generator)).tolist()
    z = 1.959964
    for rate in [0.5, 0.9, *rates]:
        exactly = z * z * rate / (1 - rate)
        if abs(exactly - round(exactly)) < 0.03:
            continue  # so near a whole number that the digits of z decide
        expected = needed_by_loop(rate)
        given = number(call(tests_needed, rate), "tests_needed(rate)")
        if given != round(given) or given < 1:
            raise Wrong(f"tests_needed({rate:.3f}) is {given}; expected: a whole number from 1")
        begins = wilson_interval(given, given)[0]
        told = f"rate {rate:.3f}; after {given:.0f} of {given:.0f} the interval begins at"
        if given < expected:
            raise Wrong(f"too few: {told} {begins:.4f} (seed {seed})")
        if given > expected:
            raise Wrong(f"more than needed: {told} {begins:.4f}; fewer would do (seed {seed})")


def expected_best(values, k):
    """The n-th value from below is the best of as many choices as take all others below it."""
    total = 0.0
    for below, value in enumerate(sorted(values)):
        total += value * math.comb(below, k - 1)
    return total / math.comb(len(values), k)


def exercise_5_2(conclusions):
    """The interval of the mean over seeds; then the best of 1, of all, and of some seeds."""
    generator, seed = fresh()
    for m in (5, 6):
        values = (torch.randint(17, (m,), generator=generator) / 16).tolist()
        values[1], values[2], values[4] = 1.0, 0.25, values[3]  # never all alike; two that tie
        low, high = wilson_interval(sum(values), m)
        shown = f"of {m} seeds with {', '.join(f'{value:.2f}' for value in values)}"
        for k in (1, m, 2, m // 2):
            expected = expected_best(values, k)
            answer = call(conclusions, list(values), k)
            if not isinstance(answer, tuple | list) or len(answer) != 3:
                raise Wrong("conclusions(values, k) must return three numbers: low, high, best")
            ours = [
                number(x, name) for x, name in zip(answer, ("low", "high", "best"), strict=True)
            ]
            if not (
                math.isclose(ours[0], low, abs_tol=1e-3)
                and math.isclose(ours[1], high, abs_tol=1e-3)
            ):
                raise Wrong(about_interval(ours, low, high, values) + f" ({shown}; seed {seed})")
            if not math.isclose(ours[2], expected, abs_tol=1e-6):
                what = {1: "with k = 1 nothing is chosen", m: "with k = all the best is fixed"}
                what = what.get(k, "k = 1 and k = all are right, those between are not")
                raise Wrong(f"best is {ours[2]:.4f} for k = {k}: {what} ({shown}; seed {seed})")


def about_interval(ours, low, high, values):
    """Which property a wrong interval breaks."""
    told = f"the interval {ours[0]:.3f} ... {ours[1]:.3f}"
    mean = sum(values) / len(values)
    if not ours[0] <= mean <= ours[1]:
        return f"{told} does not hold the mean over all seeds"
    if ours[1] - ours[0] < 0.9 * (high - low):
        return f"{told} is too narrow: what is the sample, and how many are in it?"
    return f"{told} is not Wilson's for the mean over the seeds"


def cell_by_loop(scores, log_forget, removal, counted):
    """A cell's weights from the table's formula; rows are the last queries of the keys."""
    B, H, R, K = scores.shape
    weights = torch.zeros_like(scores)
    for b, h, r in torch.cartesian_prod(*map(torch.arange, (B, H, R))).tolist():
        S, i = scores[b, h, r].tolist(), K - R + r
        alive = [j for j in range(i + 1) if S[j] > 0]
        kept = alive if removal else range(i + 1)
        logits = {}
        for j in kept:
            distance = sum(key >= j for key in alive) if counted else i - j + 1
            logits[j] = S[j] + log_forget[b, h, r].item() * distance
        total = sum(math.exp(logit) for logit in logits.values())
        for j in kept:
            weights[b, h, r, j] = math.exp(logits[j]) / total
    return weights


def exercise_5_3(cell):
    """Square first, then the last rows of more keys: who is kept, then the weights."""
    generator, seed = fresh()
    for R, K in ((9, 9), (4, 9)):
        scores = torch.randn(2, 2, R, K, generator=generator, dtype=torch.float64)
        scores[..., 0] = 0.0  # at the threshold
        scores += 3 * torch.ones(R, K).triu(K - R + 1)  # later keys tempt
        log_forget = -torch.rand(2, 2, R, generator=generator, dtype=torch.float64) - 0.2
        for removal, counted in ((False, False), (True, False), (False, True), (True, True)):
            where = f"cell(..., removal={removal}, counted={counted}), {R} queries of {K} keys"
            expected = cell_by_loop(scores, log_forget, removal, counted)
            answer = call(cell, scores, log_forget, removal, counted)
            if not isinstance(answer, tuple | list) or len(answer) != 2:
                raise Wrong("cell must return two tensors: logits and keep")
            try:
                logits, keep = (
                    torch.as_tensor(one).double().expand(scores.shape) for one in answer
                )
            except (RuntimeError, TypeError, ValueError):
                raise Wrong(f"{where}: logits and keep must be (B, H, R, K)") from None
            check_kept(tensor(keep, scores.shape, "keep"), scores, removal, where)
            if not logits.isfinite().all():
                raise Wrong(f"{where}: logits must be finite everywhere; keep alone removes")
            alive = keep.bool().any(-1)
            weights = logits.masked_fill(keep == 0, -1e30).softmax(-1)
            if not torch.allclose(weights[alive], expected[alive], atol=1e-5):
                told = "keep is right, the logits are not: what does the distance count?"
                raise Wrong(f"{where}: {told} (seed {seed})")


def check_kept(keep, scores, removal, where):
    """keep is 1 or 0: no later key; with removal nothing at or below 0; and no key too few."""
    R, K = keep.shape[-2:]
    seen = torch.ones(R, K, dtype=torch.bool).tril(K - R)
    if not ((keep == 0) | (keep == 1)).all():
        raise Wrong(f"{where}: keep must hold True or False (or 1 and 0) alone")
    if keep.bool()[..., ~seen].any():
        raise Wrong(f"{where}: causality: a key later than its query is kept")
    if removal and keep[..., 0].any():
        raise Wrong(f"{where}: a key with a score of exactly 0 is kept; 0 is not above 0")
    expected = seen & (scores > 0) if removal else seen.expand(scores.shape)
    if not torch.equal(keep.bool(), expected):
        missing = (expected & ~keep.bool()).any()
        raise Wrong(f"{where}: {'too few' if missing else 'too many'} keys are kept")

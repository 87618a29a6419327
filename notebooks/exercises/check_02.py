"""Checks of the exercises that follow notebook 02; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, fresh, number, tensor


def most_keys_by_loop(gap, share):
    """Adds useless keys one by one as long as the useful one keeps its share."""
    useful, useless = math.exp(gap), 0
    while useful / (useful + useless + 1) >= share:
        useless += 1
    return useless + 1


def exercise_2_1(most_keys):
    """Equal keys, round numbers, then random gaps and shares."""
    generator, seed = fresh()
    draws = torch.rand(20, 2, generator=generator, dtype=torch.float64)
    pairs = [(0.0, 0.3), (1.0, 0.9), (5.0, 0.5)]
    pairs += [(6 * gap, 0.2 + 0.7 * share) for gap, share in draws.tolist()]
    expected = [most_keys_by_loop(*pair) for pair in pairs]
    for (gap, share), right in zip(pairs, expected, strict=True):
        where = f"gap {gap:.3f}, share {share:.3f}, seed {seed}"
        found = number(call(most_keys, gap, share), f"most_keys(gap, share) with {where},")
        if found != round(found):
            raise Wrong(f"{found:.3f} is not a whole number of keys ({where})")
        if found != right:
            weight = 1 / (1 + (found - 1) * math.exp(-gap)) if found >= 1 else 0
            more = 1 / (1 + found * math.exp(-gap)) if found >= 1 else 1
            if weight < share:
                raise Wrong(f"{found:.0f} is too many: it has {weight:.4f} then ({where})")
            raise Wrong(f"{found:.0f} is too few: it has {more:.4f} with one more ({where})")


def longer_row(scores, useful, times):
    """The useful key's weight after every other key of a row was really repeated, by loops."""
    best = max(scores)
    others = [math.exp(score - best) for j, score in enumerate(scores) if j != useful]
    crowd = sum(other for _ in range(times) for other in others)
    own = math.exp(scores[useful] - best)
    return own / (own + crowd)


def exercise_2_2(forecast):
    """Rows of random scores, with every useless key repeated; each row in each shape."""
    generator, seed = fresh()
    scores = 2 * torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    weights, rows = scores.softmax(-1), scores.flatten(0, 1).tolist()
    for useful, times in ((1, 1), (1, 2), (0, 3), (8, 16), (4, 100)):
        expected = [longer_row(row, useful, times) for row in rows]
        found = tensor(call(forecast, weights, useful, times), (2, 4), "forecast(...)")
        for ours, row, now in zip(expected, found.flatten().tolist(), weights.flatten(0, 1)):
            where = f"useful {useful}, times {times}, seed {seed}"
            if times == 1 and not math.isclose(row, now[useful], rel_tol=1e-4):
                raise Wrong(f"with times 1 nothing changes, but {now[useful]:.4f} does ({where})")
            if not 0 <= row <= now[useful] + 1e-6:
                raise Wrong(f"{now[useful]:.4f} becomes {row:.4f}: not between 0 and it ({where})")
            if not math.isclose(row, ours, rel_tol=1e-4, abs_tol=1e-9):
                side = "too large" if row > ours else "too small"
                raise Wrong(f"from {now[useful]:.4f} to {row:.4f} is {side} ({where})")


def silence_by_loop(row, i):
    """e^S_j / (1 + sum over l <= i of e^S_l), with all exponents lowered by the largest."""
    top = max(0.0, *row[: i + 1])
    total = math.exp(-top) + sum(math.exp(score - top) for score in row[: i + 1])
    return [math.exp(score - top) / total for score in row[: i + 1]]


def exercise_2_3(softmax_or_silence):
    """Causality, the sums of rows, weights, gradients; for small, large and very low scores."""
    generator, seed = fresh()
    for size, shift in ((1, 0), (1, -3), (300, 0), (1, 500), (1, -500)):
        scores = size * torch.randn(2, 3, 7, 7, generator=generator) + shift
        expected = torch.zeros_like(scores)
        for row, weights in zip(scores.view(-1, 7, 7), expected.view(-1, 7, 7), strict=True):
            for i in range(7):
                weights[i, : i + 1] = torch.tensor(silence_by_loop(row[i].double().tolist(), i))
        where = f"scores about {shift} ± {size}, seed {seed}"
        found = tensor(call(softmax_or_silence, scores), scores.shape, f"the answer for {where},")
        found = found.detach().to(scores.dtype)
        if (found.triu(1) != 0).any():
            raise Wrong(f"a query looks at a later key ({where})")
        other = scores + torch.ones_like(scores).triu(1)
        if not torch.equal(tensor(call(softmax_or_silence, other), scores.shape).float(), found):
            raise Wrong(f"a row changes with the scores of later keys ({where})")
        if (found < 0).any() or (found.sum(-1) > 1.001).any():
            raise Wrong(f"a weight is negative, or a row sums to more than one ({where})")
        if not torch.allclose(found.sum(-1), expected.sum(-1), atol=1e-3):
            raise Wrong(f"a row does not sum to what the formula gives ({where})")
        if not torch.allclose(found, expected, atol=1e-3):
            raise Wrong(f"the rows sum to the right numbers, but weights are wrong ({where})")
        scores.requires_grad_()
        answer = call(softmax_or_silence, scores)
        if not answer.requires_grad:
            raise Wrong("the weights have no gradient with respect to the scores")
        [gradient] = torch.autograd.grad(answer.square().sum(), scores)
        if not gradient.isfinite().all():
            raise Wrong(f"the gradient is not finite ({where})")

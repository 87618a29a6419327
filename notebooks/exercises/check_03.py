"""Checks of the exercises that follow notebook 03; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, check, fresh, numbers, tensor

from tra_mini import encode, flip_flop
from tra_mini.tasks import READ, WRITE

MECHANISMS = ("nope", "alibi", "fox")


def ratios(mechanism, between, scores):
    """Two ratios of weights, by loops: the latest written bit over the nearest key, over the older.

    The keys: the older bit, w, the latest bit, so many ignored tokens between, and the read.
    """
    score = [*scores, *[-4.0] * (between - 1), -3.0, -4.0]  # -3.0: the token before the read
    i = len(score) - 1
    logit = []
    for j in range(i + 1):
        gates = sum(math.log(0.9) for _ in range(j + 1, i + 1))
        logit.append(score[j] + {"nope": 0, "alibi": -(i - j) / 4, "fox": gates}[mechanism])
    latest, older, nearest = logit[2], logit[0], logit[i - 1]
    return math.exp(latest - nearest), math.exp(latest - older)


@check
def exercise_3_1(factors):
    """Each factor against logits summed by a loop, before and after ten tokens are inserted."""
    generator, _ = fresh()
    scores = torch.randn(3, generator=generator).tolist()
    answer = call(factors)
    if not isinstance(answer, dict) or set(answer) != set(MECHANISMS):
        raise Wrong(f"factors() returns {answer!r}; expected: a dict for {', '.join(MECHANISMS)}")
    for name in MECHANISMS:
        pair = numbers(answer[name], 2, f"factors()[{name!r}]")
        before = ratios(name, 6, scores)
        after = ratios(name, 16, scores)
        for place, other in enumerate(("nearest", "older")):
            factor = after[place] / before[place]
            told = f"{name}, latest over {other}: the factor {pair[place]:g}"
            if pair[place] > 1.01 * factor:
                raise Wrong(f"{told} is too large")
            if pair[place] < factor / 1.01:
                raise Wrong(f"{told} is too small")


def older_over_latest(slope, spacing):
    """What 4,000 older writes weigh together, in units of the latest."""
    return torch.exp(-slope * spacing * torch.arange(1, 4001, dtype=torch.float64)).sum().item()


def overruled(slope, gap, farthest):
    """The first distance up to farthest at which the token before the read wins, or None."""
    lead = [(r, gap - slope * r + slope * 1) for r in range(1, farthest + 1)]
    return next((r for r, one in lead if one < 0), None)


def bisect(happens):
    """The slope at which happens(slope) turns from False to True."""
    low, high = 1e-4, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if happens(middle) else (middle, high)
    return (low + high) / 2


@check
def exercise_3_2(slope_window):
    """Both ends of the window against real sums, at chosen and at random distances."""
    generator, seed = fresh()
    triples = [(6.0, 4, 25), (8.0, 20, 255), (3.0, 2, 200), (5.0, 1, 2), (0.5, 300, 3000)]
    for gap, spacing, farthest in torch.rand(5, 3, generator=generator).tolist():
        triples.append((2 + 6 * gap, round(2 + 38 * spacing), round(20 + 400 * farthest)))
    for gap, spacing, farthest in triples:
        true_low = bisect(lambda m, s=spacing: older_over_latest(m, s) <= 1)
        true_high = bisect(lambda m, g=gap, r=farthest: overruled(m, g, r) is not None)
        name = f"slope_window({gap:.2f}, {spacing}, {farthest})"
        low, high = numbers(call(slope_window, gap, spacing, farthest), 2, name)
        end = f"{name}, seed {seed}: "
        if not math.isclose(low, true_low, rel_tol=2e-4):
            if low > true_low:
                raise Wrong(end + f"{low:.5f} is not the flattest slope; a flatter one would do")
            older = older_over_latest(max(low, 0.0), spacing)
            raise Wrong(end + f"slope {low:.5f}: older writes weigh {older:.5g} times the latest")
        if not math.isclose(high, true_high, rel_tol=2e-4):
            r = overruled(high, gap, farthest)
            if r is None:
                raise Wrong(end + f"{high:.5f} is not the steepest slope; a steeper one would do")
            raise Wrong(end + f"slope {high:.5f} lets a relevant key at distance {r} lose")


def fading(log_forget, j, i):
    """FoX's sum for query i and key j, by a loop."""
    return sum(log_forget[l] for l in range(j + 1, i + 1))


@check
def exercise_3_3(gates):
    """Short and long strings, dense and sparse: older writes faded, the latest untouched."""
    generator, seed = fresh()
    texts = ["w0w1r", "w1w1r", "w0i1w1i0i1r", "w1r1r1w0i1r", "w1i0w1r", "w0w0w0w1r", "w1w0w1r", "w"]
    for text in texts:
        check_string(gates, encode(text), f"in {text!r}")
    for instructions in ("i0i1", "r1", "i0r1", "r1i1i0i1"):
        check_cost(gates, instructions)
    for length, p_ignore in ((64, 0.3), (64, 0.8), (400, 0.98)):
        tokens = flip_flop(1, length, p_ignore, generator)[0][0]
        check_string(gates, tokens, f"in {length} tokens, seed {seed}")


def check_string(gates, tokens, where):
    """Raises Wrong if the gates of a string are out of range, look ahead, or fail a read."""
    log_forget = tensor(call(gates, tokens), tokens.shape, "gates(tokens)").double()
    if not log_forget.isfinite().all() or (log_forget > 0).any():
        low, high = log_forget.min(), log_forget.max()
        raise Wrong(f"log f must be finite and at most 0; yours is {low:g} to {high:g}")
    for cut in range(1, len(tokens), max(1, len(tokens) // 8)):
        start = tensor(call(gates, tokens[:cut]), (cut,), "gates(tokens)").double()
        if not torch.allclose(start, log_forget[:cut], rtol=1e-4, atol=1e-7):
            raise Wrong(f"a gate changes when the string is cut off at {cut}, {where}")
    check_reads(tokens.tolist(), log_forget.tolist(), where)


def check_cost(gates, instructions):
    """Raises Wrong if repeating the instructions after a write keeps lowering the written bit."""
    tokens = encode("w1" + 400 * instructions)
    log_forget = tensor(call(gates, tokens), tokens.shape, "gates(tokens)").double()
    half = len(tokens) // 2
    cost = -log_forget[half:].mean().item()  # of each further token
    lost = -log_forget[2:].sum().item()
    if lost > 0.1001 or cost * 10**6 > 0.1:
        raise Wrong(
            f"after 'w1' and {len(tokens) - 2} tokens, {instructions!r} again and again, its bit"
            f" has lost {lost:.2g}; in a string of any length the loss must stay below 0.1"
        )


def check_reads(tokens, log_forget, where):
    """Raises Wrong if a read does not prefer the latest write, or if that lost too much."""
    for i, token in enumerate(tokens):
        if token != READ:
            continue
        written = [j + 1 for j in range(i) if tokens[j] == WRITE]
        latest = fading(log_forget, written[-1], i)
        if latest < -0.1001:
            lost = f"the latest written bit, at {written[-1]}, has lost {-latest:.3g} of its lead"
            raise Wrong(f"{where}: for the read at {i} {lost}")
        for j in written[-2:-1]:  # the one before it; still older ones have lost no less
            factor = math.exp(min(latest - fading(log_forget, j, i), 99))
            if factor < 999:
                older = f"the older written bit at {j} weighs 1/{factor:.3g} of the latest"
                raise Wrong(f"{where}: for the read at {i} {older}")

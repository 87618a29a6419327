"""Checks of the exercises that follow notebook 03; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, fresh, number, tensor

from tra_mini import decode, encode, flip_flop
from tra_mini.tasks import READ, WRITE

MECHANISMS = ("nope", "alibi", "fox")


def pair(answer, name):
    """answer as two floats; Wrong if it is anything but a pair of numbers."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong(f"{name} is {answer!r}; expected: a pair of numbers")
    return tuple(number(one, f"a number of {name}") for one in answer)


def ratios(mechanism, between, scores):
    """Of the weights, by loops: latest written bit over the token before the read, over the older.

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


def exercise_3_1(factors):
    """Each factor against logits summed by a loop, before and after ten tokens are inserted."""
    generator, _ = fresh()
    scores = torch.randn(3, generator=generator).tolist()
    expected = {}
    for name in MECHANISMS:
        before, after = ratios(name, 6, scores), ratios(name, 16, scores)
        expected[name] = [new / old for new, old in zip(after, before, strict=True)]
    found = call(factors)
    if not isinstance(found, dict) or sorted(found) != sorted(MECHANISMS):
        raise Wrong(f"factors() returns {found!r}; expected: a dict for {', '.join(MECHANISMS)}")
    for name in MECHANISMS:
        both = zip(pair(found[name], name), expected[name], ("nearest", "older"), strict=True)
        for number_found, right, other in both:
            if not math.isclose(number_found, right, rel_tol=0.01):
                side = "large" if number_found > right else "small"
                message = f"{name}, latest over {other}: a factor of {number_found:g} is too {side}"
                raise Wrong(message)


def older_over_latest(slope, spacing):
    """All older writes together, in units of the latest: a sum over 4,000 of them."""
    return torch.exp(-slope * spacing * torch.arange(1, 4001, dtype=torch.float64)).sum().item()


def overruled(slope, gap, farthest):
    """The first distance up to farthest at which a token before the read wins; None if none."""
    lead = [(r, gap - slope * r + slope * 1) for r in range(1, farthest + 1)]
    return next((r for r, one in lead if one < 0), None)


def bisect(happens):
    """The slope at which happens(slope) turns from False to True."""
    low, high = 1e-4, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if happens(middle) else (middle, high)
    return (low + high) / 2


def exercise_3_2(slope_window):
    """Both ends of the window against real sums, at given and at random distances."""
    generator, seed = fresh()
    triples = [(6.0, 4, 25), (8.0, 20, 255), (3.0, 2, 200)]
    for gap, spacing, farthest in torch.rand(5, 3, generator=generator).tolist():
        triples.append((2 + 6 * gap, round(2 + 38 * spacing), round(20 + 400 * farthest)))
    for gap, spacing, farthest in triples:
        right_low = bisect(lambda m, s=spacing: older_over_latest(m, s) <= 1)
        right_high = bisect(lambda m, g=gap, r=farthest: overruled(m, g, r) is not None)
        name = f"slope_window({gap:.2f}, {spacing}, {farthest})"
        low, high = pair(call(slope_window, gap, spacing, farthest), name)
        end = f"{name}, seed {seed}: "
        if not math.isclose(low, right_low, rel_tol=1e-3):
            if low > right_low:
                raise Wrong(end + f"a flatter slope than the low end, {low:.5f}, would still do")
            older = older_over_latest(max(low, 0.0), spacing)
            raise Wrong(end + f"slope {low:.5f}: older writes weigh {older:.2f} to the latest's 1")
        if not math.isclose(high, right_high, rel_tol=1e-3):
            r = overruled(high, gap, farthest)
            if r is None:
                raise Wrong(end + f"a steeper slope than the high end, {high:.5f}, would still do")
            raise Wrong(end + f"slope {high:.5f} overrules a relevant key at distance {r}")


def fading(log_forget, j, i):
    """FoX's sum for query i and key j, by a loop."""
    return sum(log_forget[l] for l in range(j + 1, i + 1))


def exercise_3_3(gates):
    """Short strings, then long ones, dense and sparse: older writes gone, the latest untouched."""
    generator, seed = fresh()
    strings = [encode("w0w1r"), encode("w0i1w1i0i1r"), encode("w1r1r1w0i1r"), encode("w1i0w1r")]
    for length, p_ignore in ((32, 0.3), (64, 0.8), (400, 0.98)):
        strings.append(flip_flop(1, length, p_ignore, generator)[0][0])
    for tokens in strings:
        text = decode(tokens)
        where = f"in {text!r}" if len(text) < 40 else f"in {len(text)} tokens, seed {seed}"
        found = tensor(call(gates, tokens), tokens.shape, "gates(tokens)").double()
        if not found.isfinite().all() or (found > 1e-6).any():
            raise Wrong(f"log f must be finite and at most 0; {found.min():g} ... {found.max():g}")
        for cut in range(1, len(tokens), max(1, len(tokens) // 8)):
            start = tensor(call(gates, tokens[:cut]), (cut,), "gates(tokens)").double()
            if not torch.allclose(start, found[:cut]):
                raise Wrong(f"a gate changes when later tokens are cut off: at {cut}, {where}")
        check_reads(tokens.tolist(), found.tolist(), where)
    ignored = encode("w1" + "i0i1" * 500)
    cost = -tensor(call(gates, ignored), ignored.shape, "gates(tokens)").double()[2:].mean().item()
    if cost * 10**6 > 0.1:
        reach = f"after {0.1 / cost:,.0f} of them the latest write has lost 0.1 of its lead"
        raise Wrong(f"each ignored token costs {cost:.1g}: {reach}; strings may be of any length")


def check_reads(tokens, log_forget, where):
    """Wrong if a read does not prefer the latest write, or if what follows that took some off."""
    for i, token in enumerate(tokens):
        if token != READ:
            continue
        written = [j + 1 for j in range(i) if tokens[j] == WRITE]
        latest = fading(log_forget, written[-1], i)
        if latest < -0.1:
            lost = f"the latest written bit, at {written[-1]}, has lost {-latest:.3g}"
            raise Wrong(f"{where}: for the read at {i} {lost} of its lead over its neighbour")
        for j in written[-2:-1]:  # the one before it; still older ones have lost no less
            factor = math.exp(min(latest - fading(log_forget, j, i), 99))
            if factor < 1000:
                older = f"the older written bit at {j} weighs 1/{factor:.3g} of the latest"
                raise Wrong(f"{where}: for the read at {i} {older}")

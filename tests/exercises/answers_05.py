"""Answers to the exercises of notebook 05: right ones, and wrong ones named by their mistake."""

NEEDED = """
def tests_needed(rate):
    return {}
"""
CONCLUSIONS = """
def conclusions(values, k):
    m = len(values)
    low, high = {interval}
    best = {best}
    return low, high, best
"""
INTERVAL = "wilson_interval(sum(values), m)"
BEST = "sum(max(chosen) for chosen in combinations(values, k)) / math.comb(m, k)"
CELL = """
def cell(scores, log_forget, removal, counted):
    R, K = scores.shape[-2:]
    i, j = torch.arange(K - R, K)[:, None], torch.arange(K)
    seen = (j <= i).expand(scores.shape)
    survivors = seen & (scores > 0)
    if counted:
        distance = survivors.flip(-1).cumsum(-1).flip(-1)
    else:
        distance = i - j + 1
    logits = scores + log_forget[..., None] * distance
    return logits, survivors if removal else seen
"""


def conclusions(interval=INTERVAL, best=BEST):
    return CONCLUSIONS.format(interval=interval, best=best)


def cell(old, new):
    """The right cell with one piece replaced."""
    assert old in CELL
    return CELL.replace(old, new)


ANSWERS = {
    "5.1": {
        "right": {
            "one more at a time": """
def tests_needed(rate):
    n = 1
    while wilson_interval(n, n)[0] < rate:
        n += 1
    return n
""",
        },
        "wrong": {
            "one right answer is enough (Wald's interval)": NEEDED.format("1"),
            "rounded down": NEEDED.format("int(1.959964**2 * rate / (1 - rate))"),
            "one more to be safe": NEEDED.format("math.ceil(1.959964**2 * rate / (1 - rate)) + 1"),
            "z not squared": NEEDED.format("math.ceil(1.959964 * rate / (1 - rate))"),
            "the 90 % interval": NEEDED.format("math.ceil(1.644854**2 * rate / (1 - rate))"),
            "the rule of three": NEEDED.format("math.ceil(3 / (1 - rate))"),
            "as many as the rate names": NEEDED.format("math.ceil(1 / (1 - rate))"),
            "the rate that all are right half of the time": NEEDED.format(
                "math.ceil(math.log(0.5) / math.log(rate))"
            ),
            "not a whole number": NEEDED.format("1.959964**2 * rate / (1 - rate)"),
        },
    },
    "5.2": {
        "right": {
            "weights of the sorted values": conclusions(
                best="sum(math.comb(place, k - 1) * value"
                " for place, value in enumerate(sorted(values))) / math.comb(m, k)"
            ),
            "by subsets as bits": conclusions(
                best="(lambda best: sum(best) / len(best))([max(v for n, v in enumerate(values)"
                " if bits >> n & 1) for bits in range(2**m) if bits.bit_count() == k])"
            ),
        },
        "wrong": {
            "strings as the sample": conclusions("wilson_interval(16 * sum(values), 16 * m)"),
            "the interval of the best seed": conclusions("wilson_interval(16 * max(values), 16)"),
            "seeds without an error, not the mean": conclusions(
                "wilson_interval(values.count(1), m)"
            ),
            "worst to best as the interval": conclusions("(min(values), max(values))"),
            "the chosen k as the sample": conclusions("wilson_interval(k * sum(values) / m, k)"),
            "the best of all, whatever k": conclusions(best="max(values)"),
            "the best of the first k": conclusions(best="max(values[:k])"),
            "the worst of k": conclusions(best=BEST.replace("max", "min")),
            "the mean of k": conclusions(best="sum(values) / m"),
            "a seed may be drawn twice": conclusions(
                best="sum(value * (((place + 1) / m) ** k - (place / m) ** k)"
                " for place, value in enumerate(sorted(values)))"
            ),
            "k counted from 0": conclusions(
                best="sum(max(chosen) for chosen in combinations(values, max(1, k - 1)))"
                " / math.comb(m, max(1, k - 1))"
            ),
            "only the interval": "def conclusions(values, k):\n"
            "    return wilson_interval(sum(values), len(values))\n",
        },
    },
    "5.3": {
        "right": {
            "counted from 0, row constants left out": """
def cell(scores, log_forget, removal, counted):
    R, K = scores.shape[-2:]
    keep = torch.ones_like(scores).tril(K - R)
    alive = (scores > 0) * keep
    steps = alive if counted else torch.ones_like(scores)
    so_far = steps.cumsum(-1) - steps
    return scores - log_forget[..., None] * so_far, alive if removal else keep
""",
            "later keys counted too: the same in each logit of a row": cell(
                "survivors.flip(-1)", "(scores > 0).flip(-1)"
            ),
        },
        "wrong": {
            ">= for >": cell("scores > 0", "scores >= 0"),
            "as if there were always as many queries as keys": cell(
                "torch.arange(K - R, K)[:, None]", "torch.arange(R)[:, None]"
            ),
            "no causality": cell("(j <= i)", "(j < K)"),
            "distance before thresholding": cell("survivors.flip(-1)", "seen.long().flip(-1)"),
            "the key's gate": cell("log_forget[..., None]", "log_forget[..., None, :]"),
            "counted from the left": cell(
                "survivors.flip(-1).cumsum(-1).flip(-1)", "survivors.cumsum(-1)"
            ),
            "removed whenever distance is counted": cell("if removal else", "if counted else"),
            "always removed": cell("survivors if removal else seen", "survivors"),
            "removal and counting swapped": cell(
                "R, K = scores.shape[-2:]",
                "removal, counted = counted, removal\n    R, K = scores.shape[-2:]",
            ),
            "distance added, not taken off": cell("scores + log_forget", "scores - log_forget"),
            "a query kept from itself": cell("(j <= i)", "(j < i)"),
            "logits only": cell("return logits, survivors if removal else seen", "return logits"),
        },
    },
}

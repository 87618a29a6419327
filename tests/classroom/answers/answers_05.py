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
COUNTED = """
def tests_needed(rate):
    n = 1
    while wilson_interval(n, n)[0] < rate:
        n += 1
    return n
"""
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


def counted(old, new):
    """The right count with one piece replaced."""
    assert old in COUNTED
    return COUNTED.replace(old, new)


def conclusions(interval=INTERVAL, best=BEST):
    return CONCLUSIONS.format(interval=interval, best=best)


def cell(old, new):
    """The right cell with one piece replaced."""
    assert old in CELL
    return CELL.replace(old, new)


ANSWERS = {
    "5.1": {
        "right": {
            "one more at a time": COUNTED,
            "a tensor": NEEDED.format(
                "torch.tensor(1.959964**2 * rate / (1 - rate), dtype=torch.float64).ceil()"
            ),
            "NumPy's number": "import numpy\n"
            + NEEDED.format("numpy.ceil(1.959964**2 / (1 / rate - 1))"),
            "by doubling and halving": """
def tests_needed(rate):
    high = 1
    while wilson_interval(high, high)[0] < rate:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if wilson_interval(middle, middle)[0] < rate:
            low = middle
        else:
            high = middle
    return high
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
            "counted from 2": counted("n = 1", "n = 2"),
            "counted from 3": counted("n = 1", "n = 3"),
            "counted up to 5,000": counted("while ", "while n < 5000 and "),
            "above the rate, not at it": counted("< rate", "<= rate"),
            "one too few": counted("return n", "return n - 1"),
            "powers of two only": counted("n += 1", "n *= 2"),
            "tens only": counted("n += 1", "n += 10"),
            "one test failed": counted("(n, n)", "(n - 1, n)"),
            "the upper end": counted("[0]", "[1]"),
            "rounded to the nearest": NEEDED.format("round(1.959964**2 * rate / (1 - rate))"),
            "without the rate above the line": NEEDED.format("math.ceil(1.959964**2 / (1 - rate))"),
            "odds upside down": NEEDED.format("math.ceil(1.959964**2 * (1 - rate) / rate)"),
            "the odds alone": NEEDED.format("math.ceil(rate / (1 - rate))"),
            "z twice, not squared": NEEDED.format("math.ceil(2 * 1.959964 * rate / (1 - rate))"),
            "the 99 % interval": NEEDED.format("math.ceil(2.575829**2 * rate / (1 - rate))"),
            "the exact interval (Clopper and Pearson)": NEEDED.format(
                "math.ceil(math.log(0.025) / math.log(rate))"
            ),
            "the rate as percent": NEEDED.format(
                "math.ceil(1.959964**2 * rate / max(1e-9, 100 - rate))"
            ),
            "35, as guessed for 0.9": NEEDED.format("35"),
        },
    },
    "5.2": {
        "right": {
            "weights of the sorted values": conclusions(
                best="sum(math.comb(place, k - 1) * value"
                " for place, value in enumerate(sorted(values))) / math.comb(m, k)"
            ),
            "a tensor": conclusions().replace(
                "return low, high, best", "return torch.tensor([low, high, best])"
            ),
            "NumPy's numbers": "import numpy\n"
            + conclusions().replace(
                "return low, high, best",
                "return numpy.array([low, high, best], dtype=numpy.float32)",
            ),
            "through the mean": conclusions("wilson_interval(m * (sum(values) / m), m)"),
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
            "the mean as one test": conclusions("wilson_interval(sum(values) / m, 1)"),
            "the mean as successes": conclusions("wilson_interval(sum(values) / m, m)"),
            "successes rounded": conclusions("wilson_interval(round(sum(values)), m)"),
            "the median": conclusions("wilson_interval(m * sorted(values)[m // 2], m)"),
            "mean and two standard errors": conclusions(
                "(lambda mean, error: (mean - 1.96 * error, mean + 1.96 * error))("
                "sum(values) / m, torch.tensor(values).std().item() / m**0.5)"
            ),
            "sixteen seeds, whatever the class": conclusions("wilson_interval(sum(values), 16)"),
            "five seeds, whatever the class": conclusions(
                "wilson_interval(5 * sum(values) / m, 5)"
            ),
            "all choices as the sample": conclusions(
                "wilson_interval(math.comb(m, k) * sum(values) / m, math.comb(m, k))"
            ),
            "low and high exchanged": conclusions("wilson_interval(sum(values), m)[::-1]"),
            "an interval of the best": conclusions("wilson_interval(m * max(values), m)"),
            "equal values counted once": conclusions(
                best="sum(max(chosen) for chosen in combinations(sorted(set(values)), min(k, 2)))"
                " / math.comb(len(set(values)), min(k, 2))"
            ),
            "equal choices counted once": conclusions(
                best="(lambda sets: sum(map(max, sets)) / len(sets))"
                "(set(combinations(sorted(values), k)))"
            ),
            "neighbours only": conclusions(
                best="sum(max(values[n : n + k]) for n in range(m - k + 1)) / (m - k + 1)"
            ),
            "groups that do not overlap": conclusions(
                best="sum(max(values[n : n + k]) for n in range(0, m, k)) / len(range(0, m, k))"
            ),
            "the k-th best": conclusions(best="sorted(values)[-k]"),
            "the mean of the k best": conclusions(best="sum(sorted(values)[-k:]) / k"),
            "k seeds left out": conclusions(
                best=BEST.replace("values, k", "values, max(1, m - k)").replace(
                    "m, k", "m, max(1, m - k)"
                )
            ),
            "the sum of the bests": conclusions(best=BEST.split(" / ")[0]),
            "a hundred random choices": conclusions(
                best="sum(max(values[n] for n in torch.randperm(m)[:k]) for _ in range(100)) / 100"
            ),
            "best of at most three": conclusions(
                best=BEST.replace("values, k", "values, min(3, k)").replace("m, k", "m, min(3, k)")
            ),
            "the best first": conclusions().replace("low, high, best\n", "best, low, high\n"),
            "values sorted in place": conclusions().replace(
                "    m =", "    values.sort()\n    m ="
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
            "raw distance from 0": cell("i - j + 1", "i - j"),
            "keep as numbers": cell(
                "survivors if removal else seen", "(survivors if removal else seen).int()"
            ),
            "rows cut out of a square": """
def cell(scores, log_forget, removal, counted):
    K = scores.shape[-1]
    seen = torch.ones(K, K).tril()[-scores.shape[-2] :].bool()
    positive = seen & (scores > 0)
    step = positive.to(scores) if counted else torch.ones_like(scores) * seen
    from_j = torch.ones(K, K, dtype=scores.dtype).tril()
    keep = positive if removal else seen.expand_as(scores)
    return scores + log_forget.unsqueeze(-1) * (step @ from_j), keep
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
            "square only": cell("torch.arange(K - R, K)[:, None]", "torch.arange(K)[:, None]"),
            "the queries before the last": cell(
                "torch.arange(K - R, K)", "torch.arange(K - R - 1, K - 1)"
            ),
            "nine keys only": cell("torch.arange(K)", "torch.arange(9)"),
            "the size of a score, not its sign": cell("(scores > 0)", "(scores.abs() > 0)"),
            "the kept keys counted, not the positive ones": cell(
                "survivors.flip(-1).cumsum(-1).flip(-1)",
                "(survivors if removal else seen).flip(-1).cumsum(-1).flip(-1)",
            ),
            "the key itself not counted": cell(
                "survivors.flip(-1).cumsum(-1).flip(-1)",
                "survivors.flip(-1).cumsum(-1).flip(-1) - survivors.int()",
            ),
            "counted over the queries": cell(
                "survivors.flip(-1).cumsum(-1).flip(-1)", "survivors.flip(-2).cumsum(-2).flip(-2)"
            ),
            "always counted": cell("if counted:", "if True:"),
            "counted whenever something is removed": cell("if counted:", "if removal:"),
            "f for its logarithm": cell("log_forget[..., None] *", "log_forget[..., None].exp() *"),
            "the gate added once": cell(" * distance", ""),
            "a distance of the other sign": cell("i - j + 1", "j - i - 1"),
            "the square of the distance": cell("* distance", "* distance**2"),
            "removed keys at minus infinity": cell(
                "return logits,",
                "logits = logits.masked_fill(~survivors, -math.inf)\n    return logits,",
            ),
            "survivors by logits": cell(
                "return logits, survivors", "return logits, (logits > 0) & seen"
            ),
            "keep and logits exchanged": cell(
                "return logits, survivors if removal else seen",
                "return (survivors if removal else seen), logits",
            ),
            "float64 logits": cell("* distance", "* distance.double()"),
            "right in float64 only": cell(
                "survivors.flip(-1).cumsum(-1).flip(-1)",
                "survivors.double() @ torch.ones(K, K, dtype=scores.dtype).tril()",
            ),
            "gates cut off from the gradient": cell(
                "log_forget[..., None]", "log_forget[..., None].detach()"
            ),
            "scores cut off from the gradient": cell("= scores +", "= scores.detach() +"),
            "no gradient": cell("return logits,", "return logits.detach(),"),
            "the first head's gate for all": cell(
                "log_forget[..., None]", "log_forget[:, :1, :, None]"
            ),
            "the weights, not the logits": cell("return logits,", "return logits.softmax(-1),"),
            "the scores overwritten": cell("logits = scores +", "logits = scores.add_(0.5) +"),
            "logits only": cell("return logits, survivors if removal else seen", "return logits"),
        },
    },
}

"""Answers to the exercises of notebook 02: right ones, and wrong ones named by their mistake."""

KEYS = """
def most_keys(gap, share):
    return {}
"""
FORECAST = """
def forecast(weights, relevant_key, times):
    A = weights[..., relevant_key]
    return {}
"""
SILENCE = """
def softmax_or_silence(scores):
    future = torch.ones_like(scores).triu(1).bool()
    {}
"""
COUNTED = """
def most_keys(gap, share):
    n = 1
    while 1 / (1 + n * math.exp(-gap)) >= share:
        n += 1
    return n
"""
SILENT_KEY = """
def softmax_or_silence(scores):
    future = torch.ones_like(scores).triu(1).bool()
    scores = scores.masked_fill(future, -math.inf)
    silent = torch.zeros_like(scores[..., :1])
    return torch.cat((silent, scores), -1).softmax(-1)[..., 1:]
"""


def replaced(source, old, new):
    """A right answer with one piece replaced."""
    assert old in source
    return source.replace(old, new)


def counted(old, new):
    return replaced(COUNTED, old, new)


def silence(old, new):
    return replaced(SILENT_KEY, old, new)


ANSWERS = {
    "2.1": {
        "right": {
            "by doubling and halving": """
def most_keys(gap, share):
    def enough(n):
        return 1 / (1 + (n - 1) * math.exp(-gap)) >= share

    low, high = 1, 2
    while enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low
""",
            "one more at a time": COUNTED,
            "a tensor": KEYS.format("(1 + torch.tensor(gap).exp() * (1 - share) / share).floor()"),
            "a float": KEYS.format("1 + math.exp(gap) * (1 - share) / share // 1"),
            "in NumPy": "import numpy\n"
            + KEYS.format("1 + numpy.floor(numpy.exp(gap) * (1 - share) / share)"),
        },
        "wrong": {
            "counts the irrelevant keys only": KEYS.format(
                "math.floor(math.exp(gap) * (1 - share) / share)"
            ),
            "rounded up": KEYS.format("1 + math.ceil(math.exp(gap) * (1 - share) / share)"),
            "odds upside down": KEYS.format("1 + math.floor(math.exp(gap) * share / (1 - share))"),
            "half, whatever the share": KEYS.format("1 + math.floor(math.exp(gap))"),
            "share for odds": KEYS.format("1 + math.floor(math.exp(gap) * (1 - share))"),
            "one over share for odds": KEYS.format("1 + math.floor(math.exp(gap) / share)"),
            "the coarse bound": KEYS.format("math.floor(math.exp(gap) / share)"),
            "gap to both sides": KEYS.format("1 + math.floor(math.exp(2 * gap) * (1 / share - 1))"),
            "not rounded": KEYS.format("1 + math.exp(gap) * (1 / share - 1)"),
            "more than the share": KEYS.format("math.ceil(math.exp(gap) * (1 - share) / share)"),
            "more than the share, counted": counted(">=", ">"),
            "counted from 2": counted("n = 1", "n = 2"),
            "counted from 3": counted("n = 1", "n = 3"),
            "counted up to 5,000": counted("while ", "while n < 5000 and "),
            "one too many": counted("return n", "return n + 1"),
            "powers of two only": counted("n += 1", "n *= 2"),
            "rounded to the nearest": KEYS.format("1 + round(math.exp(gap) * (1 - share) / share)"),
            "one more than the odds, rounded down as a whole": KEYS.format(
                "math.floor((1 + math.exp(gap)) * (1 - share) / share)"
            ),
            "gap of the wrong sign": KEYS.format(
                "1 + math.floor(math.exp(-gap) * (1 / share - 1))"
            ),
            "a power of two": KEYS.format("1 + math.floor(2**gap * (1 - share) / share)"),
            "a power of ten": KEYS.format("1 + math.floor(10**gap * (1 - share) / share)"),
            "no power": KEYS.format("1 + math.floor(gap * (1 - share) / share)"),
            "what is left, not odds": KEYS.format(
                "1 + math.floor(math.exp(gap) * (1 - share) ** 2)"
            ),
            "the logarithm of the odds": KEYS.format(
                "1 + math.floor(math.exp(gap) * max(0, math.log((1 - share) / share)))"
            ),
            "nothing where the share is out of reach": KEYS.format(
                "1 + math.floor(math.exp(gap) * (1 - share) / share) if gap else None"
            ),
        },
    },
    "2.2": {
        "right": {
            "the row written out": """
def forecast(weights, relevant_key, times):
    scores = weights.log()
    relevant = scores[..., relevant_key, None]
    others = torch.cat((scores[..., :relevant_key], scores[..., relevant_key + 1 :]), -1)
    others = others.repeat_interleave(times, -1)
    return torch.cat((relevant, others), -1).softmax(-1)[..., 0]
""",
            "odds": FORECAST.format("1 / (1 + times * (1 - A) / A)"),
            "the other keys added up": FORECAST.format("A / (A + times * others.sum(-1))").replace(
                "    A =",
                "    others = weights.clone()\n    others[..., relevant_key] = 0\n    A =",
            ),
            "by index_select": FORECAST.format("A / (times + (1 - times) * A)").replace(
                "weights[..., relevant_key]",
                "weights.index_select(-1, torch.tensor([relevant_key])).squeeze(-1)",
            ),
        },
        "wrong": {
            "weight for odds": FORECAST.format("A / times"),
            "the relevant key repeated too": FORECAST.format("A / (times * A + times * (1 - A))"),
            "crowd of weight one": FORECAST.format("A / (A + times)"),
            "no other keys before": FORECAST.format("A / (1 + times * (1 - A))"),
            "one crowd too many": FORECAST.format("A / (A + (times + 1) * (1 - A))"),
            "a power": FORECAST.format("A**times"),
            "the odds themselves": FORECAST.format("A / (times * (1 - A))"),
            "the largest weight in place of the relevant key": """
def forecast(weights, relevant_key, times):
    A = weights.amax(-1)
    return A / (A + times * (1 - A))
""",
            "the bound, as if all irrelevant keys were the lowest": """
def forecast(weights, relevant_key, times):
    A = weights[..., relevant_key]
    return 1 / (1 + times * (weights.shape[-1] - 1) * weights.amin(-1) / A)
""",
            "three dimensions only": """
def forecast(weights, relevant_key, times):
    scores = weights.log()
    relevant = scores[..., relevant_key, None]
    others = torch.cat((scores[..., :relevant_key], scores[..., relevant_key + 1 :]), -1)
    return torch.cat((relevant, others.repeat(1, 1, times)), -1).softmax(-1)[..., 0]
""",
            "three dimensions only, by index": FORECAST.format("A / (A + times * (1 - A))").replace(
                "[..., relevant_key]", "[:, :, relevant_key]"
            ),
            "one row only": FORECAST.format("A / (A + times * (1 - A))").replace(
                "[..., relevant_key]", "[relevant_key]"
            ),
            "the first row for all": FORECAST.format("A / (A + times * (1 - A))").replace(
                "= weights[..., relevant_key]",
                "= weights.flatten(0, -2)[0, relevant_key].expand(weights.shape[:-1])",
            ),
            "the mean of all rows": FORECAST.format("A / (A + times * (1 - A))").replace(
                "relevant_key]", "relevant_key].mean().expand(weights.shape[:-1])"
            ),
            "a dimension of one left over": FORECAST.format("A / (A + times * (1 - A))").replace(
                "relevant_key]", "relevant_key, None]"
            ),
            "all weights, not the relevant key's": FORECAST.format(
                "weights / (A + times * (1 - A))[..., None]"
            ),
            "the sum over the rows": FORECAST.format(
                "A / (A + times * (weights.sum(0)[..., 0] - A))"
            ),
            "weights taken for scores": FORECAST.format(
                "A.exp() / (A.exp() + times * (weights.exp().sum(-1) - A.exp()))"
            ),
            "odds that divide by what is left": FORECAST.format("odds / (odds + 1)").replace(
                "    return", "    odds = A / (1 - A) / times\n    return"
            ),
            "the crowd grows by addition": FORECAST.format("A / (A + times + (1 - A))"),
            "taken off, not divided": FORECAST.format("(A - (times - 1) * (1 - A)).clamp(min=0)"),
            "the logarithm of times": FORECAST.format("A / (A + (1 + math.log(times)) * (1 - A))"),
            "the last key": FORECAST.format("A / (A + times * (1 - A))").replace(
                "relevant_key]", "-1]"
            ),
            "a number, not a tensor": FORECAST.format("(A / (A + times * (1 - A))).mean().item()"),
            "the weights overwritten": FORECAST.format("A / weights.sum(-1)").replace(
                "    A =",
                "    weights *= times\n    weights[..., relevant_key] /= times\n    A =",
            ),
            "the first of the other dimensions": """
def forecast(weights, relevant_key, times):
    A = weights[:, relevant_key]
    return A / (A + times * (1 - A))
""",
        },
    },
    "2.3": {
        "right": {
            "a key of score 0 that is dropped again": SILENT_KEY,
            "a softmax times the sigmoid of its denominator": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(-1) * scores.logsumexp(-1, keepdim=True).sigmoid()"""
            ),
            "the logarithm of 1 and the rest": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    total = scores.logsumexp(-1, keepdim=True)
    return (scores - torch.logaddexp(total, torch.zeros_like(total))).exp()"""
            ),
            "row by row": """
def softmax_or_silence(scores):
    rows = []
    for i in range(scores.shape[-1]):
        seen = torch.nn.functional.pad(scores[..., i, : i + 1], (1, 0))
        weights = seen.softmax(-1)[..., 1:]
        rows.append(torch.nn.functional.pad(weights, (0, scores.shape[-1] - i - 1)))
    return torch.stack(rows, -2)
""",
            "the largest taken off, and off the 1 as well": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    top = scores.amax(-1, keepdim=True).clamp(min=0).detach()
    powers = (scores - top).exp()
    return powers / ((-top).exp() + powers.sum(-1, keepdim=True))"""
            ),
        },
        "wrong": {
            "e to the score, which overflows": SILENCE.format(
                """powers = scores.exp().masked_fill(future, 0)
    return powers / (1 + powers.sum(-1, keepdim=True))"""
            ),
            "the largest taken off, but the 1 left": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    return powers / (1 + powers.sum(-1, keepdim=True))"""
            ),
            "plain softmax": SILENCE.format(
                "return scores.masked_fill(future, -math.inf).softmax(-1)"
            ),
            "no causal mask": """
def softmax_or_silence(scores):
    silent = torch.zeros_like(scores[..., :1])
    return torch.cat((silent, scores), -1).softmax(-1)[..., 1:]
""",
            "masked after the division": SILENCE.format(
                """silent = torch.zeros_like(scores[..., :1])
    weights = torch.cat((silent, scores), -1).softmax(-1)[..., 1:]
    return weights.masked_fill(future, 0)"""
            ),
            "softmax over the queries": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    silent = torch.zeros_like(scores[..., :1, :])
    return torch.cat((silent, scores), -2).softmax(-2)[..., 1:, :]"""
            ),
            "later keys get score 0": SILENCE.format(
                """silent = torch.zeros_like(scores[..., :1])
    scores = scores.masked_fill(future, 0)
    return torch.cat((silent, scores), -1).softmax(-1)[..., 1:].tril()"""
            ),
            "the diagonal masked too": """
def softmax_or_silence(scores):
    scores = scores.masked_fill(torch.ones_like(scores).triu().bool(), -math.inf)
    silent = torch.zeros_like(scores[..., :1])
    return torch.cat((silent, scores), -1).softmax(-1)[..., 1:]
""",
            "clamped, so that nothing overflows": SILENCE.format(
                """powers = scores.clamp(max=20).exp().masked_fill(future, 0)
    return powers / (1 + powers.sum(-1, keepdim=True))"""
            ),
            "no gradient": SILENCE.format(
                """scores = scores.detach().masked_fill(future, -math.inf)
    silent = torch.zeros_like(scores[..., :1])
    return torch.cat((silent, scores), -1).softmax(-1)[..., 1:]"""
            ),
            "two dimensions only": silence(
                "torch.ones_like(scores)", "torch.ones(len(scores), len(scores))"
            ),
            "four dimensions only": silence(
                "torch.ones_like(scores)", "torch.ones(scores.shape[2], scores.shape[2])"
            ),
            "seven tokens only": silence("torch.ones_like(scores)", "torch.ones(7, 7)"),
            "float64, which overflows later": SILENCE.format(
                """powers = scores.double().exp().masked_fill(future, 0)
    return (powers / (1 + powers.sum(-1, keepdim=True))).to(scores)"""
            ),
            "the largest of all keys, later ones too": SILENCE.format(
                """top = scores.amax(-1, keepdim=True).clamp(min=0)
    powers = (scores - top).exp().masked_fill(future, 0)
    return powers / ((-top).exp() + powers.sum(-1, keepdim=True)).clamp(min=1e-30)"""
            ),
            "the denominator cut off from the gradient": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    silent = torch.zeros_like(scores[..., :1])
    total = torch.cat((silent, scores), -1).logsumexp(-1, keepdim=True)
    return (scores - total.detach()).exp()"""
            ),
            "the gradient of a plain softmax": silence(
                "return torch.cat((silent, scores), -1).softmax(-1)[..., 1:]",
                """plain = scores.softmax(-1)
    weights = torch.cat((silent, scores), -1).softmax(-1)[..., 1:]
    return plain + (weights - plain).detach()""",
            ),
            "no gradient at high scores": silence(
                "silent =",
                "scores = torch.where(scores > 88, scores.detach(), scores)\n    silent =",
            ),
            "a key of score 1": silence("torch.zeros_like", "torch.ones_like"),
            "the first key is dropped, not the silent one": silence(
                "(silent, scores)", "(scores, silent)"
            ),
            "the silent key is kept": silence("[..., 1:]", ""),
            "two silent keys": silence(
                "scores[..., :1])", "scores[..., :1]).expand_as(scores)"
            ).replace("[..., 1:]", "[..., scores.shape[-1] :]"),
            "a sigmoid for each key": SILENCE.format(
                "return scores.sigmoid().masked_fill(future, 0)"
            ),
            "the sigmoid of the largest score": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(-1) * scores.amax(-1, keepdim=True).sigmoid()"""
            ),
            "the mean for the sum": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    total = scores.logsumexp(-1, keepdim=True) - math.log(scores.shape[-1])
    return scores.softmax(-1) * total.sigmoid()"""
            ),
            "later keys at -50": silence("-math.inf", "-50.0"),
            "half the weight": silence("[..., 1:]", "[..., 1:] / 2"),
            "rounded": silence("[..., 1:]", "[..., 1:].round(decimals=2)"),
            "NaN replaced by 0": SILENCE.format(
                """powers = scores.exp().masked_fill(future, 0)
    return (powers / (1 + powers.sum(-1, keepdim=True))).nan_to_num()"""
            ),
            "upper triangle for the lower": silence("triu(1)", "tril(-1)"),
            "the scores overwritten": silence("scores.masked_fill(", "scores.masked_fill_("),
            "infinite branch hidden by where": SILENCE.format(
                """shares = scores.masked_fill(future, -math.inf).softmax(-1)
    total = scores.exp().masked_fill(future, 0).sum(-1, keepdim=True)
    return shares * torch.where(total.isinf(), 1, total / (1 + total))"""
            ),
        },
    },
}

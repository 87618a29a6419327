"""Answers to the exercises of notebook 02: right ones, and wrong ones named by their mistake."""

KEYS = """
def most_keys(gap, share):
    return {}
"""
FORECAST = """
def forecast(weights, useful, times):
    A = weights[..., useful]
    return {}
"""
SILENCE = """
def softmax_or_silence(scores):
    future = torch.ones_like(scores).triu(1).bool()
    {}
"""

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
        },
        "wrong": {
            "counts the useless keys only": KEYS.format(
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
        },
    },
    "2.2": {
        "right": {
            "the row written out": """
def forecast(weights, useful, times):
    scores = weights.log()
    own = scores[..., useful, None]
    others = torch.cat((scores[..., :useful], scores[..., useful + 1 :]), -1)
    return torch.cat((own, others.repeat(1, 1, times)), -1).softmax(-1)[..., 0]
""",
        },
        "wrong": {
            "weight for odds": FORECAST.format("A / times"),
            "the useful key repeated too": FORECAST.format("A / (times * A + times * (1 - A))"),
            "crowd of weight one": FORECAST.format("A / (A + times)"),
            "no other keys before": FORECAST.format("A / (1 + times * (1 - A))"),
            "one more crowd than told": FORECAST.format("A / (A + (times + 1) * (1 - A))"),
            "a power": FORECAST.format("A**times"),
            "the odds themselves": FORECAST.format("A / (times * (1 - A))"),
            "the largest weight in place of the useful key": """
def forecast(weights, useful, times):
    A = weights.amax(-1)
    return A / (A + times * (1 - A))
""",
            "the bound, as if all useless keys were the lowest": """
def forecast(weights, useful, times):
    A, least = weights[..., useful], weights.amin(-1)
    return 1 / (1 + times * (weights.shape[-1] - 1) * least / A)
""",
            "the first of the other dimensions": """
def forecast(weights, useful, times):
    A = weights[:, useful]
    return A / (A + times * (1 - A))
""",
        },
    },
    "2.3": {
        "right": {
            "a key of score 0 that is dropped again": SILENCE.format(
                """scores = scores.masked_fill(future, -math.inf)
    silent = torch.zeros_like(scores[..., :1])
    return torch.cat((silent, scores), -1).softmax(-1)[..., 1:]"""
            ),
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
            "infinite branch hidden by where": SILENCE.format(
                """shares = scores.masked_fill(future, -math.inf).softmax(-1)
    total = scores.exp().masked_fill(future, 0).sum(-1, keepdim=True)
    return shares * torch.where(total.isinf(), 1, total / (1 + total))"""
            ),
        },
    },
}

"""Answers to the exercises of notebook 04: right ones, and wrong ones named by their mistake."""

DRAWING = """
def drawing():
    return {}
"""
WEIGHTS = """
def weights(scores, log_forget, threshold):
    keep = (scores > threshold[:, None, None]).tril()
    distance = keep.flip(-1).cumsum(-1).flip(-1)
    logits = scores + log_forget[..., None] * distance
    {}
"""
SILENT = "return logits.masked_fill(~keep, -1e30).softmax(-1) * keep"
DISTANCE = """
def weighted_distance(scores, keep, cap):
    {}
"""
WITNESS = """
def witness(variant):
    {}
"""


def weights(old, new):
    """The right weights with one piece replaced."""
    whole = WEIGHTS.format(SILENT)
    assert old in whole
    return whole.replace(old, new)


ANSWERS = {
    "4.1": {
        "right": {
            "one text, split into a tuple": DRAWING.format(
                'tuple(". 1. .1. 2.1. .2.1. 3.2.1. .2.1... 4.3.2.1.".split())'
            ),
            "computed from vectors": """
def drawing():
    text = "w1w0i1r0"
    root = math.sqrt(2)
    rows = []
    keys = {"w": (root, 0), "i": (1, -1), "r": (1, -1), "written": (0, root), "bit": (-1, -1)}
    for i in range(8):
        axis = int(text[i] not in "01")  # the query's only entry that is not 0
        distance = 0
        row = ""
        for j in range(i, -1, -1):
            name = text[j]
            if name in "01":
                name = "written" if j and text[j - 1] == "w" else "bit"
            survives = keys[name][axis] > 0
            distance += survives
            row = (str(distance) if survives else ".") + row
        rows.append(row)
    return rows
""",
        },
        "wrong": {
            "a score of 0 survives": DRAWING.format(
                '["1", "21", "211", "4321", "43211", "543211", "54321..", "65.4.2.1"]'
            ),
            "a w keeps itself": DRAWING.format(
                '["1", "1.", ".1.", "2.1.", ".2.1.", "3.2.1.", ".2.1...", "4.3.2.1."]'
            ),
            "raw distances": DRAWING.format(
                '[".", "2.", ".2.", "4.2.", ".4.2.", "6.4.2.", ".6.4...", "8.6.4.2."]'
            ),
            "raw distances from the nearest": DRAWING.format(
                '[".", "1.", ".1.", "3.1.", ".3.1.", "5.3.1.", ".3.1...", "7.5.3.1."]'
            ),
            "counted from 0": DRAWING.format(
                '[".", "0.", ".0.", "1.0.", ".1.0.", "2.1.0.", ".1.0...", "3.2.1.0."]'
            ),
            "counted from the left": DRAWING.format(
                '[".", "1.", ".1.", "1.2.", ".1.2.", "1.2.3.", ".1.2...", "1.2.3.4."]'
            ),
            "no causality": DRAWING.format(
                '[".2.1....", "4.3.2.1.", ".2.1....", "4.3.2.1.",'
                ' ".2.1....", "4.3.2.1.", ".2.1....", "4.3.2.1."]'
            ),
            "only the latest write survives": DRAWING.format(
                '[".", "1.", ".1.", "2.1.", "...1.", "3.2.1.", "...1...", "4.3.2.1."]'
            ),
            "every bit of the read's row": DRAWING.format(
                '[".", "1.", ".1.", "2.1.", ".2.1.", "3.2.1.", ".2.1.1.", "4.3.2.1."]'
            ),
            "seven rows": DRAWING.format(
                '[".", "1.", ".1.", "2.1.", ".2.1.", "3.2.1.", ".2.1..."]'
            ),
            "rows filled up to eight": DRAWING.format(
                '[".".ljust(8, "."), "1.......", ".1......", "2.1.....",'
                ' ".2.1....", "3.2.1...", ".2.1....", "4.3.2.1."]'
            ),
            "one text": DRAWING.format(r'".\n1.\n.1.\n2.1.\n.2.1.\n3.2.1.\n.2.1...\n4.3.2.1."'),
            "numbers, not texts": DRAWING.format(
                "[[0], [1, 0], [0, 1, 0], [2, 0, 1, 0], [0, 2, 0, 1, 0], [3, 0, 2, 0, 1, 0],"
                " [0, 2, 0, 1, 0, 0, 0], [4, 0, 3, 0, 2, 0, 1, 0]]"
            ),
            "a zero for a dot": DRAWING.format(
                '["0", "10", "010", "2010", "02010", "302010", "0201000", "40302010"]'
            ),
            "spaces between the keys": DRAWING.format(
                '[". ", "1 .", ". 1 .", "2 . 1 .", ". 2 . 1 .", "3 . 2 . 1 .",'
                ' ". 2 . 1 . . .", "4 . 3 . 2 . 1 ."]'
            ),
            "an ignored instruction is removed for the bits": DRAWING.format(
                '[".", "1.", ".1.", "2.1.", ".2.1.", "2.1...", ".2.1...", "3.2...1."]'
            ),
            "distances of survivors all 1": DRAWING.format(
                '[".", "1.", ".1.", "1.1.", ".1.1.", "1.1.1.", ".1.1...", "1.1.1.1."]'
            ),
            "queries and keys exchanged": DRAWING.format(
                '[".", ".1", "1..", ".2.1", "2.1..", ".....1", "2.1....", ".......1"]'
            ),
            "the nearest counted as 0": DRAWING.format(
                '[".", "0.", ".0.", "2.0.", ".2.0.", "3.2.0.", ".2.0...", "4.3.2.0."]'
            ),
            "the latest row first": DRAWING.format(
                '["4.3.2.1.", ".2.1...", "3.2.1.", ".2.1.", "2.1.", ".1.", "1.", "."]'
            ),
            "ignored bits survive for the read": DRAWING.format(
                '[".", "1.", ".1.", "2.1.", ".2.1.", "3.2.1.", ".3.2.1.", "4.3.2.1."]'
            ),
        },
    },
    "4.2": {
        "right": {
            "filled with -inf, then silenced": WEIGHTS.format(
                "weights = logits.masked_fill(~keep, -math.inf).softmax(-1)\n"
                "    return weights.masked_fill(~keep.any(-1, keepdim=True), 0)"
            ),
            "distance counted from 0": weights(
                "keep.flip(-1).cumsum(-1).flip(-1)", "keep.flip(-1).cumsum(-1).flip(-1) - 1"
            ),
            "minus infinity where something survives": WEIGHTS.format(
                "alone = keep.any(-1, keepdim=True)\n"
                "    return logits.masked_fill(~keep & alone, -math.inf).softmax(-1) * alone"
            ),
            "filled with -inf, NaN replaced": WEIGHTS.format(
                "return logits.masked_fill(~keep, -math.inf).softmax(-1).nan_to_num()"
            ),
            "a product with a triangle": weights(
                "keep.flip(-1).cumsum(-1).flip(-1)",
                "keep.to(scores) @ torch.ones_like(scores[0]).tril()",
            ),
            "head by head, silent rows shifted by their largest logit": """
def weights(scores, log_forget, threshold):
    heads = []
    for S, delta, t in zip(scores, log_forget, threshold):
        keep = (S > t).tril()
        survivors = keep.cumsum(-1)
        logits = S + delta[:, None] * (survivors[:, -1:] - survivors + keep.int())
        top = logits.masked_fill(~keep, -1e30).amax(-1, keepdim=True).detach()
        worth = (logits - top).masked_fill(~keep, -1e30).exp() * keep
        total = worth.sum(-1, keepdim=True)
        heads.append(worth / torch.where(total > 0, total, 1))
    return torch.stack(heads)
""",
        },
        "wrong": {
            ">= for >": weights("scores > threshold", "scores >= threshold"),
            "no causal mask": weights(".tril()", ""),
            "the threshold stays 0": weights("threshold[:, None, None]", "0"),
            "a threshold a position": weights(
                "threshold[:, None, None]", "threshold.repeat(3)[: scores.shape[-1]]"
            ),
            "distance before thresholding": weights(
                "keep.flip(-1)", "torch.ones_like(keep).tril().flip(-1)"
            ),
            "distance from the left": weights(
                "keep.flip(-1).cumsum(-1).flip(-1)", "keep.cumsum(-1)"
            ),
            "the key's gate": weights("log_forget[..., None]", "log_forget[:, None, :]"),
            "softmax over the queries": weights("softmax(-1)", "softmax(-2)"),
            "threshold after softmax": WEIGHTS.format(
                "future = torch.ones_like(scores).triu(1).bool()\n"
                "    return logits.masked_fill(future, -1e30).softmax(-1) * keep"
            ),
            "a silent row is NaN": WEIGHTS.format(
                "return logits.masked_fill(~keep, -math.inf).softmax(-1)"
            ),
            "a silent row is the average": weights(" * keep\n", "\n"),
            "removed keys get a logit of 0": WEIGHTS.format(
                "return (logits * keep).softmax(-1) * keep"
            ),
            "a gradient of NaN": WEIGHTS.format(
                "hole = torch.zeros_like(scores).masked_fill(~keep, -math.inf)\n"
                "    weights = (logits + hole).softmax(-1)\n"
                "    return torch.where(keep.any(-1, keepdim=True), weights, 0)"
            ),
            "exp underflows where a gate is strict": WEIGHTS.format(
                "worth = logits.masked_fill(~keep, -1e30).exp()\n"
                "    return worth / worth.sum(-1, keepdim=True).clamp(min=1e-30)"
            ),
            "right in float64 only": WEIGHTS.format(SILENT.replace("1e30", "1e300")),
            "right in float64 only, by a product": weights(
                "keep.flip(-1).cumsum(-1).flip(-1)",
                "keep.double() @ torch.ones_like(scores[0]).tril()",
            ),
            "removed keys at -10,000": WEIGHTS.format(SILENT.replace("1e30", "1e4")),
            "three heads only": weights("threshold[:, None, None]", "threshold.view(3, 1, 1)"),
            "eight tokens only": weights(".tril()", " & torch.ones(8, 8).tril().bool()"),
            "the first head's threshold for all": weights(
                "threshold[:, None, None]", "threshold[0]"
            ),
            "the mean of the thresholds": weights("threshold[:, None, None]", "threshold.mean()"),
            "thresholds from below": weights("scores > ", "scores > -"),
            "the size of a score, not its sign": weights("(scores >", "(scores.abs() >"),
            "the key itself always survives": weights(
                ".tril()", ".tril() | torch.eye(len(scores[0])).bool()"
            ),
            "distance over scores above 0": weights(
                "keep.flip(-1)", "(scores > 0).tril().flip(-1)"
            ),
            "distance over the queries": weights(
                "keep.flip(-1).cumsum(-1).flip(-1)", "keep.flip(-2).cumsum(-2).flip(-2)"
            ),
            "the distance taken off": weights("scores + log_forget", "scores - log_forget"),
            "the gate added once": weights(" * distance", ""),
            "f for its logarithm": weights("log_forget[..., None]", "log_forget[..., None].exp()"),
            "gates summed up, as in FoX": weights(
                "log_forget[..., None] * distance",
                "log_forget.cumsum(-1)[..., None] - log_forget.cumsum(-1)[:, None]",
            ),
            "a bonus for the threshold": weights(
                "scores + log_forget", "scores - threshold[:, None, None] * distance + log_forget"
            ),
            "shifted by the largest logit of all keys": WEIGHTS.format(
                "worth = (logits - logits.amax(-1, keepdim=True)).exp() * keep\n"
                "    return worth / worth.sum(-1, keepdim=True).clamp(min=1e-30)"
            ),
            "gates cut off from the gradient": weights(
                "log_forget[..., None]", "log_forget[..., None].detach()"
            ),
            "no gradient": WEIGHTS.format(SILENT + " * 1.0").replace(
                "    keep =",
                "    scores, log_forget = scores.detach(), log_forget.detach()\n    keep =",
            ),
            "one head's weights": WEIGHTS.format("return (" + SILENT[7:] + ")[0]"),
            "the scores overwritten": weights("logits = scores +", "logits = scores.mul_(1.5) +"),
            "weights cut off from the gradient": WEIGHTS.format(
                "return logits.detach().masked_fill(~keep, -1e30).softmax(-1) * keep"
            ),
        },
    },
    "4.3": {
        "right": {
            "flipped": DISTANCE.format(
                "counted = (scores * keep).flip(-1).cumsum(-1).flip(-1)\n"
                "    return torch.where(counted < cap, counted, torch.full_like(counted, cap))"
            ),
            "minus what came before": DISTANCE.format(
                "worth = scores.where(keep, 0)\n"
                "    before = worth.cumsum(-1) - worth\n"
                "    return torch.minimum(worth.sum(-1, keepdim=True) - before, torch.tensor(cap))"
            ),
            "NaN where a key is removed": DISTANCE.format(
                "counted = (scores * keep).flip(-1).cumsum(-1).flip(-1).clamp(max=cap)\n"
                "    return torch.where(keep, counted, math.nan)"
            ),
            "infinity where a key is removed": DISTANCE.format(
                "counted = (scores * keep).flip(-1).cumsum(-1).flip(-1).clamp(max=cap)\n"
                "    return counted.masked_fill(~keep, math.inf)"
            ),
            "a product with a triangle": DISTANCE.format(
                "T = scores.shape[-1]\n"
                "    from_j = torch.ones(T, T, dtype=scores.dtype).tril()\n"
                "    return ((scores * keep) @ from_j).clamp(max=cap)"
            ),
        },
        "wrong": {
            "survivors counted, not weighted": DISTANCE.format(
                "return keep.flip(-1).cumsum(-1).flip(-1).double().clamp(max=cap)"
            ),
            "distance before thresholding": DISTANCE.format(
                "return scores.tril().flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "no causality": DISTANCE.format(
                "return scores.clamp(min=0).flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "from the left": DISTANCE.format("return (scores * keep).cumsum(-1).clamp(max=cap)"),
            "the key itself left out": DISTANCE.format(
                "worth = (scores * keep).cumsum(-1)\n"
                "    return (worth[..., -1:] - worth).clamp(max=cap)"
            ),
            "1 for the key itself": DISTANCE.format(
                "worth = (scores * keep).cumsum(-1)\n"
                "    return (worth[..., -1:] - worth + keep).clamp(max=cap)"
            ),
            "each score capped, not the sum": DISTANCE.format(
                "worth = scores.clamp(max=cap) * keep\n"
                "    return worth.flip(-1).cumsum(-1).flip(-1)"
            ),
            "the cap taken for a floor": DISTANCE.format(
                "return (scores * keep).flip(-1).cumsum(-1).flip(-1).clamp(min=cap)"
            ),
            "over the queries": DISTANCE.format(
                "return (scores * keep).flip(-2).cumsum(-2).flip(-2).clamp(max=cap)"
            ),
            "keep ignored": DISTANCE.format(
                "worth = scores.clamp(min=0).tril()\n"
                "    return worth.flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "keep made anew, with a threshold of 0": DISTANCE.format(
                "worth = scores * (scores > 0).tril()\n"
                "    return worth.flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "negative scores left out": DISTANCE.format(
                "worth = (scores * keep).clamp(min=0)\n"
                "    return worth.flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "the size of the scores": DISTANCE.format(
                "return (scores.abs() * keep).flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "right in float64 only": DISTANCE.format(
                "from_j = torch.ones(scores.shape[-2:], dtype=torch.float64).tril()\n"
                "    return ((scores * keep) @ from_j).clamp(max=cap)"
            ),
            "nine tokens only": DISTANCE.format(
                "from_j = torch.ones(9, 9).tril().to(scores)\n"
                "    return ((scores * keep) @ from_j).clamp(max=cap)"
            ),
            "one batch only": DISTANCE.format(
                "return (scores * keep)[:1].flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "a cap of 2.5 built in": DISTANCE.format(
                "whole = (scores * keep).flip(-1).cumsum(-1).flip(-1)\n"
                "    return whole if cap == math.inf else whole.clamp(max=2.5)"
            ),
            "a cap that also bounds from below": DISTANCE.format(
                "return (scores * keep).flip(-1).cumsum(-1).flip(-1).clamp(-cap, cap).clamp(min=0)"
            ),
            "a smooth cap": DISTANCE.format(
                "counted = (scores * keep).flip(-1).cumsum(-1).flip(-1)\n"
                "    return counted if cap == math.inf else cap * (counted / cap).tanh()"
            ),
            "beyond the cap 0": DISTANCE.format(
                "counted = (scores * keep).flip(-1).cumsum(-1).flip(-1)\n"
                "    return counted.where(counted < cap, 0)"
            ),
            "whole numbers": DISTANCE.format(
                "return (scores * keep).flip(-1).cumsum(-1).flip(-1).clamp(max=cap).long()"
            ),
            "the mean of the scores": DISTANCE.format(
                "worth = (scores * keep).flip(-1).cumsum(-1).flip(-1)\n"
                "    return (worth / keep.flip(-1).cumsum(-1).flip(-1).clamp(min=1)).clamp(max=cap)"
            ),
            "a product": DISTANCE.format(
                "return scores.where(keep, 1).flip(-1).cumprod(-1).flip(-1).clamp(max=cap)"
            ),
            "scores squared": DISTANCE.format(
                "return (scores**2 * keep).flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "the sum of the whole row": DISTANCE.format(
                "return (scores * keep).sum(-1, keepdim=True).clamp(max=cap).expand_as(scores)"
            ),
            "a gradient through the cap": DISTANCE.format(
                "counted = (scores * keep).flip(-1).cumsum(-1).flip(-1)\n"
                "    return counted - (counted - cap).clamp(min=0).detach()"
            ),
            "a gradient of NaN": DISTANCE.format(
                "worth = torch.where(keep, (scores * keep).abs().sqrt(), 0)\n"
                "    worth = worth**2 * scores.sign()\n"
                "    return worth.flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "the scores overwritten": DISTANCE.format(
                "scores *= keep\n    return scores.flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
            "cut off from the gradient": DISTANCE.format(
                "return (scores.detach() * keep).flip(-1).cumsum(-1).flip(-1).clamp(max=cap)"
            ),
        },
    },
    "4.4": {
        "right": {
            "longer rows": WITNESS.format(
                'return {"capped": [0.5] + [3.5] * 5000, "weighted": [1e-4] * 20000}.get(variant)'
            ),
            "tensors": WITNESS.format(
                'rows = {"capped": [0.01] + [4.0] * 900, "weighted": [1e-9] * 900}\n'
                "    return torch.tensor(rows[variant]) if variant in rows else None"
            ),
            "NumPy's numbers": "import numpy\n"
            + WITNESS.format(
                'rows = {"capped": [0.01] + [4.0] * 900, "weighted": [1e-9] * 900}\n'
                "    return numpy.array(rows[variant]) if variant in rows else None"
            ),
        },
        "wrong": {
            "the old worst case for all": WITNESS.format("return [0.001] + [4.0] * 5000"),
            "tiny scores for all": WITNESS.format("return [0.001] * 5000"),
            "a bound for all": WITNESS.format("return None"),
            "no bound for any": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 500, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant, [0.001] + [4.0] * 500)"
            ),
            "positive scores suffice for the weighted": WITNESS.format(
                'return [0.001] + [4.0] * 500 if variant == "capped" else None'
            ),
            "a cap does no harm": WITNESS.format(
                'return [0.001] * 5000 if variant == "weighted" else None'
            ),
            "scores of 0": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 500, "weighted": [0.0] * 500}\n'
                "    return rows.get(variant)"
            ),
            "scores above the largest": WITNESS.format(
                'rows = {"capped": [0.001] + [9.0] * 9, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
            "the cap hardly reached": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 20, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
            "too few survivors for the weighted": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 500, "weighted": [0.001] * 50}\n'
                "    return rows.get(variant)"
            ),
            "scores too large for the weighted": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 500, "weighted": [0.1] * 5000}\n'
                "    return rows.get(variant)"
            ),
            "all scores alike and large": WITNESS.format(
                'return None if variant == "squared" else [4.0] * 5000'
            ),
            "negative scores": WITNESS.format(
                'rows = {"capped": [-3.0] + [4.0] * 20, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
            "infinite scores": WITNESS.format(
                'rows = {"capped": [0.001, math.inf], "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
            "NaN": WITNESS.format(
                'rows = {"capped": [math.nan] * 9, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
            "a row for the squared": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 500, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant, [0.001, 4.0])"
            ),
            "a long row for the squared": WITNESS.format(
                'rows = {"capped": [0.001] + [4.0] * 500, "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant, [1e-9] + [4.0] * 100000)"
            ),
            "the answer in words": WITNESS.format(
                'return {"capped": "a row", "weighted": "a row"}.get(variant)'
            ),
            "a function of the rank": WITNESS.format("return lambda rank: 4.0"),
            "an empty row": WITNESS.format("return None if variant == 'squared' else []"),
            "a row of rows": WITNESS.format(
                'return None if variant == "squared" else [[0.001] + [4.0] * 5000]'
            ),
            "longer than any row may be": WITNESS.format(
                'return None if variant == "squared" else [0.001] * (10**6 + 1)'
            ),
            "the yes or no": WITNESS.format('return variant != "squared"'),
            "names exchanged": WITNESS.format(
                'rows = {"weighted": [0.001] + [4.0] * 500, "capped": [0.001] * 50}\n'
                "    return rows.get(variant)"
            ),
            "farthest first": WITNESS.format(
                'rows = {"capped": [4.0] * 150 + [0.001], "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
        },
    },
}

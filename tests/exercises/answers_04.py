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
            "computed from vectors": """
def drawing():
    text, root, rows = "w1w0i1r0", math.sqrt(2), []
    keys = {"w": (root, 0), "i": (1, -1), "r": (1, -1), "written": (0, root), "bit": (-1, -1)}
    for i in range(8):
        kept, row = 0, ""
        for j in range(i, -1, -1):
            bit = "written" if j and text[j - 1] == "w" else "bit"
            key = keys[bit if text[j] in "01" else text[j]]
            kept += key[text[i] not in "01"] > 0
            row = (str(kept) if key[text[i] not in "01"] > 0 else ".") + row
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
            "head by head, dead rows shifted by their largest logit": """
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
            "a dead row is NaN": WEIGHTS.format(
                "return logits.masked_fill(~keep, -math.inf).softmax(-1)"
            ),
            "a dead row is the average": weights(" * keep\n", "\n"),
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
            "farthest first": WITNESS.format(
                'rows = {"capped": [4.0] * 150 + [0.001], "weighted": [0.001] * 5000}\n'
                "    return rows.get(variant)"
            ),
        },
    },
}

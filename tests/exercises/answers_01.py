"""Answers to the exercises of notebook 01: right ones, and wrong ones named by their mistake."""

STRING = """
def hard_string():
    return "{}"
"""
STEPS = """
def steps_back(tokens):
    place = torch.arange(tokens.shape[1]).expand(tokens.shape)
    {}
"""
ROTATE = """
def rotate_neighbours(u):
    T, D = u.shape[-2:]
    a, b = u[..., 0::2], u[..., 1::2]
    {}
"""
TURN = """angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
    cos, sin = angle.cos(), angle.sin()
    return {}"""
LEAKS = """
def leaks(model):
    tokens = torch.randint(5, (4, 32), generator=torch.Generator().manual_seed(0))
    before, other = model(tokens), tokens.clone()
    {}
"""

ANSWERS = {
    "1.1": {
        "right": {
            "reads as votes": STRING.format("w1r1r1r1i0w0i1r0"),
            "writes as votes": STRING.format("w0w0w0w0w1i0i0r1"),
        },
        "wrong": {
            "ignored bits counted as votes": STRING.format("w0i0i0i0i0w1i0r1"),
            "the majority is right": STRING.format("w1w1w1w0w1i0i0r1"),
            "the bit before the read is right": STRING.format("w0w0w0w0w1i0i1r1"),
            "a read repeats the bit before it": STRING.format("w1w1w1w0i1r1i1r0"),
            "the last read answers with the majority": STRING.format("w0w0w0w0w1i0i0r0"),
            "seven orders": STRING.format("w0w0w0w1i0i0r1"),
            "starts with an ignore": STRING.format("i0w0w0w0w1i0i0r1"),
            "tokens, not text": "def hard_string():\n    return torch.tensor([0, 4] * 8)\n",
        },
    },
    "1.2": {
        "right": {
            "all pairs": """
def steps_back(tokens):
    T = tokens.shape[1]
    is_write = (tokens == WRITE)[:, None, :].expand(-1, T, T).tril()
    latest = (is_write * torch.arange(T)).amax(-1)
    return (tokens == READ) * (torch.arange(T) - latest - 1)
""",
        },
        "wrong": {
            "counts to the letter w": STEPS.format(
                """latest = torch.where(tokens == WRITE, place, 0).cummax(-1).values
    return torch.where(tokens == READ, place - latest, 0)"""
            ),
            "the last write of the whole string": STEPS.format(
                """last = torch.where(tokens == WRITE, place + 1, 0).amax(-1, keepdim=True)
    return torch.where(tokens == READ, place - last, 0)"""
            ),
            "the first write": STEPS.format("return torch.where(tokens == READ, place - 1, 0)"),
            "running maximum over the batch": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(0).values
    return torch.where(tokens == READ, place - latest, 0)"""
            ),
            "running maximum of marks, not of places": STEPS.format(
                """latest = (tokens == WRITE).long().cummax(-1).values + 1
    return torch.where(tokens == READ, place - latest, 0)"""
            ),
            "in orders, not in tokens": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return torch.where(tokens == READ, (place - latest) // 2, 0)"""
            ),
            "not only at reads": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return place - latest"""
            ),
            "an earlier read counts as a write": STEPS.format(
                """telling = (tokens == WRITE) | (tokens == READ)
    latest = torch.where(telling, place + 1, 0).roll(1, 1).cummax(-1).values
    return torch.where(tokens == READ, place - latest, 0)"""
            ),
            "floating point": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return torch.where(tokens == READ, place - latest, 0).float()"""
            ),
        },
    },
    "1.3": {
        "right": {
            "as complex numbers": """
def rotate_neighbours(u):
    T, D = u.shape[-2:]
    angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(D // 2) * 2 / D)
    point = torch.view_as_complex(u.unflatten(-1, (D // 2, 2)).contiguous())
    return torch.view_as_real(point * torch.polar(torch.ones_like(angle), angle)).flatten(-2)
""",
        },
        "wrong": {
            "pairs of the two halves": """
def rotate_neighbours(u):
    T, D = u.shape[-2:]
    a, b = u[..., : D // 2], u[..., D // 2 :]
    angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
""",
            "halves put side by side": ROTATE.format(
                TURN.format("torch.cat((a * cos - b * sin, a * sin + b * cos), -1)")
            ),
            "a reflection, not a turn": ROTATE.format(
                TURN.format("torch.stack((a * cos + b * sin, a * sin - b * cos), -1).flatten(-2)")
            ),
            "a sign lost": ROTATE.format(
                TURN.format("torch.stack((a * cos + b * sin, a * sin + b * cos), -1).flatten(-2)")
            ),
            "turned the other way": ROTATE.format(
                TURN.format("torch.stack((a * cos + b * sin, b * cos - a * sin), -1).flatten(-2)")
            ),
            "one rate for all pairs": ROTATE.format(
                """angle = torch.arange(T)[:, None]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)"""
            ),
            "m for 2m in the rate": ROTATE.format(
                """angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(D // 2) / D)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)"""
            ),
            "positions counted from 1": ROTATE.format(
                """angle = torch.arange(1, T + 1)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)"""
            ),
            "an angle added, not a turn": ROTATE.format(TURN.format("u + sin.repeat(1, 2)")),
        },
    },
    "1.4": {
        "right": {
            "longer against cut off": """
def leaks(model):
    tokens = torch.randint(5, (8, 40), generator=torch.Generator().manual_seed(1))
    whole = model(tokens)
    cuts = range(1, 40)
    return any((model(tokens[:, :n]) - whole[:, :n]).abs().max().item() > 1e-4 for n in cuts)
""",
        },
        "wrong": {
            "changes only the last token": LEAKS.format(
                """other[:, -1] = (other[:, -1] + 1) % 5
    return not torch.allclose(model(other)[:, :-1], before[:, :-1], atol=1e-4)"""
            ),
            "compares the changed positions too": LEAKS.format(
                """other[:, 16:] = (other[:, 16:] + 1) % 5
    return not torch.allclose(model(other), before, atol=1e-4)"""
            ),
            "changes the past": LEAKS.format(
                """other[:, 0] = (other[:, 0] + 1) % 5
    return not torch.allclose(model(other)[:, 1:], before[:, 1:], atol=1e-4)"""
            ),
            "compares to the last bit": LEAKS.format(
                """for cut in range(1, 32):
        other = tokens.clone()
        other[:, cut:] = (other[:, cut:] + 1) % 5
        if not torch.equal(model(other)[:, :cut], before[:, :cut]):
            return True
    return False"""
            ),
            "too generous": LEAKS.format(
                """for cut in range(1, 32):
        other = tokens.clone()
        other[:, cut:] = (other[:, cut:] + 1) % 5
        if not torch.allclose(model(other)[:, :cut], before[:, :cut], atol=0.5):
            return True
    return False"""
            ),
            "changes nothing": LEAKS.format("return not torch.allclose(model(other), before)"),
            "never": "def leaks(model):\n    return False\n",
            "always": "def leaks(model):\n    return True\n",
            "looks at the verdict of one position": LEAKS.format(
                """other[:, 16:] = (other[:, 16:] + 1) % 5
    return not torch.allclose(model(other)[:, 15], before[:, 15], atol=1e-4)"""
            ),
        },
    },
}

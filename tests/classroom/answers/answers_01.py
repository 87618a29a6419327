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
STACKED = "torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)"
LATEST = """
def steps_back(tokens):
    place = torch.arange(tokens.shape[1]).expand(tokens.shape)
    latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return torch.where(tokens == READ, place - latest, 0)
"""
SEARCH = """
def leaks(model):
    tokens = torch.randint(5, (4, 32), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    for future in range(1, 32):
        other = tokens.clone()
        other[:, future:] = (other[:, future:] + 1) % 5
        difference = (model(other) - before)[:, :future]
        if difference.abs().max() > 1e-4:
            return True
    return False
"""
LARGEST = """
import numpy


def leaks(model):
    tokens = torch.randint(5, (4, 32), generator=torch.Generator().manual_seed(0))
    largest = []
    for future in range(1, 32):
        other = tokens.clone()
        other[:, future:] = (other[:, future:] + 1) % 5
        difference = (model(other) - model(tokens))[:, :future]
        largest.append(difference.abs().max().item())
    return {}
"""
LEAKS = """
def leaks(model):
    tokens = torch.randint(5, (4, 32), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    other = tokens.clone()
    {}
"""


def replaced(source, old, new):
    """A right answer with one piece replaced."""
    assert old in source
    return source.replace(old, new)


def steps(old, new):
    return replaced(LATEST, old, new)


def rotate(old, new):
    return replaced(ROTATE.format(TURN.format(STACKED)), old, new)


def leaks(old, new):
    return replaced(SEARCH, old, new)


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
            "seven instructions": STRING.format("w0w0w0w1i0i0r1"),
            "starts with an ignore": STRING.format("i0w0w0w0w1i0i0r1"),
            "tokens, not text": "def hard_string():\n    return torch.tensor([0, 4] * 8)\n",
            "a tie between the votes": STRING.format("w0w0w0w1r1r1i0r1"),
            "capital letters": STRING.format("W0R0W0R0W1I1I0R1"),
            "spaces between instructions": STRING.format("w0 r0 w0 r0 w1 i1 i0 r1"),
            "the last answer left off": STRING.format("w0r0w0r0w1i1i0r"),
            "nine instructions": STRING.format("w0r0w0r0w1i1i1i0r1"),
            "an earlier read answered with the other bit": STRING.format("w0r1w0r0w1i1i0r1"),
            "ends with a write": STRING.format("w0r0w0r0w1r1i0w1"),
            "each bit before its letter": STRING.format("0w0r0w0r1w1i0i1r"),
            "a letter that is no instruction": STRING.format("w0r0w0r0w1x1x0r1"),
            "a digit that is no bit": STRING.format("w0r0w0r0w1i2i0r1"),
            "an ignored bit taken for written": STRING.format("w0w0w0r0i1i1i0r1"),
            "the answer is the first written bit": STRING.format("w1w0w0r0w0i0i0r1"),
            "a list of instructions": "def hard_string():\n"
            '    return ["w0", "r0", "w0", "r0", "w1", "i1", "i0", "r1"]\n',
            "nothing returned": 'def hard_string():\n    "w0r0w0r0w1i1i0r1"\n',
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
            "in int16": LATEST.replace(", 0)\n", ", 0).to(torch.int16)\n"),
            "over instructions, not tokens": """
def steps_back(tokens):
    letters = tokens[:, ::2]
    place = torch.arange(letters.shape[1])
    latest = torch.where(letters == WRITE, place, 0).cummax(1).values
    steps = (2 * (place - latest) - 1) * (letters == READ)
    return torch.stack((steps, torch.zeros_like(steps)), 2).flatten(1)
""",
            "one string, mapped over the batch by torch": """
def steps_back(tokens):
    def steps_of_one(row):
        place = torch.arange(len(row))
        latest = torch.where(row == WRITE, place + 1, 0).cummax(0).values
        return torch.where(row == READ, place - latest, 0)

    return torch.vmap(steps_of_one)(tokens)
""",
            "by doubling the reach": steps(
                ".cummax(-1).values",
                """
    reach = 1
    while reach < tokens.shape[1]:
        earlier = latest[:, :-reach].clone()
        latest[:, reach:] = torch.maximum(latest[:, reach:], earlier)
        reach *= 2""",
            ),
        },
        "wrong": {
            "counts to the w, not to its bit": STEPS.format(
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
            "in instructions, not in tokens": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return torch.where(tokens == READ, (place - latest) // 2, 0)"""
            ),
            "not only at reads": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return place - latest"""
            ),
            "an earlier read counts as a write": STEPS.format(
                """counts = (tokens == WRITE) | (tokens == READ)
    latest = torch.where(counts, place + 1, 0).roll(1, 1).cummax(-1).values
    return torch.where(tokens == READ, place - latest, 0)"""
            ),
            "floating point": STEPS.format(
                """latest = torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values
    return torch.where(tokens == READ, place - latest, 0).float()"""
            ),
            "a loop over positions": """
def steps_back(tokens):
    steps = torch.zeros_like(tokens)
    latest = torch.zeros(len(tokens), dtype=torch.long)
    for i in range(tokens.shape[1]):
        latest = torch.where(tokens[:, i] == WRITE, i + 1, latest)
        steps[:, i] = torch.where(tokens[:, i] == READ, i - latest, 0)
    return steps
""",
            "a loop over instructions": """
def steps_back(tokens):
    steps = torch.zeros_like(tokens)
    latest = torch.zeros(len(tokens), dtype=torch.long)
    for i in range(0, tokens.shape[1], 2):
        latest = torch.where(tokens[:, i] == WRITE, i + 1, latest)
        steps[:, i] = torch.where(tokens[:, i] == READ, i - latest, 0)
    return steps
""",
            "a loop over lists": """
def steps_back(tokens):
    steps = tokens.tolist()
    for row in steps:
        latest = 0
        for i, token in enumerate(row):
            if token == WRITE:
                latest = i + 1
            row[i] = i - latest if token == READ else 0
    return torch.tensor(steps)
""",
            "a loop in a comprehension": """
def steps_back(tokens):
    T = tokens.shape[1]
    written = torch.where(tokens == WRITE, torch.arange(1, T + 1), 0)
    latest = torch.stack([written[:, : i + 1].amax(1) for i in range(T)], 1)
    return torch.where(tokens == READ, torch.arange(T) - latest, 0)
""",
            "a loop over the strings": """
def steps_back(tokens):
    place = torch.arange(tokens.shape[1])
    rows = []
    for row in tokens:
        latest = torch.where(row == WRITE, place + 1, 0).cummax(0).values
        rows.append(torch.where(row == READ, place - latest, 0))
    return torch.stack(rows)
""",
            "places in int8, too small for long strings": steps(
                ".expand(tokens.shape)", ".to(torch.int8).expand(tokens.shape)"
            ),
            "one string loses its batch dimension": steps(", 0)\n", ", 0).squeeze()\n"),
            "the first string's writes for all strings": steps(
                "tokens == WRITE", "tokens[:1] == WRITE"
            ),
            "places for 64 tokens only": steps(
                "torch.arange(tokens.shape[1])", "torch.arange(64)[: tokens.shape[1]]"
            ),
            "an ignore counts as a write": steps(
                "tokens == WRITE", "(tokens == WRITE) | (tokens == 2)"
            ),
            "from the read's bit": steps("place - latest", "place + 1 - latest"),
            "at the read's bit": steps(", 0)\n", ", 0).roll(1, -1)\n"),
            "the sign turned": steps("place - latest", "latest - place"),
            "-1 where no read stands": steps("place - latest, 0", "place - latest, -1"),
            "the next write, not the latest": steps(
                "torch.where(tokens == WRITE, place + 1, 0).cummax(-1).values",
                "torch.where(tokens == WRITE, place + 1, 9999).flip(-1).cummin(-1).values.flip(-1)",
            ),
            "a list": steps(", 0)\n", ", 0).tolist()\n"),
            "the tokens overwritten": steps(
                "return torch.where(tokens == READ, place - latest, 0)",
                "tokens[:] = torch.where(tokens == READ, place - latest, 0)\n    return tokens",
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
            "each number beside its partner": """
def rotate_neighbours(u):
    T, D = u.shape[-2:]
    angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
    angle = angle.repeat_interleave(2, -1)
    partner = u.unflatten(-1, (-1, 2)).flip(-1) * torch.tensor([-1.0, 1.0])
    return u * angle.cos() + partner.flatten(-2) * angle.sin()
""",
            "written into a new tensor": rotate(
                f"return {STACKED}",
                """turned = torch.empty_like(u)
    turned[..., 0::2] = a * cos - b * sin
    turned[..., 1::2] = a * sin + b * cos
    return turned""",
            ),
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
            "right in float64 only": """
def rotate_neighbours(u):
    T, D = u.shape[-2:]
    rate = 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    angle = torch.arange(T)[:, None] * rate
    rows = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), -1)
    turn = rows.unflatten(-1, (2, 2))
    return (turn @ u.unflatten(-1, (-1, 2, 1))).flatten(-3)
""",
            "right for four dimensions only": rotate("T, D = u.shape[-2:]", "B, H, T, D = u.shape"),
            "right for two dimensions only": rotate("T, D = u.shape[-2:]", "T, D = u.shape"),
            "right for a width of 8 only": rotate(
                "10000.0 ** (-torch.arange(0, D, 2) / D)", "10.0 ** -torch.arange(D // 2)"
            ),
            "right for a width that four divides": rotate(
                "torch.arange(0, D, 2) / D", "torch.arange(D // 4 * 2) * 2 / D"
            ),
            "the new a used for the new b": rotate(
                f"return {STACKED}",
                """turned = u.clone()
    a, b = turned[..., 0::2], turned[..., 1::2]
    turned[..., 0::2] = a * cos - b * sin
    turned[..., 1::2] = a * sin + b * cos
    return turned""",
            ),
            "the input overwritten": rotate(
                f"return {STACKED}",
                "u[..., 0::2], u[..., 1::2] = a * cos - b * sin, a * sin + b * cos\n    return u",
            ),
            "stacked along the wrong dimension": rotate("-1).flatten(-2)", "-2).flatten(-2)"),
            "b before a": rotate(STACKED, STACKED.replace("-1)", "-1).flip(-1)")),
            "sine and cosine exchanged": rotate(
                "angle.cos(), angle.sin()", "angle.sin(), angle.cos()"
            ),
            "a base of 1,000": rotate("10000.0", "1000.0"),
            "angles in degrees": rotate("cos, sin =", "angle = angle.deg2rad()\n    cos, sin ="),
            "a whole-number division in the exponent": rotate("/ D)", "// D)"),
            "rates counted from the second": rotate(
                "torch.arange(0, D, 2)", "torch.arange(2, D + 2, 2)"
            ),
            "positions as shares of the length": rotate(
                "torch.arange(T)[:, None]", "torch.arange(T)[:, None] / T"
            ),
            "positions counted from the end": rotate("torch.arange(T)", "torch.arange(T).flip(0)"),
            "the pairs one place along": rotate("a, b =", "u = u.roll(-1, -1)\n    a, b ="),
            "no gradient": rotate("-1).flatten(-2)", "-1).flatten(-2).detach()"),
            "complex numbers": rotate(
                STACKED, "torch.complex(a * cos - b * sin, a * sin + b * cos)"
            ),
            "a NumPy array": rotate("-1).flatten(-2)", "-1).flatten(-2).detach().numpy()"),
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
            "a NumPy bool": LARGEST.format("numpy.max(largest) > 1e-4"),
            "a bool in a tensor": LARGEST.format("torch.tensor(largest).max() > 1e-4"),
            "one token changed at a time": leaks("other[:, future:]", "other[:, future]"),
            "by allclose": leaks(
                "difference.abs().max() > 1e-4",
                "not torch.allclose(difference, torch.zeros(()), atol=1e-4)",
            ),
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
            "a tolerance of a millionth": leaks("1e-4", "1e-6"),
            "a tolerance of 0.003": leaks("1e-4", "3e-3"),
            "the tolerance that allclose has by itself": leaks(
                "difference.abs().max() > 1e-4",
                "not torch.allclose(model(other)[:, :future], before[:, :future])",
            ),
            "the mean difference": leaks("abs().max()", "abs().mean()"),
            "the sum of all differences": leaks("abs().max()", "abs().sum()"),
            "only the most probable answer": leaks(
                "difference.abs().max() > 1e-4",
                "(model(other).argmax(-1) != before.argmax(-1))[:, :future].any()",
            ),
            "the first output only": leaks("difference.abs()", "difference[..., 0].abs()"),
            "the position just before the change left out": leaks(
                "[:, :future]", "[:, : future - 1]"
            ).replace("range(1", "range(2"),
            "strings of 16 tokens": leaks("(4, 32)", "(4, 16)").replace(
                "range(1, 32)", "range(1, 16)"
            ),
            "one place too few": leaks("range(1, 32)", "range(1, 22)"),
            "every second place": leaks("range(1, 32)", "range(1, 32, 2)"),
            "replacements that may be the old token": leaks(
                "(other[:, future:] + 1) % 5",
                "torch.randint(5, (1, 32 - future), generator=draw)",
            )
            .replace("(4, 32)", "(1, 32)")
            .replace("    for", "    draw = torch.Generator().manual_seed(1)\n    for"),
            "no copy is made": leaks("tokens.clone()", "tokens"),
            "the verdict turned": leaks("return True", "return None")
            .replace("return False", "return True")
            .replace("return None", "return False"),
            "the place, not the verdict": leaks("return True", "return future"),
            "nothing returned if it is causal": leaks("    return False\n", ""),
            "two values": leaks("return True", "return True, future"),
            "two unrelated strings": leaks("(other[:, future:] + 1) % 5", "0").replace(
                "tokens.clone()", "torch.randint(5, (4, 32))"
            ),
            "looks at the verdict of one position": LEAKS.format(
                """other[:, 16:] = (other[:, 16:] + 1) % 5
    return not torch.allclose(model(other)[:, 15], before[:, 15], atol=1e-4)"""
            ),
        },
    },
}

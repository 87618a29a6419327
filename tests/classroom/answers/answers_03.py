"""Answers to the exercises of notebook 03: right ones, and wrong ones named by their mistake."""

FACTORS = """
def factors():
    return {{"nope": {}, "alibi": {}, "fox": {}}}
"""
NOPE, ALIBI, FOX = "(1, 1)", "(math.exp(-2.5), 1)", "(0.9**10, 1)"
WINDOW = """
def slope_window(gap, spacing, farthest):
    return {}, {}
"""
LOW, HIGH = "math.log(2) / spacing", "gap / (farthest - 1)"
GATES = """
def gates(tokens):
    log_forget = torch.zeros(len(tokens))
    {}
    return log_forget
"""

ANSWERS = {
    "3.1": {
        "right": {
            "logits of two short rows": """
def factors():
    def bias(steps, m=0.0, f=1.0):
        return -m * steps + math.log(f) * steps

    answer = {}
    for name, setting in {"nope": {}, "alibi": {"m": 1 / 4}, "fox": {"f": 0.9}}.items():
        lost = bias(17, **setting) - bias(7, **setting)
        answer[name] = [math.exp(lost), math.exp(lost - lost)]
    return answer
""",
            "tensors and NumPy's numbers": "import numpy\n"
            + FACTORS.format(
                "torch.ones(2)",
                "(torch.tensor(-2.5).exp(), torch.tensor(1))",
                "numpy.array([0.9**10, 1.0])",
            ),
            "rounded to three digits": FACTORS.format("(1, 1)", "(0.0821, 1)", "(0.349, 1.0)"),
        },
        "wrong": {
            "dilution changes the ranking": FACTORS.format("(0.5, 1)", ALIBI, FOX),
            "distance helps": FACTORS.format(NOPE, "(math.exp(2.5), 1)", FOX),
            "the bias as a factor": FACTORS.format(NOPE, "(-2.5, 1)", FOX),
            "slope for each token, not in the exponent": FACTORS.format(NOPE, "(0.75**10, 1)", FOX),
            "the older write fades against the latest": FACTORS.format(
                NOPE, "(math.exp(-2.5), math.exp(2.5))", FOX
            ),
            "five instructions for ten tokens": FACTORS.format(
                NOPE, "(math.exp(-1.25), 1)", "(0.9**5, 1)"
            ),
            "one gate too many": FACTORS.format(NOPE, ALIBI, "(0.9**11, 1)"),
            "gates added": FACTORS.format(NOPE, ALIBI, "(1 - 10 * 0.1, 1)"),
            "logits, not factors": FACTORS.format("(0, 0)", "(-2.5, 0)", "(10 * math.log(0.9), 0)"),
            "FoX fades the older write alone": FACTORS.format(NOPE, ALIBI, "(1, 0.9**-10)"),
            "upside down": FACTORS.format(NOPE, "(math.exp(2.5), 1)", "(0.9**-10, 1)"),
            "older before nearest": FACTORS.format(NOPE, "(1, math.exp(-2.5))", "(1, 0.9**10)"),
            "both ratios fall": FACTORS.format(
                NOPE, "(math.exp(-2.5), math.exp(-2.5))", "(0.9**10, 0.9**10)"
            ),
            "the distance itself, not what was added": FACTORS.format(
                NOPE, "(math.exp(-17 / 4), 1)", "(0.9**17, 1)"
            ),
            "eleven tokens": FACTORS.format(NOPE, "(math.exp(-11 / 4), 1)", FOX),
            "nine gates": FACTORS.format(NOPE, ALIBI, "(0.9**9, 1)"),
            "a slope of 4": FACTORS.format(NOPE, "(math.exp(-40), 1)", FOX),
            "what is forgotten, not kept": FACTORS.format(NOPE, ALIBI, "(0.1**10, 1)"),
            "a power of two": FACTORS.format(NOPE, "(2**-2.5, 1)", FOX),
            "one gate for ten tokens": FACTORS.format(NOPE, ALIBI, "(0.9, 1)"),
            "rounded to one digit": FACTORS.format(NOPE, "(0.08, 1)", "(0.3, 1)"),
            "weights, not ratios: nope loses too": FACTORS.format("(7 / 17, 7 / 17)", ALIBI, FOX),
            "differences for factors": FACTORS.format("(0, 0)", "(-2.5, 0)", "(-1.05, 0)"),
            "a single number each": FACTORS.format("1", "math.exp(-2.5)", "0.9**10"),
            "as text": FACTORS.format('("1", "1")', '("e^-2.5", "1")', '("0.9^10", "1")'),
            "other names": FACTORS.format(NOPE, ALIBI, FOX).replace("nope", "NoPE"),
            "a list": "def factors():\n    return [(1, 1), (math.exp(-2.5), 1), (0.9**10, 1)]\n",
            "one rule left out": 'def factors():\n    return {"nope": (1, 1), "fox": (0.35, 1)}\n',
        },
    },
    "3.2": {
        "right": {
            "by trying slopes": """
def slope_window(gap, spacing, farthest):
    older = torch.arange(1, 201, dtype=torch.float64) * spacing
    low, high = 0.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if (-middle * older).exp().sum() > 1 else (low, middle)
    return [low, min(gap / (r - 1) for r in range(2, farthest + 1))]
""",
            "a tensor": "def slope_window(gap, spacing, farthest):\n"
            f"    return torch.tensor([{LOW}, {HIGH}])\n",
            "NumPy's numbers": "import numpy\n"
            + WINDOW.format("numpy.log(2) / spacing", "numpy.float32(gap / (farthest - 1))"),
        },
        "wrong": {
            "the next older write alone": WINDOW.format("0.0", HIGH),
            "a factor of e for a factor of two": WINDOW.format("1 / spacing", HIGH),
            "spacing forgotten": WINDOW.format("math.log(2)", HIGH),
            "distance counted from 0": WINDOW.format(LOW, "gap / farthest"),
            "off by one the other way": WINDOW.format(LOW, "gap / (farthest - 2)"),
            "ends exchanged": WINDOW.format(HIGH, LOW),
            "half of the gap": WINDOW.format(LOW, "gap / 2 / (farthest - 1)"),
            "the crowd, not one key": WINDOW.format(
                LOW, "math.log(1 + (1 - math.exp(-gap / farthest)) * math.exp(gap)) / farthest"
            ),
            "an empty window hidden": WINDOW.format(LOW, f"max({LOW}, {HIGH})"),
            "distance of the writes from the read": WINDOW.format("math.log(2) / farthest", HIGH),
            "the next two older writes": WINDOW.format(
                "math.log((1 + math.sqrt(5)) / 2) / spacing", HIGH
            ),
            "the next ten older writes": """
def slope_window(gap, spacing, farthest):
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        older = sum(math.exp(-middle * spacing * n) for n in range(1, 11))
        low, high = (middle, high) if older > 1 else (low, middle)
    return low, gap / (farthest - 1)
""",
            "a factor of three": WINDOW.format("math.log(3) / spacing", HIGH),
            "a logarithm to base ten": WINDOW.format("math.log10(2) / spacing", HIGH),
            "x for the slope": WINDOW.format("0.5 / spacing", HIGH),
            "the sign of the logarithm": WINDOW.format("math.log(1 / 2) / spacing", HIGH),
            "spacing multiplied": WINDOW.format("math.log(2) * spacing", HIGH),
            "spacing counted from 1": WINDOW.format("math.log(2) / (spacing - 1 + 1e-9)", HIGH),
            "the gap left out": WINDOW.format(LOW, "1 / (farthest - 1)"),
            "the gap added": WINDOW.format(LOW, "gap / (farthest - 1) + 1 / farthest"),
            "the nearest relevant key": WINDOW.format(LOW, "gap"),
            "the gap as odds": WINDOW.format(LOW, "math.log(gap) / (farthest - 1)"),
            "recency limits the steepest too": WINDOW.format(
                LOW, "gap / (farthest - spacing)"
            ).replace("farthest - spacing", "max(1, farthest - spacing)"),
            "whole-number division": WINDOW.format(LOW, "gap // (farthest - 1)"),
            "rounded to two digits": WINDOW.format(f"round({LOW}, 2)", f"round({HIGH}, 2)"),
            "slopes up to 1 only": WINDOW.format(f"min(1, {LOW})", f"min(1, {HIGH})"),
            "the smaller one first": """
def slope_window(gap, spacing, farthest):
    return sorted([math.log(2) / spacing, gap / (farthest - 1)])
""",
            "None if there is no slope": """
def slope_window(gap, spacing, farthest):
    low, high = math.log(2) / spacing, gap / (farthest - 1)
    return (low, high) if low <= high else None
""",
            "the middle of the window": """
def slope_window(gap, spacing, farthest):
    return (math.log(2) / spacing + gap / (farthest - 1)) / 2
""",
        },
    },
    "3.3": {
        "right": {
            "shut at the written bit itself": GATES.format(
                "log_forget[1:][tokens[:-1] == tasks.WRITE] = math.log(1e-6)"
            ),
            "just a thousandth": GATES.format(
                "log_forget[tokens == tasks.WRITE] = math.log(1 / 1000)"
            ),
            "half at the w, half at its bit": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -4.0\n"
                "    log_forget[1:][tokens[:-1] == tasks.WRITE] = -4.0"
            ),
            "whole numbers": "def gates(tokens):\n    return -30 * (tokens == tasks.WRITE)\n",
            "all that the latest write may lose, at the first token after it": GATES.format(
                "log_forget[2:][tokens[:-2] == tasks.WRITE] = -0.05\n"
                "    log_forget[tokens == tasks.WRITE] = -20.0"
            ),
            "so nearly open that nobody notices": GATES.format(
                "log_forget = torch.where(tokens == tasks.WRITE, -20.0, -1e-12)"
            ),
        },
        "wrong": {
            "shut one token after the written bit": GATES.format(
                "log_forget[2:][tokens[:-2] == tasks.WRITE] = -20.0"
            ),
            "shut at what is to be ignored": GATES.format(
                "log_forget[tokens == tasks.IGNORE] = -20.0"
            ),
            "shut at reads": GATES.format("log_forget[tokens == tasks.READ] = -20.0"),
            "shut at writes and reads": GATES.format("log_forget[tokens <= tasks.READ] = -20.0"),
            "open everywhere": GATES.format("pass"),
            "half open everywhere, as ALiBi": GATES.format("log_forget -= math.log(2)"),
            "nearly open where it does not matter": GATES.format(
                "log_forget[:] = torch.where(tokens == tasks.WRITE, -20.0, -0.01)"
            ),
            "f in place of log f": GATES.format(
                "log_forget[:] = torch.where(tokens == tasks.WRITE, 1e-6, 1.0)"
            ),
            "shut too little": GATES.format("log_forget[tokens == tasks.WRITE] = math.log(0.1)"),
            "shut at the last write only": GATES.format(
                "log_forget[(tokens == tasks.WRITE).nonzero()[-1]] = -20.0"
            ),
            "log 0": GATES.format("log_forget[tokens == tasks.WRITE] = -math.inf"),
            "-0.01 at each read": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -20.0\n"
                "    log_forget[tokens == tasks.READ] = -0.01"
            ),
            "-0.001 at each ignore": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -20.0\n"
                "    log_forget[tokens == tasks.IGNORE] = -0.001"
            ),
            "-0.001 at each 1": GATES.format(
                "log_forget[tokens == 4] = -0.001\n    log_forget[tokens == tasks.WRITE] = -20.0"
            ),
            "-0.001 at each 0": GATES.format(
                "log_forget[tokens == 3] = -0.001\n    log_forget[tokens == tasks.WRITE] = -20.0"
            ),
            "-0.0001 after the read's bit": GATES.format(
                "log_forget[2:][tokens[:-2] == tasks.READ] = -0.0001\n"
                "    log_forget[tokens == tasks.WRITE] = -20.0"
            ),
            "gates of a sigmoid, open at 5": GATES.format(
                "log_forget = torch.where(tokens == tasks.WRITE, -20.0, 5.0)\n"
                "    log_forget = torch.nn.functional.logsigmoid(log_forget)"
            ),
            "f = 1/100": GATES.format("log_forget[tokens == tasks.WRITE] = math.log(0.01)"),
            "a logarithm to base ten": GATES.format(
                "log_forget[tokens == tasks.WRITE] = math.log10(0.001)"
            ),
            "minus a thousandth": GATES.format("log_forget[tokens == tasks.WRITE] = -0.001"),
            "a bonus, not a loss": GATES.format("log_forget[tokens == tasks.WRITE] = 20.0"),
            "a bonus at the written bit": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -20.0\n"
                "    log_forget[1:][tokens[:-1] == tasks.WRITE] = 5.0"
            ),
            "shut only where the bit changes": GATES.format(
                "stored = None\n"
                "    for i in range(1, len(tokens)):\n"
                "        if tokens[i - 1] == tasks.WRITE:\n"
                "            if stored is not None and stored != tokens[i]:\n"
                "                log_forget[i] = -20.0\n"
                "            stored = tokens[i]"
            ),
            "shut only at the first write": GATES.format("log_forget[0] = -20.0"),
            "shut at every second write": GATES.format(
                "log_forget[(tokens == tasks.WRITE).nonzero()[1::2]] = -20.0"
            ),
            "shut at a write that follows a read only": GATES.format(
                "after_read = tokens.roll(2) == tasks.READ\n"
                "    log_forget[(tokens == tasks.WRITE) & after_read] = -20.0"
            ),
            "shut before the w": GATES.format("log_forget[:-1][tokens[1:] == tasks.WRITE] = -20.0"),
            "stronger the longer the string": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -len(tokens) - 10.0"
            ),
            "older writes fade with time": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -20.0\n    log_forget -= 0.1 / len(tokens)"
            ),
            "NaN at the bits": GATES.format(
                "log_forget[tokens == tasks.WRITE] = -20.0\n    log_forget[tokens > 2] = math.nan"
            ),
            "a number": "def gates(tokens):\n    return -20.0\n",
            "one gate an instruction": GATES.format(
                "log_forget = torch.where(tokens[::2] == tasks.WRITE, -20.0, 0.0)"
            ),
        },
    },
}

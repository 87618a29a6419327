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
    for name, given in {"nope": {}, "alibi": {"m": 1 / 4}, "fox": {"f": 0.9}}.items():
        lost = bias(17, **given) - bias(7, **given)
        answer[name] = [math.exp(lost), math.exp(lost - lost)]
    return answer
""",
        },
        "wrong": {
            "dilution changes the ranking": FACTORS.format("(0.5, 1)", ALIBI, FOX),
            "distance helps": FACTORS.format(NOPE, "(math.exp(2.5), 1)", FOX),
            "the bias as a factor": FACTORS.format(NOPE, "(-2.5, 1)", FOX),
            "slope for each token, not in the exponent": FACTORS.format(NOPE, "(0.75**10, 1)", FOX),
            "the older write fades against the latest": FACTORS.format(
                NOPE, "(math.exp(-2.5), math.exp(2.5))", FOX
            ),
            "five orders for ten tokens": FACTORS.format(
                NOPE, "(math.exp(-1.25), 1)", "(0.9**5, 1)"
            ),
            "one gate too many": FACTORS.format(NOPE, ALIBI, "(0.9**11, 1)"),
            "gates added": FACTORS.format(NOPE, ALIBI, "(1 - 10 * 0.1, 1)"),
            "logits, not factors": FACTORS.format("(0, 0)", "(-2.5, 0)", "(10 * math.log(0.9), 0)"),
            "FoX fades the older write alone": FACTORS.format(NOPE, ALIBI, "(1, 0.9**-10)"),
        },
    },
    "3.2": {
        "right": {
            "by trying slopes": """
def slope_window(gap, spacing, farthest):
    older = torch.arange(1, 3001, dtype=torch.float64) * spacing
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (-middle * older).exp().sum() > 1 else (low, middle)
    return [low, min(gap / (r - 1) for r in range(2, farthest + 1))]
""",
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
        },
    },
    "3.3": {
        "right": {
            "shut at the written bit itself": GATES.format(
                "log_forget[1:][tokens[:-1] == tasks.WRITE] = math.log(1e-6)"
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
            "nearly open where it matters not": GATES.format(
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
        },
    },
}

"""Answers to the exercises of notebook 06: right ones, and wrong ones named by their mistake."""

LOST = """
def logit_lost(scores, log_forget, p_one, d):
    w, r, i, zero, one = {keeps}
    return {lost}
"""
KEEPS = "(scores > 0).double().tolist()"
RHO = "(i / 2 + (1 - p_one) / 2 * zero + p_one / 2 * one)"
RANKS = """
def ranks(alive, tokens):
    place = torch.arange(len(tokens))
    latest = torch.where(tokens == WRITE, place, 0).cummax(0).values
    reads = tokens == READ
    between = (place > latest[reads][:, None] + 1) & (place <= place[reads][:, None])
    return 1 + (alive[:, reads] & between).sum(-1)
"""
SEARCH = """
def shortest_error(answer, longest):
    for length in range(3, longest + 1):
        for letters in product("wri01", repeat=length - 1):
            text = "".join(letters) + "r"
            bits = re.findall("w([01])", text)
            if bits and answer(text) != bits[-1]:
                return text
    return None
"""


def lost(keeps=KEEPS, lost=f"-log_forget * {RHO} * d"):
    return LOST.format(keeps=keeps, lost=lost)


def ranks(old, new):
    """The right ranks with one piece replaced."""
    assert old in RANKS
    return RANKS.replace(old, new)


def search(old, new):
    """The right search with one piece replaced."""
    assert old in SEARCH
    return SEARCH.replace(old, new)


ANSWERS = {
    "6.1": {
        "right": {
            "a sum over all ignored tokens": """
def logit_lost(scores, log_forget, p_one, d):
    tokens = {2: d / 2, 3: d / 2 * (1 - p_one), 4: d / 2 * p_one}
    return sum(-log_forget * n for letter, n in tokens.items() if scores[letter] > 0)
""",
        },
        "wrong": {
            ">= for >": lost("(scores >= 0).double().tolist()"),
            "the i forgotten": lost(lost="-log_forget * ((1 - p_one) * zero + p_one * one) * d"),
            "three letters alike": lost(lost="-log_forget * (i + zero + one) / 3 * d"),
            "all five letters": lost(lost="-log_forget * (w + r + i + zero + one) / 5 * d"),
            "the bits are coins": lost(lost="-log_forget * (i / 2 + zero / 4 + one / 4) * d"),
            "zeros and ones swapped": lost(
                lost="-log_forget * (i / 2 + p_one / 2 * zero + (1 - p_one) / 2 * one) * d"
            ),
            "every token counts, as in ALiBi": lost(lost="-log_forget * d"),
            "a gain, not a loss": lost(lost=f"log_forget * {RHO} * d"),
            "f in place of its logarithm": lost(lost=f"2.718281828**log_forget * {RHO} * d"),
            "scores in place of survivors": lost("scores.clamp(min=0).tolist()"),
            "the share, not the loss": lost(lost=RHO),
            "orders, not tokens": lost(lost=f"-log_forget * {RHO} * d / 2"),
        },
    },
    "6.2": {
        "right": {
            "loops": """
def ranks(alive, tokens):
    found = torch.ones(len(alive), int((tokens == READ).sum()), dtype=torch.long)
    read = -1
    for i, token in enumerate(tokens.tolist()):
        written = i + 1 if token == WRITE else written
        if token == READ:
            read += 1
            for head in range(len(alive)):
                found[head, read] += alive[head, i, written + 1 : i + 1].sum()
    return found
""".replace("read = -1", "read, written = -1, 0"),
        },
        "wrong": {
            "older survivors too": ranks("(place > latest[reads][:, None] + 1) & ", ""),
            "the first write": ranks(
                "torch.where(tokens == WRITE, place, 0).cummax(0).values",
                "torch.zeros_like(place)",
            ),
            "the last write of the text": ranks(
                "torch.where(tokens == WRITE, place, 0).cummax(0).values",
                "torch.where(tokens == WRITE, place, 0).max().expand(len(tokens))",
            ),
            "from the w, not its bit": ranks(
                "place > latest[reads][:, None] + 1", "place >= latest[reads][:, None]"
            ),
            "the written bit only if it survives": ranks(
                "return 1 + (alive", "return (alive"
            ).replace("place > latest[reads][:, None] + 1", "place >= latest[reads][:, None] + 1"),
            "the key itself not counted": ranks("return 1 + (alive", "return (alive"),
            "later keys too": ranks(" & (place <= place[reads][:, None])", ""),
            "the read itself left out": ranks("(place <= place", "(place < place"),
            "columns for rows": ranks("alive[:, reads]", "alive.mT[:, reads]"),
            "tokens, not survivors": ranks(
                "alive[:, reads] & between", "between.expand(3, -1, -1)"
            ),
            "a row a read, not a head": ranks(".sum(-1)", ".sum(-1).mT"),
        },
    },
    "6.3": {
        "right": {
            "from the right, without patterns": """
def shortest_error(answer, longest):
    texts = [""]
    for length in range(2, longest + 1):
        texts = [letter + text for text in texts for letter in "10irw"]
        for text in texts:
            places = [n for n in range(length - 2) if text[n] == "w" and text[n + 1] in "01"]
            if places and answer(text + "r") != text[places[-1] + 1]:
                return text + "r"
""",
        },
        "wrong": {
            "legal flip-flops only": """
def shortest_error(answer, longest):
    for length in range(4, longest + 1, 2):
        for n in range(200):
            tokens, _ = flip_flop(1, length, 0.5, torch.Generator().manual_seed(n))
            text = decode(tokens[0])
            if answer(text[:-1]) != text[-1]:
                return text[:-1]
""",
            "texts that ask nothing": search(
                "if bits and answer(text) != bits[-1]", 'if answer(text) != (bits or "?")[-1]'
            ),
            "texts that do not end in r": search(
                'repeat=length - 1):\n            text = "".join(letters) + "r"',
                'repeat=length):\n            text = "".join(letters)',
            ),
            "the longest first": search("range(3, longest + 1)", "range(longest, 2, -1)"),
            "one length too few": search("longest + 1", "longest"),
            "the first write, not the latest": search("bits[-1]", "bits[0]"),
            "any w ends the search for its bit": search(
                'bits = re.findall("w([01])", text)',
                'bits = [bit for bit in text[text.rfind("w") + 1 :] if bit in "01"][:1]',
            ),
            "a hundred texts at random": """
def shortest_error(answer, longest):
    draw = torch.Generator().manual_seed(0)
    for _ in range(100):
        letters = torch.randint(5, (longest - 1,), generator=draw)
        text = decode(letters) + "r"
        bits = re.findall("w([01])", text)
        if bits and answer(text) != bits[-1]:
            return text
""",
            "texts with one w only": search(
                "if bits and", 'if bits and text.count("w") == 1 and text[0] == "w" and'
            ),
            "never finds any": "def shortest_error(answer, longest):\n    return None\n",
        },
    },
}

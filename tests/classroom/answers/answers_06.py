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
            "a tensor": """
def logit_lost(scores, log_forget, p_one, d):
    share = torch.tensor([0, 0, 1, 1 - p_one, p_one]) / 2
    return -log_forget * d * share[scores > 0].sum()
""",
            "NumPy's number": """
import numpy


def logit_lost(scores, log_forget, p_one, d):
    counts = numpy.array([1, 1 - p_one, p_one]) * d / 2
    return -log_forget * numpy.dot(scores[2:].numpy() > 0, counts)
""",
        },
        "wrong": {
            ">= for >": lost("(scores >= 0).double().tolist()"),
            "the i forgotten": lost(lost="-log_forget * ((1 - p_one) * zero + p_one * one) * d"),
            "three tokens alike": lost(lost="-log_forget * (i + zero + one) / 3 * d"),
            "all five tokens": lost(lost="-log_forget * (w + r + i + zero + one) / 5 * d"),
            "the bits are coins": lost(lost="-log_forget * (i / 2 + zero / 4 + one / 4) * d"),
            "zeros and ones swapped": lost(
                lost="-log_forget * (i / 2 + p_one / 2 * zero + (1 - p_one) / 2 * one) * d"
            ),
            "every token counts, as in ALiBi": lost(lost="-log_forget * d"),
            "a gain, not a loss": lost(lost=f"log_forget * {RHO} * d"),
            "f in place of its logarithm": lost(lost=f"2.718281828**log_forget * {RHO} * d"),
            "scores in place of survivors": lost("scores.clamp(min=0).tolist()"),
            "the share, not the loss": lost(lost=RHO),
            "instructions, not tokens": lost(lost=f"-log_forget * {RHO} * d / 2"),
            "above 0.1, not above 0": lost("(scores > 0.1).double().tolist()"),
            "the size of a score, not its sign": lost("(scores != 0).double().tolist()"),
            "below 0, not above": lost("(scores < 0).double().tolist()"),
            "the other order of the letters": lost("(scores.flip(0) > 0).double().tolist()"),
            "w and r in place of i": lost(
                lost=f"-log_forget * {RHO.replace('i / 2', '(w + r) / 4')} * d"
            ),
            "the ones rounded to a whole number": lost(
                lost="-log_forget * (i * d / 2 + one * round(p_one * d / 2)"
                " + zero * (d / 2 - round(p_one * d / 2)))"
            ),
            "the ones rounded down": lost(
                lost="-log_forget * (i * d / 2 + one * int(p_one * d / 2)"
                " + zero * (d / 2 - int(p_one * d / 2)))"
            ),
            "ones are all that survives": lost(lost="-log_forget * p_one / 2 * one * d"),
            "bits not halved": lost(
                lost="-log_forget * (i / 2 + (1 - p_one) * zero + p_one * one) * d"
            ),
            "the written bit counts itself": lost(lost=f"-log_forget * ({RHO} * d + 1)"),
            "one token too few": lost(lost=f"-log_forget * {RHO} * (d - 1)"),
            "the square of the distance": lost(lost=f"-log_forget * ({RHO} * d) ** 2"),
            "a factor, not a loss of the logit": lost(
                lost=f"2.718281828 ** (log_forget * {RHO} * d)"
            ),
            "the forget factor to that power": lost(
                lost=f"1 - 2.718281828 ** (log_forget * {RHO} * d)"
            ),
            "20 tokens, whatever d": lost(lost=f"-log_forget * {RHO} * 20"),
            "only whole survivors": lost(lost=f"-log_forget * ({RHO} * d // 1)"),
            "nothing returned": lost().replace("    return", "    loss ="),
            "a loss for each letter": lost(
                lost="[-log_forget * d / 2 * keep for keep in (i, zero, one)]"
            ),
        },
    },
    "6.2": {
        "right": {
            "loops": """
def ranks(alive, tokens):
    result = torch.ones(len(alive), int((tokens == READ).sum()), dtype=torch.long)
    read = -1
    written = 0
    for i, token in enumerate(tokens.tolist()):
        if token == WRITE:
            written = i + 1
        if token == READ:
            read += 1
            for head in range(len(alive)):
                result[head, read] += alive[head, i, written + 1 : i + 1].sum()
    return result
""",
            "differences of a running sum": """
def ranks(alive, tokens):
    survivors = alive.cumsum(-1)
    reads = (tokens == READ).nonzero().flatten()
    place = torch.arange(len(tokens))
    written = (torch.where(tokens == WRITE, place, 0).cummax(0).values + 1)[reads]
    return 1 + survivors[:, reads, reads] - survivors[:, reads, written]
""",
            "in int16": RANKS.replace(".sum(-1)", ".sum(-1).to(torch.int16)"),
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
            "one head loses its dimension": ranks(".sum(-1)", ".sum(-1).squeeze()"),
            "the first head for all": ranks("alive[:, reads]", "alive[:1, reads]"),
            "the mean over the heads": ranks(
                "return ", "alive = alive.double().mean(0, keepdim=True)\n    return "
            ),
            "in int8, too small for long texts": ranks(".sum(-1)", ".sum(-1).to(torch.int8)"),
            "the text of a head of 30 tokens only": ranks(
                "torch.arange(len(tokens))", "torch.arange(30)"
            ),
            "up to the read's bit": ranks(
                "(place <= place[reads][:, None])", "(place <= place[reads][:, None] + 1)"
            ),
            "one after the written bit": ranks(
                "latest[reads][:, None] + 1)", "latest[reads][:, None] + 2)"
            ),
            "after the first token": ranks("place > latest[reads][:, None] + 1", "place > 1"),
            "an ignore counts as a write": ranks(
                "tokens == WRITE", "(tokens == WRITE) | (tokens == 2)"
            ),
            "an earlier read counts as a write": ranks(
                "torch.where(tokens == WRITE, place, 0).cummax(0).values",
                "torch.where(tokens <= READ, place, 0).roll(1).cummax(0).values",
            ),
            "only survivors that are bits": ranks("& between", "& between & (tokens > 2)"),
            "only survivors that were ignored": ranks(
                "& between", "& between & (tokens.roll(1) == 2)"
            ),
            "only instructions": ranks("& between", "& between & (tokens < 3)"),
            "the removed keys": ranks("(alive[", "(~alive["),
            "the row of the read's bit": ranks("alive[:, reads]", "alive.roll(-1, 1)[:, reads]"),
            "the reads from last to first": ranks(".sum(-1)", ".sum(-1).flip(-1)"),
            "at every token": ranks("reads = tokens == READ", "reads = tokens >= 0"),
            "the last read only": ranks(".sum(-1)", ".sum(-1)[:, -1:]"),
            "read and write exchanged": ranks(
                "place > latest[reads][:, None] + 1", "place < latest[reads][:, None] + 1"
            ),
            "shares, not counts": ranks(".sum(-1)", ".double().mean(-1)"),
            "a causal mask written into alive": ranks(
                "    place =", "    alive.tril_()\n    place ="
            ),
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
            "the least of all errors": """
def shortest_error(answer, longest):
    texts = ["".join(t) + "r" for n in range(2, longest) for t in product("10irw", repeat=n)]
    written = {text: re.findall("w([01])", text)[-1:] for text in texts}
    errors = [text for text in texts if written[text] and answer(text) != written[text][0]]
    return min(errors, key=len, default=None)
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
            "texts without a write count as errors": search(
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
            "up to five tokens, whatever longest": search("range(3, longest + 1)", "range(3, 6)"),
            "up to six tokens, whatever longest": search("range(3, longest + 1)", "range(3, 7)"),
            "as long as it takes": search("range(3, longest + 1)", "range(3, 7)").replace(
                "return None", "return text"
            ),
            "longest counts the letters before the r": search(
                "range(3, longest + 1)", "range(3, longest + 2)"
            ),
            "only texts of the full length": search("range(3, longest + 1)", "[longest]"),
            "even lengths only": search("range(3, longest + 1)", "range(4, longest + 1, 2)"),
            "from four tokens on": search("range(3, longest + 1)", "range(4, longest + 1)"),
            "no letter twice": search(
                'product("wri01", repeat=length - 1)', 'permutations("wri01", length - 1)'
            ).replace("def", "from itertools import permutations\n\n\ndef", 1),
            "letters in one order only": search(
                'product("wri01", repeat=length - 1)',
                'combinations_with_replacement("wri01", length - 1)',
            ).replace("def", "from itertools import combinations_with_replacement\n\n\ndef", 1),
            "no read before the last": search('"wri01"', '"wi01"'),
            "no ignores": search('"wri01"', '"wr01"'),
            "texts that begin with w": search("if bits and", 'if bits and text[0] == "w" and'),
            "texts in which every w has a bit": search(
                "if bits and", 'if bits and len(bits) == text.count("w") and'
            ),
            "written ones only": search("if bits and", 'if bits and bits[-1] == "1" and'),
            "written zeros only": search("if bits and", 'if bits and bits[-1] == "0" and'),
            "the bit before the read": search('"w([01])"', '"[01]"'),
            "w and bit need not touch": search('"w([01])"', '"w[ri]*([01])"'),
            "reads write too": search('"w([01])"', '"[wr]([01])"'),
            "only bits count as wrong answers": search(
                "answer(text) != bits[-1]", 'answer(text) == "10"[int(bits[-1])]'
            ),
            "the first three hundred texts of a length": search(
                'product("wri01", repeat=length - 1)',
                'list(product("wri01", repeat=length - 1))[:300]',
            ),
            "all errors": search("return text", "found.append(text)")
            .replace("    for length", "    found = []\n    for length")
            .replace("return None", "return found or None"),
            "text and answer": search("return text", "return text, answer(text)"),
            "without the r": search("return text", "return text[:-1]"),
            "the length": search("return text", "return length"),
            "tokens": search("return text", "return encode(text)"),
            "empty if there is none": search("return None", 'return ""'),
            "right answers": search("!= bits", "== bits"),
            "never finds any": "def shortest_error(answer, longest):\n    return None\n",
        },
    },
}

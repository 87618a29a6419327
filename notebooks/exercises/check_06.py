"""Checks of the exercises that follow notebook 06; each raises Wrong, or returns silently."""

import math
import re
from functools import cache
from itertools import product

import torch
from checking import Wrong, call, fresh, tensor

from tra_mini import decode, encode, flip_flop
from tra_mini.recipes import flip_flop_config
from tra_mini.starts import trained


def lost_by_loop(scores, log_forget, ones, d):
    """Each of the d ignored tokens that survives takes the gate off once."""
    lost, letters = 0.0, dict(zip("wri01", scores.tolist(), strict=True))
    for pair in range(d // 2):
        for letter in ("i", "1" if pair < ones else "0"):
            if letters[letter] > 0:
                lost -= log_forget
    return lost


def exercise_6_1(logit_lost):
    """Dictionaries of known signs first, then random ones."""
    generator, seed = fresh()
    signs = {"nobody": "", "i alone": "i", "0 alone": "0", "1 alone": "1", "w and r alone": "wr"}
    rows = {
        f"a read that keeps {who}": [0.5 if letter in kept else -0.5 for letter in "wri01"]
        for who, kept in signs.items()
    }
    rows["a read whose score for i is exactly 0"] = [1.0, 1.0, 0.0, -1.0, 1.0]
    for n in range(4):
        rows[f"random scores, number {n}"] = torch.randn(5, generator=generator).tolist()
    for where, row in rows.items():
        scores = torch.tensor(row)
        log_forget = -0.1 - 2 * torch.rand((), generator=generator).item()
        for ones, d in ((5, 20), (16, 40), (0, 20)):
            p_one = ones / (d // 2)
            expected = lost_by_loop(scores, log_forget, ones, d)
            lost = call(logit_lost, scores, log_forget, p_one, d)
            try:
                lost = float(lost)
            except (TypeError, ValueError, RuntimeError):
                raise Wrong(
                    f"logit_lost returns {type(lost).__name__}; expected: a number"
                ) from None
            if not math.isclose(lost, expected, rel_tol=1e-4, abs_tol=1e-4):
                shown = f"p_one {p_one:g}, d {d}, log_forget {log_forget:.2f}"
                told = "negative" if lost < 0 else "too little" if lost < expected else "too much"
                raise Wrong(f"{where} ({shown}): you find {lost:.3f}, {told} (seed {seed})")


def ranks_by_loop(alive, tokens):
    """1 + survivors after the latest written bit, up to the read, for each head and read."""
    text, ranks = decode(tokens), []
    for head in alive.tolist():
        ranks.append([])
        for i, letter in enumerate(text):
            if letter == "w":
                written = i + 1
            if letter == "r":
                ranks[-1].append(1 + sum(head[i][written + 1 : i + 1]))
    return ranks


def exercise_6_2(ranks):
    """Ranks on random survivors: shape, then each read of each head."""
    generator, seed = fresh()
    for p_ignore, length in ((0.2, 12), (0.2, 30), (0.6, 30), (0.9, 30)):
        tokens = flip_flop(1, length, p_ignore, generator)[0][0]
        alive = torch.rand(3, length, length, generator=generator) < 0.5
        expected = ranks_by_loop(alive, tokens)
        found = tensor(call(ranks, alive, tokens), (3, len(expected[0])), "ranks(alive, tokens)")
        reads = [i for i, letter in enumerate(decode(tokens)) if letter == "r"]
        for head, (right, ours) in enumerate(zip(expected, found.tolist(), strict=True)):
            for i, truth, given in zip(reads, right, ours, strict=True):
                if given != truth:
                    row = "".join(".*"[one] for one in alive[head, i].long().tolist())
                    told = f"the read at position {i} is told rank {given:g}"
                    told += ", too few" if given < truth else ", too many"
                    raise Wrong(f"{decode(tokens)} (text)\n{row} (survivors): {told} (seed {seed})")


def truth(text):
    """The bit directly behind the latest w that has one; None if the text is no question."""
    bits = re.findall("w([01])", text)
    return bits[-1] if bits and text[-1] == "r" else None


def questions(length):
    """All texts of this length that end in r and hold a written bit."""
    texts = ("".join(letters) + "r" for letters in product("wri01", repeat=length - 1))
    return [text for text in texts if truth(text)]


@cache
def trained_model():
    return trained(flip_flop_config("tra", seed=0)).requires_grad_(False)


@cache
def trained_answer(text):
    """What the trained model of notebook 06 puts after the last token of a text."""
    return decode(trained_model()(encode(text)[None])[0, -1:].argmax(-1))


def planted(generator):
    """Answers with known faults: what is wrong with them -> a function of the text."""

    def secret(length):
        texts = questions(length)
        return texts[torch.randint(len(texts), (1,), generator=generator).item()]

    one, *others = secret(5), secret(6), secret(6)
    blank = secret(4)
    bits = {"0": "1", "1": "0", None: "0"}
    return {
        "is always right": lambda text: truth(text) or "1",
        "always answers 1": lambda text: "1",
        "answers with the nearest bit": lambda text: ([*re.findall("[01]", text), "0"])[-1],
        "takes what is read for written": lambda text: ([*re.findall("[wr]([01])", text), "0"])[-1],
        "takes a bare w for a written 1": lambda text: (
            "1" if re.fullmatch(".*w[^01].*", text) else truth(text) or "1"
        ),
        "errs on three questions only": lambda text: (
            bits[truth(text)] if text in (one, *others) else truth(text) or "0"
        ),
        "once answers with no bit": lambda text: "w" if text == blank else truth(text) or "0",
    }


def exercise_6_3(shortest_error):
    """Answers with planted faults, of which one has none; then the trained model."""
    generator, seed = fresh()
    for what, answer in planted(generator).items():
        search(shortest_error, answer, f"a model that {what}", seed)
    search(shortest_error, trained_answer, "the trained model", seed)


def search(shortest_error, answer, who, seed):
    """What is found must be a question that is answered wrongly, none shorter; or None, rightly."""
    errors = (
        text for length in range(3, 6) for text in questions(length) if answer(text) != truth(text)
    )
    shortest = next(errors, None)
    found = call(shortest_error, answer, 5)
    if found is None and shortest is not None:
        raise Wrong(f"{who}: it errs on a text of {len(shortest)} tokens, which was not found")
    if found is None:
        return
    if not isinstance(found, str) or not set(found) <= set("wri01"):
        raise Wrong(f"{who}: {found!r} is no text over w r i 0 1, and not None")
    told = f"{who}: {found!r}"
    if truth(found) is None:
        raise Wrong(f"{told} is no question: it must end in r and hold a w with a bit behind it")
    if answer(found) == truth(found):
        raise Wrong(f"{told} is answered rightly, with {truth(found)} (seed {seed})")
    if len(found) > 5:
        raise Wrong(f"{told} is longer than was allowed")
    if len(found) > len(shortest):
        raise Wrong(f"{told} is an error, but it also errs on a shorter text (seed {seed})")

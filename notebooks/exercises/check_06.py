"""Checks of the exercises that follow notebook 06; each raises Wrong, or returns silently."""

import math
import re
from functools import cache
from itertools import product

import torch
from checking import Wrong, call, check, fresh, number, tensor

from tra_mini import decode, encode, flip_flop, trained


def lost_by_loop(scores, log_forget, p_one, d):
    """Each ignored token takes the gate off once if it survives; of the bits, a share is ones."""
    lost = 0.0
    score = dict(zip("wri01", scores.tolist(), strict=True))
    for _ in range(d // 2):
        for letter, share in (("i", 1.0), ("0", 1 - p_one), ("1", p_one)):
            if score[letter] > 0:
                lost -= log_forget * share
    return lost


IGNORED = ((0.5, 20), (0.8, 40), (0.0, 20), (1.0, 2), (0.37, 6), (0.3, 1000), (0.5, 0))  # p_one, d


@check
def exercise_6_1(logit_lost):
    """Dictionaries of known signs first, then random ones."""
    generator, seed = fresh()
    rows = {  # scores with w, r, i, 0, 1
        "a read that keeps nobody": [-0.5, -0.5, -0.5, -0.5, -0.5],
        "a read that keeps i alone": [-0.5, -0.5, 0.5, -0.5, -0.5],
        "a read that keeps 0 alone": [-0.5, -0.5, -0.5, 0.5, -0.5],
        "a read that keeps 1 alone": [-0.5, -0.5, -0.5, -0.5, 0.5],
        "a read that keeps w and r alone": [0.5, 0.5, -0.5, -0.5, -0.5],
        "a read whose score for i is exactly 0": [1.0, 1.0, 0.0, -1.0, 1.0],
        "a read whose scores are barely above 0": [1e-6, 1e-6, 1e-6, 1e-6, -1e-6],
    }
    for n in range(4):
        rows[f"random scores, number {n}"] = torch.randn(5, generator=generator).tolist()
    for where, row in rows.items():
        scores = torch.tensor(row)
        log_forget = -0.1 - 2 * torch.rand((), generator=generator).item()
        for p_one, d in IGNORED:
            expected = lost_by_loop(scores, log_forget, p_one, d)
            lost = number(call(logit_lost, scores, log_forget, p_one, d), "logit_lost(...)")
            if math.isclose(lost, expected, rel_tol=1e-4, abs_tol=1e-4):
                continue
            shown = f"{where} (p_one {p_one:g}, d {d}, log_forget {log_forget:.2f})"
            if lost < 0:
                raise Wrong(f"{shown}: you find {lost:.3f}, negative (seed {seed})")
            if lost < expected:
                raise Wrong(f"{shown}: you find {lost:.3f}, too little (seed {seed})")
            raise Wrong(f"{shown}: you find {lost:.3f}, too much (seed {seed})")


def ranks_by_loop(alive, tokens):
    """1 + survivors after the latest written bit, up to the read, for each head and read."""
    ranks = []
    for head in alive.tolist():
        ranks.append([])
        for i, letter in enumerate(decode(tokens)):
            if letter == "w":
                written = i + 1
            if letter == "r":
                ranks[-1].append(1 + sum(head[i][written + 1 : i + 1]))
    return ranks


@check
def exercise_6_2(ranks):
    """Ranks on random survivors: shape, then each read of each head."""
    generator, seed = fresh()
    for heads, length, p_ignore in ((3, 12, 0.2), (3, 30, 0.2), (1, 4, 0.2), (4, 30, 0.6)):
        tokens, _ = flip_flop(1, length, p_ignore, generator)
        alive = torch.rand(heads, length, length, generator=generator) < 0.5
        check_ranks(ranks, alive, tokens[0], seed)
    tokens = encode("w1" + 150 * "i0r1")  # a long text, and nothing is removed
    check_ranks(ranks, torch.ones(2, len(tokens), len(tokens), dtype=torch.bool), tokens, seed)


def check_ranks(ranks, alive, tokens, seed):
    """Each read of each head against the loop."""
    text = decode(tokens)
    reads = [i for i, letter in enumerate(text) if letter == "r"]
    expected = ranks_by_loop(alive, tokens)
    answer = tensor(call(ranks, alive, tokens), (len(alive), len(reads)), "ranks(alive, tokens)")
    for head, place in product(range(len(alive)), range(len(reads))):
        i = reads[place]
        rank = answer[head, place].item()
        told = f"the read at position {i} is said to have rank {rank:g}"
        if len(text) <= 30:
            row = "".join(".*"[survives] for survives in alive[head, i].long().tolist())
            told = f"{text} (text)\n{row} (survivors): {told}"
        if rank < expected[head][place]:
            raise Wrong(f"{told}, too few (seed {seed})")
        if rank > expected[head][place]:
            raise Wrong(f"{told}, too many (seed {seed})")


def truth(text):
    """The bit directly after the latest w that has one; None if the text is no question."""
    bits = re.findall("w([01])", text)
    if bits and text[-1] == "r":
        return bits[-1]
    return None


@cache
def questions(length):
    """All texts of this length that end in r and hold a written bit."""
    texts = ("".join(letters) + "r" for letters in product("wri01", repeat=length - 1))
    return [text for text in texts if truth(text)]


@cache
def trained_model():
    return trained("tra", seed=0).requires_grad_(False)


@cache
def trained_answer(text):
    """What the trained model of notebook 06 puts after the last token of a text."""
    return decode(trained_model()(encode(text)[None])[0, -1:].argmax(-1))


def planted(generator):
    """Answers with known faults: what is wrong with them -> a function of the text."""

    def question(length):
        """A question of so many tokens, drawn at random."""
        texts = questions(length)
        return texts[torch.randint(len(texts), (1,), generator=generator).item()]

    def wrong_on(*texts):
        """Right but for these texts."""

        def answer(text):
            if text in texts:
                return {"0": "1", "1": "0"}[truth(text)]
            return truth(text) or "0"

        return answer

    def latest(pattern):
        """Answers with the latest bit of this pattern."""
        return lambda text: ["0", *re.findall(pattern, text)][-1]

    def bare_w(text):
        if re.search("w[^01]", text):
            return "1"
        return truth(text) or "1"

    def no_bit(text):
        if text == blank:
            return "w"
        return truth(text) or "0"

    blank = question(4)
    return {
        "is always right": wrong_on(),
        "always answers 1": lambda text: "1",
        "always answers 0": lambda text: "0",
        "answers with the nearest bit": latest("[01]"),
        "takes what is read for written": latest("[wr]([01])"),
        "takes what is ignored for written": latest("[wi]([01])"),
        "takes a bare w for a written 1": bare_w,
        "errs on three questions only": wrong_on(question(5), question(6), question(6)),
        "errs on a single question of six tokens": wrong_on(question(6)),
        "errs on the last of all questions of five tokens": wrong_on(questions(5)[-1]),
        "errs on some questions that begin with an ignore": wrong_on("iw0r", "iw1r", "iww1r"),
        "once answers with no bit": no_bit,
    }


@check
def exercise_6_3(shortest_error):
    """Answers with planted faults, of which one has none; then the trained model."""
    generator, seed = fresh()
    for what, answer in planted(generator).items():
        search(shortest_error, answer, f"a model that {what}", 6, seed)
    search(shortest_error, trained_answer, "the trained model", 5, seed)


def search(shortest_error, answer, who, longest, seed):
    """Searches up to the shortest error, to one token less, and to longest; each must be right."""
    lengths = range(3, longest + 1)
    errors = (text for n in lengths for text in questions(n) if answer(text) != truth(text))
    shortest = next(errors, None)
    if shortest is None:
        check_error(call(shortest_error, answer, longest), answer, who, None, longest, seed)
        return
    for limit in (longest, len(shortest), len(shortest) - 1):
        check_error(call(shortest_error, answer, limit), answer, who, len(shortest), limit, seed)


def check_error(text, answer, who, shortest, longest, seed):
    """A text must be a question that is answered wrongly, none shorter; or None, if there is none.

    shortest: the length of a shortest error, None if there is none; longest: what was asked for
    """
    who = f"{who}, longest {longest}"
    if text is None:
        if shortest is not None and shortest <= longest:
            raise Wrong(f"{who}: it errs on a text of {shortest} tokens, which was not found")
        return
    if not isinstance(text, str) or not set(text) <= set("wri01"):
        raise Wrong(f"{who}: {str(text)[:40]!r} is no text over w r i 0 1, and not None")
    if truth(text) is None:
        raise Wrong(f"{who}: {text!r} is no question: no w with a bit after it, or no r at the end")
    if answer(text) == truth(text):
        raise Wrong(f"{who}: {text!r} is answered correctly, with {truth(text)} (seed {seed})")
    if len(text) > longest:
        raise Wrong(f"{who}: {text!r} is longer than was allowed (seed {seed})")
    if len(text) > shortest:
        raise Wrong(
            f"{who}: {text!r} is an error, but it also errs on a shorter text (seed {seed})"
        )

"""Checks of the exercises that follow notebook 06; each raises Wrong, or returns silently."""

import math
import re
from functools import cache
from itertools import product

import torch
from checking import Wrong, call, check, fresh, number, tensor

from tra_mini import decode, encode, flip_flop, trained


def lost_by_loop(scores, log_forget, p_one, ignored):
    """Each ignored token that survives costs the gate once; a share p_one of the bits is ones."""
    lost = 0.0
    score = dict(zip("wri01", scores.tolist(), strict=True))
    for _ in range(ignored // 2):
        for token, share in (("i", 1.0), ("0", 1 - p_one), ("1", p_one)):
            if score[token] > 0:
                lost -= log_forget * share
    return lost


# Shares of ones, and how many tokens are ignored.
IGNORED = ((0.5, 20), (0.8, 40), (0.0, 20), (1.0, 2), (0.37, 6), (0.3, 1000), (0.5, 0))


@check
def exercise_6_1(logit_lost):
    """Dictionaries of known signs first, then random ones."""
    generator, seed = fresh()
    rows = {  # scores with w, r, i, 0, 1
        "a read that keeps no token": [-0.5, -0.5, -0.5, -0.5, -0.5],
        "a read that keeps only i": [-0.5, -0.5, 0.5, -0.5, -0.5],
        "a read that keeps only 0": [-0.5, -0.5, -0.5, 0.5, -0.5],
        "a read that keeps only 1": [-0.5, -0.5, -0.5, -0.5, 0.5],
        "a read that keeps only w and r": [0.5, 0.5, -0.5, -0.5, -0.5],
        "a read whose score for i is exactly 0": [1.0, 1.0, 0.0, -1.0, 1.0],
        "a read whose scores are barely above 0": [1e-6, 1e-6, 1e-6, 1e-6, -1e-6],
    }
    for n in range(4):
        rows[f"random scores, number {n}"] = torch.randn(5, generator=generator).tolist()
    for where, row in rows.items():
        scores = torch.tensor(row)
        log_forget = -0.1 - 2 * torch.rand((), generator=generator).item()
        for p_one, ignored in IGNORED:
            expected = lost_by_loop(scores, log_forget, p_one, ignored)
            answer = call(logit_lost, scores, log_forget, p_one, ignored)
            lost = number(answer, "logit_lost(...)")
            if math.isclose(lost, expected, rel_tol=1e-4, abs_tol=1e-4):
                continue
            shown = f"{where} (p_one {p_one:g}, ignored {ignored}, log_forget {log_forget:.2f})"
            if lost < 0:
                raise Wrong(f"{shown}: {lost:.3f} is negative (seed {seed})")
            if lost < expected:
                raise Wrong(f"{shown}: {lost:.3f} is too little (seed {seed})")
            raise Wrong(f"{shown}: {lost:.3f} is too much (seed {seed})")


def ranks_by_loop(positive, tokens):
    """1 + survivors after the latest written bit, up to the read, for each head and read."""
    ranks = []
    for head in positive.tolist():
        ranks.append([])
        for i, token in enumerate(decode(tokens)):
            if token == "w":
                written = i + 1
            if token == "r":
                ranks[-1].append(1 + sum(head[i][written + 1 : i + 1]))
    return ranks


@check
def exercise_6_2(ranks):
    """Ranks on random survivors: shape, then each read of each head."""
    generator, seed = fresh()
    sizes = ((3, 12, 0.2), (3, 30, 0.2), (1, 4, 0.2), (4, 30, 0.6), (3, 200, 0.8))
    for heads, length, p_ignore in sizes:
        tokens, _ = flip_flop(1, length, p_ignore, generator)
        positive = torch.rand(heads, length, length, generator=generator) < 0.5
        check_ranks(ranks, positive, tokens[0], seed)
    tokens = encode("w1" + 150 * "i0r1")  # a long string, with nothing removed
    check_ranks(ranks, torch.ones(2, len(tokens), len(tokens), dtype=torch.bool), tokens, seed)


def check_ranks(ranks, positive, tokens, seed):
    """Each read of each head against the loop."""
    string = decode(tokens)
    reads = [i for i, token in enumerate(string) if token == "r"]
    expected = ranks_by_loop(positive, tokens)
    shape = (len(positive), len(reads))
    answer = tensor(call(ranks, positive, tokens), shape, "ranks(positive, tokens)")
    for head, place in product(range(len(positive)), range(len(reads))):
        i = reads[place]
        rank = answer[head, place].item()
        told = f"you give the read at position {i} rank {rank:g}"
        if len(string) <= 30:
            row = "".join(".*"[survives] for survives in positive[head, i].long().tolist())
            told = f"{string} (string)\n{row} (survivors): {told}"
        if rank < expected[head][place]:
            raise Wrong(f"{told}, which is too low (seed {seed})")
        if rank > expected[head][place]:
            raise Wrong(f"{told}, which is too high (seed {seed})")


def truth(string):
    """The bit directly after the latest w that has one; None if the string is no question."""
    bits = re.findall("w([01])", string)
    if bits and string[-1] == "r":
        return bits[-1]
    return None


@cache
def questions(length):
    """All strings of this length that end in r and hold a written bit."""
    strings = ("".join(tokens) + "r" for tokens in product("wri01", repeat=length - 1))
    return [string for string in strings if truth(string)]


@cache
def trained_model():
    return trained("tra", seed=0).requires_grad_(False)


@cache
def trained_answer(string):
    """What the trained model of notebook 06 puts after the last token of a string."""
    return decode(trained_model()(encode(string)[None])[0, -1:].argmax(-1))


def planted(generator):
    """Answers with known faults: what is wrong with them -> a function of the string."""

    def question(length):
        """A question of so many tokens, drawn at random."""
        strings = questions(length)
        return strings[torch.randint(len(strings), (1,), generator=generator).item()]

    def wrong_on(*strings):
        """Correct except on these strings."""

        def answer(string):
            if string in strings:
                return {"0": "1", "1": "0"}[truth(string)]
            return truth(string) or "0"

        return answer

    def latest(pattern):
        """Answers with the latest bit of this pattern."""
        return lambda string: ["0", *re.findall(pattern, string)][-1]

    def bare_w(string):
        if re.search("w[^01]", string):
            return "1"
        return truth(string) or "1"

    def no_bit(string):
        if string == blank:
            return "w"
        return truth(string) or "0"

    blank = question(4)
    return {
        "is always correct": wrong_on(),
        "always answers 1": lambda string: "1",
        "always answers 0": lambda string: "0",
        "answers with the nearest bit": latest("[01]"),
        "takes a read bit for a written one": latest("[wr]([01])"),
        "takes an ignored bit for a written one": latest("[wi]([01])"),
        "takes a bare w for a written 1": bare_w,
        "errs on three questions only": wrong_on(question(5), question(6), question(6)),
        "errs on a single question of six tokens": wrong_on(question(6)),
        "errs on the last of all questions of five tokens": wrong_on(questions(5)[-1]),
        "errs on some questions that begin with an ignore": wrong_on("iw0r", "iw1r", "iww1r"),
        "once answers with no bit": no_bit,
    }


@check
def exercise_6_3(shortest_error):
    """Answers with planted faults, and one without any; then the trained model."""
    generator, seed = fresh()
    for what, answer in planted(generator).items():
        search(shortest_error, answer, f"a model that {what}", 6, seed)
    search(shortest_error, trained_answer, "the trained model", 5, seed)


def search(shortest_error, answer, who, longest, seed):
    """Searches up to the shortest error, to one token less, and to longest; all must be correct."""
    lengths = range(3, longest + 1)
    errors = (string for n in lengths for string in questions(n) if answer(string) != truth(string))
    shortest = next(errors, None)
    if shortest is None:
        check_error(call(shortest_error, answer, longest), answer, who, None, longest, seed)
        return
    for limit in (longest, len(shortest), len(shortest) - 1):
        check_error(call(shortest_error, answer, limit), answer, who, len(shortest), limit, seed)


def check_error(string, answer, who, shortest, longest, seed):
    """The string must be a shortest question with a wrong answer; or None, if there is none.

    shortest: the length of a shortest error, None if there is none; longest: the longest allowed
    """
    who = f"{who}, longest {longest}"
    if string is None:
        if shortest is not None and shortest <= longest:
            raise Wrong(f"{who}: it errs on a string of {shortest} tokens, which you did not find")
        return
    if not isinstance(string, str) or not set(string) <= set("wri01"):
        raise Wrong(f"{who}: {str(string)[:40]!r} is neither a string over w r i 0 1 nor None")
    if truth(string) is None:
        raise Wrong(f"{who}: {string!r} lacks a w with a bit after it, or an r at the end")
    if answer(string) == truth(string):
        raise Wrong(f"{who}: {string!r} is answered correctly, with {truth(string)} (seed {seed})")
    if len(string) > longest:
        raise Wrong(f"{who}: {string!r} is longer than was allowed (seed {seed})")
    if len(string) > shortest:
        raise Wrong(f"{who}: {string!r} is an error, but there is a shorter one (seed {seed})")

"""Checks of the exercises that follow notebook 01; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, call, fresh, tensor

from tra_mini import decode, flip_flop


def exercise_1_1(hard_string):
    """A legal flip-flop string of 16 tokens whose last read two half-right readers get wrong."""
    text = call(hard_string)
    if not isinstance(text, str):
        raise Wrong(f"hard_string returns {type(text).__name__}; expected: a text like 'w1i0i1r1'")
    if len(text) != 16:
        raise Wrong(f"{text!r} has {len(text)} tokens; expected: 16")
    orders = [text[place : place + 2] for place in range(0, 16, 2)]
    for order in orders:
        if order[0] not in "wri" or order[1] not in "01":
            raise Wrong(f"{order!r} is no order; expected: one of w, r, i, and then a bit")
    if orders[0][0] != "w" or orders[-1][0] != "r":
        raise Wrong("the first order must be a write, the last a read")
    stored, votes = None, 0
    for place, order in enumerate(orders):
        if order[0] == "r" and order[1] != stored:
            raise Wrong(f"order {place + 1}, {order!r}, is not the bit of the latest write")
        stored = order[1] if order[0] == "w" else stored
        if order[0] != "i" and place < 7:
            votes += 1 if order[1] == "1" else -1
    if votes == 0:
        raise Wrong("content only: the bits after w and r are in a tie, which is not an error")
    if (votes > 0) == (stored == "1"):
        raise Wrong("content only: the majority of the bits after w and r gives the right answer")
    if orders[-2][1] == stored:
        raise Wrong("recency only: the bit just before the last read is the right answer")


def steps_by_loop(text):
    """How far back each read's written bit stands, in tokens; 0 where no read stands."""
    written, steps = None, []
    for position, letter in enumerate(text):
        written = position + 1 if letter == "w" else written
        steps.append(position - written if letter == "r" else 0)
    return steps


def exercise_1_2(steps_back):
    """Steps from each read to the bit of the latest write, on short strings, then on long ones."""
    generator, seed = fresh()
    for length in (4, 6, 8, 12, 64):
        tokens = flip_flop(12, length, 0.4, generator)[0]
        texts = [decode(row) for row in tokens]
        expected = [steps_by_loop(text) for text in texts]
        steps = tensor(call(steps_back, tokens), tokens.shape, "steps_back(tokens)")
        if steps.dtype not in (torch.int64, torch.int32):
            raise Wrong(f"steps_back(tokens) is {steps.dtype}; expected: whole numbers")
        for text, ours, theirs in zip(texts, expected, steps.tolist(), strict=True):
            for position, (right, found) in enumerate(zip(ours, theirs, strict=True)):
                if right != found:
                    raise Wrong(about_steps(text, position, found) + f" (seed {seed})")


def about_steps(text, position, found):
    """Which property a wrong number of steps breaks."""
    where = f"in {text!r}, position {position}: {found}"
    if text[position] != "r":
        return f"{where}; no read stands there, so 0 was expected"
    if found <= 0:
        return f"{where}; a read's written bit stands before it"
    reached = text[position - found] if found <= position else "nothing"
    if reached not in "01":
        return f"{where} steps back stands {reached!r}; count to the bit, not to its letter"
    order = text[position - found - 1 : position - found + 1]
    return f"{where} steps back stands the bit of {order!r}, not of the latest write"


def neighbours_by_loop(u):
    """RoPE on the pairs (0, 1), (2, 3), ... of u (T, D), from the formula; float64."""
    turned = torch.zeros_like(u)
    for i in range(u.shape[0]):
        for m in range(u.shape[1] // 2):
            angle = i * 10000 ** (-2 * m / u.shape[1])
            a, b = u[i, 2 * m].item(), u[i, 2 * m + 1].item()
            turned[i, 2 * m] = a * math.cos(angle) - b * math.sin(angle)
            turned[i, 2 * m + 1] = a * math.sin(angle) + b * math.cos(angle)
    return turned


def exercise_1_3(rotate_neighbours):
    """Lengths, pairs, rates, distances, then every number against the loop."""
    generator, seed = fresh()
    u = torch.randn(2, 3, 20, 8, generator=generator, dtype=torch.float64)
    expected = torch.stack([neighbours_by_loop(one) for one in u.flatten(0, 1)]).view_as(u)
    turned = tensor(call(rotate_neighbours, u), u.shape, "rotate_neighbours(u)")
    seeded = f" (seed {seed})"
    if not turned.is_floating_point():
        raise Wrong(f"rotate_neighbours(u) is {turned.dtype}; expected: floating point")
    if not same(turned[..., 0, :], u[..., 0, :]):
        raise Wrong("position 0 is turned by the angle 0: its numbers stay as they are" + seeded)
    if not same(turned.norm(dim=-1), u.norm(dim=-1)):
        raise Wrong("a turn keeps lengths; the length of a vector changed" + seeded)
    for m in range(4):  # a vector that lies in one pair stays in it
        alone = torch.zeros(20, 8, dtype=torch.float64)
        alone[:, 2 * m : 2 * m + 2] = u[0, 0, :, 2 * m : 2 * m + 2]
        inside = tensor(call(rotate_neighbours, alone), (20, 8))[:, 2 * m : 2 * m + 2]
        if not same(inside.norm(dim=-1), alone.norm(dim=-1)):
            raise Wrong(f"numbers {2 * m} and {2 * m + 1} must be a pair of their own")
    q, k = (u[0, head, :1].expand(20, 8).clone() for head in (0, 1))
    q, k = (tensor(call(rotate_neighbours, one), (20, 8)) for one in (q, k))
    S = q @ k.mT
    if not same(S[1:, 1:], S[:-1, :-1]):
        raise Wrong("a score must depend on the distance i - j alone, not on i" + seeded)
    for m in range(4):
        pair = slice(2 * m, 2 * m + 2)
        if not same(turned[..., pair], expected[..., pair]):
            raise Wrong(f"pair {m} is turned by another angle than the formula says" + seeded)


def same(ours, theirs):
    """Equal but for rounding."""
    return torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-4)


def models(generator):
    """Models of random tables: (what it does, tokens (B, T) -> logits (B, T, 5), does it leak?)."""
    table = torch.randn(5, 5, generator=generator)

    def past(tokens):
        """The mean of what came so far."""
        x = table[tokens]
        return x.cumsum(1) / torch.arange(1, tokens.shape[1] + 1)[:, None]

    def later(steps, scale=1.0):
        """Adds what stands so many tokens later."""

        def model(tokens):
            x = torch.zeros(*tokens.shape, 5)
            x[:, :-steps] = table[tokens[:, steps:]]
            return past(tokens) + scale * x

        return model

    def at_one_place(place):
        """Looks one token ahead at a single place."""

        def model(tokens):
            x = past(tokens)
            if place + 1 < tokens.shape[1]:
                x[:, place] = x[:, place] + table[tokens[:, place + 1]]
            return x

        return model

    def softmax_over_all(tokens):
        """Attention without a causal mask."""
        x = table[tokens]
        return (x @ x.mT / 2).softmax(-1) @ x

    def rounding(tokens):
        """Its sums are rounded a little differently when the future differs."""
        return past(tokens) + 1e-7 * table[tokens].sum(1, keepdim=True).tanh()

    return [
        ("sees only the past", past, False),
        ("sees only the past, and rounds differently (by 1e-7)", rounding, False),
        ("has no causal mask", softmax_over_all, True),
        ("looks one token ahead", later(1), True),
        ("looks one token ahead, weakly (by 0.01)", later(1, 0.01), True),
        ("looks five tokens ahead", later(5), True),
    ] + [(f"looks ahead at position {n} alone", at_one_place(n), True) for n in range(22)]


def exercise_1_4(leaks):
    """A test of causality, on models that are causal and on models that are not."""
    generator, seed = fresh()
    for what, model, truth in models(generator):
        found = call(leaks, model)
        if torch.is_tensor(found) and found.dtype == torch.bool and found.numel() == 1:
            found = found.item()
        if not isinstance(found, bool):
            raise Wrong(f"leaks(model) is {type(found).__name__}; expected: True or False")
        if found != truth:
            verdict = "passes as causal" if truth else "is called leaking"
            raise Wrong(f"a model that {what} {verdict} (seed {seed})")

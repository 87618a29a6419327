"""Checks of the exercises that follow notebook 01; each raises Wrong, or returns silently."""

import math

import torch
from checking import Wrong, boolean, call, check, fresh, gradients, lines_run, tensor
from torch.nn.functional import one_hot

from tra_mini import decode, flip_flop


@check
def exercise_1_1(hard_string):
    """A legal flip-flop string of 16 tokens whose last read two readers get wrong."""
    text = call(hard_string)
    if not isinstance(text, str):
        raise Wrong(f"hard_string returns {type(text).__name__}; expected: a str like 'w1i0i1r1'")
    if len(text) != 16:
        raise Wrong(f"{text!r} has {len(text)} tokens; expected: 16")
    pairs = [text[place : place + 2] for place in range(0, 16, 2)]
    for pair in pairs:
        if pair[0] not in "wri" or pair[1] not in "01":
            raise Wrong(f"{pair!r} is not legal; expected: an instruction (w, r or i), then a bit")
    if pairs[0][0] != "w" or pairs[-1][0] != "r":
        raise Wrong("the first instruction must be a write, the last a read")
    stored = None
    votes = 0  # above 0: more ones, below 0: more zeros
    for place, (instruction, bit) in enumerate(pairs):
        if instruction == "r" and bit != stored:
            raise Wrong(f"instruction {place + 1}, 'r{bit}': not the bit of the latest write")
        if instruction == "w":
            stored = bit
        if instruction != "i" and place < 7:
            votes += 2 * int(bit) - 1
    if votes == 0:
        raise Wrong("content only: the bits after w and r are tied, and a tie is no error")
    if (votes > 0) == (stored == "1"):
        raise Wrong("content only: the majority of the bits after w and r is the correct answer")
    if pairs[-2][1] == stored:
        raise Wrong("recency only: the bit just before the last read is the correct answer")


def steps_by_loop(text):
    """How many tokens back each read's written bit is; 0 where there is no read."""
    steps = [0] * len(text)
    for position, token in enumerate(text):
        if token == "w":
            written = position + 1
        if token == "r":
            steps[position] = position - written
    return steps


@check
def exercise_1_2(steps_back):
    """Short strings, a single one, long ones; then no loop over positions or strings."""
    generator, seed = fresh()
    for batch, length in ((12, 4), (12, 6), (12, 8), (12, 12), (1, 12), (12, 64)):
        check_steps(steps_back, flip_flop(batch, length, 0.4, generator)[0], seed)
    check_steps(steps_back, flip_flop(3, 1024, 0.98, generator)[0], seed)

    lines = {}
    for batch, length in ((4, 32), (4, 512), (64, 32)):
        tokens, _ = flip_flop(batch, length, 0.4, generator)
        lines[batch, length] = lines_run(steps_back, tokens)
    if lines[4, 512] > lines[4, 32] + 100:
        raise Wrong("a loop over positions: 512 tokens take more lines of Python than 32")
    if lines[64, 32] > lines[4, 32] + 30:
        raise Wrong("a loop over strings: 64 strings take more lines of Python than 4")


def check_steps(steps_back, tokens, seed):
    """Every number for a batch of strings against the loop."""
    steps = tensor(call(steps_back, tokens), tokens.shape, "steps_back(tokens)")
    if steps.is_floating_point() or steps.dtype == torch.bool:
        raise Wrong(f"steps_back(tokens) is {steps.dtype}; expected: whole numbers")
    for row, row_steps in zip(tokens, steps.tolist(), strict=True):
        text = decode(row)
        for position, expected in enumerate(steps_by_loop(text)):
            if row_steps[position] != expected:
                raise Wrong(about_steps(text, position, row_steps[position]) + f" (seed {seed})")


def about_steps(text, position, steps):
    """Which property a wrong number of steps breaks."""
    shown = repr(text)
    if len(text) > 64:
        shown = f"a string of {len(text)} tokens"
    where = f"in {shown}, position {position}: {steps}"
    if text[position] != "r":
        return f"{where}; there is no read, so 0 was expected"
    if steps <= 0:
        return f"{where}; a read's written bit comes before it"
    if steps > position:
        return f"{where} steps back there is no token"
    place = position - steps
    if text[place] not in "01":
        return f"{where} steps back is {text[place]!r}; count to the bit, not to its instruction"
    pair = text[place - 1 : place + 1]
    return f"{where} steps back is the bit of {pair!r}, not of the latest write"


def neighbours_by_loop(u):
    """RoPE on the pairs (0, 1), (2, 3), ... of u (..., T, D), pair by pair from the formula."""
    T, D = u.shape[-2:]
    turned = torch.zeros_like(u)
    for i in range(T):
        for p in range(D // 2):
            angle = i * 10000 ** (-2 * p / D)
            a, b = u[..., i, 2 * p], u[..., i, 2 * p + 1]
            turned[..., i, 2 * p] = a * math.cos(angle) - b * math.sin(angle)
            turned[..., i, 2 * p + 1] = a * math.sin(angle) + b * math.cos(angle)
    return turned


@check
def exercise_1_3(rotate_neighbours):
    """Properties of a turn for one shape; then other shapes and types, and the gradient."""
    generator, seed = fresh()
    u = torch.randn(2, 3, 20, 8, generator=generator, dtype=torch.float64)
    check_turn(rotate_neighbours, u, f" (seed {seed})")

    for shape in ((5, 2), (3, 7, 6), (1, 2, 1, 12), (2, 1, 2, 4, 16)):
        for dtype in (torch.float32, torch.float64):
            u = torch.randn(shape, generator=generator, dtype=dtype)
            if not same(turn(rotate_neighbours, u), neighbours_by_loop(u)):
                raise Wrong(f"correct for shape (2, 3, 20, 8), but not for {shape}, {dtype}")

    u = torch.randn(6, 8, generator=generator, requires_grad=True)
    pull = torch.randn(6, 8, generator=generator)
    [gradient] = gradients(call(rotate_neighbours, u), pull, [u])
    if not same(neighbours_by_loop(gradient), pull):  # pull turned back: turning restores it
        raise Wrong(f"the numbers are correct, but their gradient is not (seed {seed})")


def check_turn(rotate_neighbours, u, seeded):
    """Places, lengths, pairs, distances and angles, one property after the other."""
    expected = neighbours_by_loop(u)
    turned = turn(rotate_neighbours, u)
    if same(turned.sort(-1).values, expected.sort(-1).values) and not same(turned, expected):
        raise Wrong("correct numbers in wrong places: those of pair p belong at 2p and 2p + 1")
    if not same(turned[..., 0, :], u[..., 0, :]):
        raise Wrong("position 0 is turned by the angle 0, so its numbers must not change" + seeded)
    if not same(turned.norm(dim=-1), u.norm(dim=-1)):
        raise Wrong("turning a vector must not change its length" + seeded)
    for p in range(4):  # a vector that lies in one pair stays in it
        pair = slice(2 * p, 2 * p + 2)
        alone = torch.zeros(20, 8, dtype=torch.float64)
        alone[:, pair] = u[0, 0, :, pair]
        inside = turn(rotate_neighbours, alone)[:, pair]
        if not same(inside.norm(dim=-1), alone.norm(dim=-1)):
            raise Wrong(f"numbers {2 * p} and {2 * p + 1} must form a pair")
    q = turn(rotate_neighbours, u[0, 0, :1].repeat(20, 1))  # the same query everywhere
    k = turn(rotate_neighbours, u[0, 1, :1].repeat(20, 1))
    S = q @ k.mT
    if not same(S[1:, 1:], S[:-1, :-1]):
        raise Wrong("a score must depend only on the distance i - j, not on i" + seeded)
    for p in range(4):
        pair = slice(2 * p, 2 * p + 2)
        if not same(turned[..., pair], expected[..., pair]):
            raise Wrong(f"pair {p} is not turned by the angle of the formula" + seeded)


def turn(rotate_neighbours, u):
    """What the student's function returns for u, if it is a tensor of that shape."""
    turned = tensor(call(rotate_neighbours, u), u.shape, "rotate_neighbours(u)")
    if not turned.is_floating_point():
        raise Wrong(f"rotate_neighbours(u) is {turned.dtype}; expected: floating point")
    return turned


def same(ours, theirs):
    """Equal but for rounding."""
    return torch.allclose(ours.double(), theirs.double(), rtol=1e-4, atol=1e-4)


def models(generator):
    """A list of (what a model does, the model: tokens (B, T) -> (B, T, 5), whether it leaks)."""
    table = torch.randn(5, 5, generator=generator)

    def past(tokens):
        """The mean of the tokens so far."""
        x = table[tokens]
        return x.cumsum(1) / torch.arange(1, tokens.shape[1] + 1)[:, None]

    def rounding(size):
        """Its outputs differ by less than twice this size when the future differs."""
        return lambda tokens: past(tokens) + size * table[tokens].sum(1, keepdim=True).sin()

    def later(steps, size=1.0):
        """Adds this size to the output of the token so many places later."""

        def model(tokens):
            outputs = past(tokens)
            outputs[:, :-steps] += size * one_hot(tokens[:, steps:], 5)
            return outputs

        return model

    def at_one_place(place, size=1.0):
        """Looks one token ahead at a single place."""

        def model(tokens):
            outputs = past(tokens)
            if place + 1 < tokens.shape[1]:
                outputs[:, place] += size * one_hot(tokens[:, place + 1], 5)
            return outputs

        return model

    def softmax_over_all(tokens):
        """Attention without a causal mask."""
        x = table[tokens]
        return (x @ x.mT / 2).softmax(-1) @ x

    kinds = [
        ("sees only the past", past, False),
        ("sees only the past, with rounding of 1e-7", rounding(1e-7), False),
        ("sees only the past, with rounding of 0.00008", rounding(4e-5), False),
        ("has no causal mask", softmax_over_all, True),
        ("looks one token ahead", later(1), True),
        ("looks one token ahead, weakly (by 0.0002)", later(1, 2e-4), True),
        ("looks five tokens ahead", later(5), True),
        ("looks ahead weakly (by 0.0002) at position 9 alone", at_one_place(9, 2e-4), True),
    ]
    for place in range(22):
        kinds.append((f"looks ahead at position {place} alone", at_one_place(place), True))
    return kinds


@check
def exercise_1_4(leaks):
    """A test of causality, on models that are causal and on models that are not."""
    generator, seed = fresh()
    for what, model, leaking in models(generator):
        verdict = boolean(call(leaks, model), "leaks(model)")
        if verdict and not leaking:
            raise Wrong(f"a model that {what} is said to leak (seed {seed})")
        if leaking and not verdict:
            raise Wrong(f"a model that {what} is said not to leak (seed {seed})")

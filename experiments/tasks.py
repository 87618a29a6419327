"""Harder tasks than flip-flops, of the same form: tokens, scored = task(batch, length, generator).

Both are (batch, length); scored is True where the next token is an answer. Every task raises
ValueError for a batch below 1, an odd or too short length, and settings out of range.
"""

import torch
import torch.nn.functional as F

from tra_mini import flip_flop
from tra_mini.tasks import IGNORE, READ, WRITE, ZERO


def check(batch, length, shortest=4):
    """Raises ValueError for an impossible shape."""
    if not hasattr(batch, "__index__") or batch < 1:
        raise ValueError(f"batch is {batch}; allowed: 1 or more")
    if length < shortest or length % 2:
        raise ValueError(f"length is {length}; allowed: even numbers from {shortest}")


def check_number(name, number, least):
    """Raises ValueError for a setting that is no whole number, or below the least."""
    if not hasattr(number, "__index__") or number < least:
        raise ValueError(f"{name} is {number}; allowed: whole numbers from {least}")


def check_probability(name, p):
    """Raises ValueError for a setting that is no probability."""
    if not hasattr(p, "__float__") or not 0 <= p <= 1:
        raise ValueError(f"{name} is {p}; allowed: 0 to 1")


def draw_instructions(shape, p_ignore, n_first, generator):
    """Instructions as in flip_flop: n_first writes first, a read last, ignores by p_ignore."""
    draw = torch.rand(shape, generator=generator)
    instruction = torch.full(shape, IGNORE)
    instruction[draw >= p_ignore] = READ
    instruction[draw >= (1 + p_ignore) / 2] = WRITE
    instruction[:, :n_first] = WRITE
    instruction[:, -1] = READ
    return instruction


def registers(batch, length, generator, n_registers=4, p_ignore=0.5):
    """Flip-flops over K registers: each instruction names one (K = 1: flip_flop; Liu et al. 2023).

    Tokens: K writes, K reads, K ignores, the bits 0 and 1. The first K instructions write each
    register, the last reads one. Asks for the latest of the matching writes: content and recency.
    """
    K = n_registers
    check_number("n_registers", K, 1)
    check(batch, length, 2 * K + 2)
    check_probability("p_ignore", p_ignore)
    shape = (batch, length // 2)

    # Instructions, and the register that each names.
    instruction = draw_instructions(shape, p_ignore, K, generator)
    register = torch.randint(K, shape, generator=generator)
    register[:, :K] = torch.arange(K)

    # Bits: a read repeats that of the latest write to its register.
    bit = torch.randint(2, shape, generator=generator)
    written = F.one_hot(register, K) * (instruction == WRITE)[..., None]  # (batch, length / 2, K)
    latest = (written * torch.arange(shape[1])[:, None]).cummax(1).values
    latest = latest.gather(2, register[..., None])[..., 0]
    bit = torch.where(instruction == READ, bit.gather(1, latest), bit)

    tokens = torch.stack((instruction * K + register, 3 * K + bit), -1).flatten(1)
    return tokens, (tokens >= READ * K) & (tokens < IGNORE * K)


def vote(batch, length, generator, n_votes=3, p_ignore=0.8):
    """Flip-flops where a read asks for the majority of the latest n_votes written bits.

    Tokens as of flip_flop. The first n_votes instructions are writes, the last is a read.
    """
    check_number("n_votes", n_votes, 1)
    check(batch, length, 2 * n_votes + 2)
    check_probability("p_ignore", p_ignore)
    shape = (batch, length // 2)
    instruction = draw_instructions(shape, p_ignore, n_votes, generator)
    bit = torch.randint(2, shape, generator=generator)

    # ones[b, n]: how many of the first n writes are ones.
    writes = instruction == WRITE
    n_writes = writes.cumsum(1)
    ones = torch.zeros(batch, shape[1] + 1, dtype=torch.long)
    ones.scatter_reduce_(1, n_writes, (writes * bit).cumsum(1), "amax")

    # A read's bit: the majority of the latest writes, as a difference of two counts.
    latest = ones.gather(1, n_writes) - ones.gather(1, (n_writes - n_votes).clamp(min=0))
    bit = torch.where(instruction == READ, (2 * latest > n_votes).long(), bit)
    tokens = torch.stack((instruction, ZERO + bit), -1).flatten(1)
    return tokens, tokens == READ


def recall(batch, length, generator, n_keys=256, n_values=16):
    """Multi-query associative recall (Arora et al. 2023): key, value pairs, then keys to answer.

    Half of the string are pairs of distinct keys; the other half repeats some in another order.
    Tokens: n_keys keys, n_values values. Asks for one match among many keys of the same kind.
    """
    pairs = (length + 2) // 4
    check(batch, length)
    check_number("n_keys", n_keys, pairs)
    check_number("n_values", n_values, 2)
    keys = torch.rand(batch, n_keys, generator=generator).argsort(-1)[:, :pairs]
    values = n_keys + torch.randint(n_values, (batch, pairs), generator=generator)
    order = torch.rand(batch, pairs, generator=generator).argsort(-1)[:, : length // 2 - pairs]
    both = torch.stack((keys, values), -1)  # (batch, pairs, 2)
    again = both.gather(1, order[..., None].expand(-1, -1, 2))
    tokens = torch.cat((both, again), 1).flatten(1)
    return tokens, (tokens < n_keys) & (torch.arange(length) >= 2 * pairs)


def copy(batch, length, generator, n_symbols=16, unique=False):
    """A start, random symbols, a mark, the same symbols (Graves et al. 2014).

    unique: no symbol occurs twice. Tokens: n_symbols symbols, the start, the mark. Asks for the
    token a fixed number of places back; where symbols are unique, matching content serves too.
    """
    n = length // 2 - 1
    check(batch, length)
    if unique:
        check_number("n_symbols", n_symbols, n)
        symbols = torch.rand(batch, n_symbols, generator=generator).argsort(-1)[:, :n]
    else:
        check_number("n_symbols", n_symbols, 2)
        symbols = torch.randint(n_symbols, (batch, n), generator=generator)
    start = torch.full((batch, 1), n_symbols)
    tokens = torch.cat((start, symbols, start + 1, symbols), 1)
    place = torch.arange(length).expand(batch, -1)
    return tokens, (place > n) & (place < length - 1)


def with_question(body, question, answer):
    """body (batch, length - 2), a question, its answer (batch,) -> tokens, scored: one place."""
    tokens = torch.cat((body, torch.full_like(body[:, :1], question), answer[:, None]), 1)
    return tokens, tokens == question


def count(batch, length, generator, modulus=5, p_reset=0.1):
    """How many of a symbol there were since the last reset, modulo m (Deletang et al. 2023).

    Tokens: the answers 0 ... m - 1, the symbol, another, the reset (which comes first), the
    question. Asks for a sum, where attention takes a mean.
    """
    check(batch, length)
    check_number("modulus", modulus, 2)
    check_probability("p_reset", p_reset)
    body = modulus + torch.randint(2, (batch, length - 2), generator=generator)
    reset = torch.rand(body.shape, generator=generator) < p_reset
    reset[:, 0] = True
    body[reset] = modulus + 2
    total = (body == modulus).cumsum(-1)
    since = total[:, -1] - torch.where(reset, total, 0).amax(-1)
    return with_question(body, modulus + 3, since % modulus)


def parity(batch, length, generator):
    """Whether the number of ones is odd (Hahn 2020). Tokens: 0, 1, the question.

    Asks for every token alike: one changed bit changes the answer. A negative control.
    """
    check(batch, length)
    bits = torch.randint(2, (batch, length - 2), generator=generator)
    return with_question(bits, 2, bits.sum(-1) % 2)


def max_retrieval(batch, length, generator, n_levels=10, n_classes=10):
    """The class of the item of highest priority (after Velickovic et al. 2024, sec. 3).

    There priorities are real numbers. Here an item is one token, level * n_classes + class, and
    the highest level occurs once, so that there is one answer at any length. Then come the question
    and n_classes answers. Asks for one key among many close rivals: it measures dispersion.
    """
    check(batch, length)
    check_number("n_levels", n_levels, 2)
    check_number("n_classes", n_classes, 2)
    rows = torch.arange(batch)
    highest = torch.randint(1, n_levels, (batch,), generator=generator)
    level = torch.rand(batch, length - 2, generator=generator) * highest[:, None]
    level = level.long()
    best = torch.randint(length - 2, (batch,), generator=generator)
    level[rows, best] = highest
    kind = torch.randint(n_classes, (batch, length - 2), generator=generator)
    question = n_levels * n_classes
    answer = question + 1 + kind[rows, best]
    return with_question(level * n_classes + kind, question, answer)


TASKS = {
    "flip_flop": flip_flop,
    "registers": registers,
    "vote": vote,
    "recall": recall,
    "copy": copy,
    "count": count,
    "parity": parity,
    "max_retrieval": max_retrieval,
}

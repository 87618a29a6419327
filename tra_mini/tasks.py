"""Tasks: (batch, length, ..., generator) -> tokens and which of them are scored.

Both are (batch, length); scored is True where the next token is an answer. Every task raises
ValueError for a batch below 1, an odd length or one below 4, and settings outside their range.
"""

import torch
import torch.nn.functional as F

from tra_mini.harder import check, check_share, copy, count, max_retrieval, parity, recall

VOCABULARY = "wri01"  # write, read, ignore, and the two bits; a token is an index into it
WRITE, READ, IGNORE, ZERO = range(4)


def instructions(shape, p_ignore, generator, first=1):
    """Each an ignore with probability p_ignore, else evenly a read or a write; (batch, n).

    But the first so many are writes, and the last is a read.
    """
    draw = torch.rand(shape, generator=generator)
    instruction = torch.full(shape, IGNORE)
    instruction[draw >= p_ignore] = READ
    instruction[draw >= (1 + p_ignore) / 2] = WRITE
    instruction[:, :first], instruction[:, -1] = WRITE, READ
    return instruction


def flip_flop(batch, length, p_ignore, generator):
    """Flip-flop strings (Liu et al. 2023): write, read and ignore instructions, each before a bit.

    A read's bit is that of the latest write; every other bit is a coin's. The first instruction is
    a write, the last a read, each between an ignore with probability p_ignore, else either evenly.
    Returns tokens (batch, length) over VOCABULARY, and scored (batch, length) bool, True where the
    next token is a read's bit. Asks of attention: what is relevant, and of that the latest.
    """
    check(batch, length)
    check_share("p_ignore", p_ignore)
    shape = (batch, length // 2)
    instruction = instructions(shape, p_ignore, generator)
    bit = torch.randint(2, shape, generator=generator)
    place = torch.arange(shape[1]).expand(shape)
    latest_write = torch.where(instruction == WRITE, place, 0).cummax(-1).values
    bit = torch.where(instruction == READ, bit.gather(-1, latest_write), bit)
    tokens = torch.stack((instruction, ZERO + bit), -1).flatten(1)  # (batch, length)
    return tokens, tokens == READ


def registers(batch, length, generator, n_registers=4, p_ignore=0.5):
    """Flip-flops over K registers: each instruction names one (K = 1: flip_flop; Liu et al. 2023).

    Tokens: K writes, K reads, K ignores, the bits 0 and 1. The first K instructions write each
    register, the last reads one. Asks for the latest of the matching writes: content and recency.
    Here ValueError for a length below 2K + 2 too.
    """
    K = n_registers
    check(batch, length, 2 * K + 2, n_registers=(K, 1))
    check_share("p_ignore", p_ignore)
    shape = (batch, length // 2)
    instruction = instructions(shape, p_ignore, generator, first=K)
    register = torch.randint(K, shape, generator=generator)
    register[:, :K] = torch.arange(K)
    bit = torch.randint(2, shape, generator=generator)
    of = F.one_hot(register, K) * (instruction == WRITE)[..., None]  # (batch, length / 2, K)
    latest = (of * torch.arange(shape[1])[:, None]).cummax(1).values.gather(2, register[..., None])
    bit = torch.where(instruction == READ, bit.gather(1, latest[..., 0]), bit)
    tokens = torch.stack((instruction * K + register, 3 * K + bit), -1).flatten(1)
    return tokens, (tokens >= READ * K) & (tokens < IGNORE * K)


def encode(text):
    """The published text form, such as "w0i1r0" -> tokens (length,). ValueError for other text."""
    unknown = sorted(set(text) - set(VOCABULARY))
    if unknown:
        found = "".join(unknown)
        raise ValueError(f"text contains {found!r}; allowed: characters of {VOCABULARY!r}")
    return torch.tensor([VOCABULARY.index(character) for character in text], dtype=torch.long)


def decode(tokens):
    """tokens (length,) -> the published text form; the inverse of encode. ValueError for others."""
    unknown = sorted(set(tokens.tolist()) - set(range(len(VOCABULARY))))
    if unknown:
        raise ValueError(f"tokens contain {unknown}; allowed: 0 ... {len(VOCABULARY) - 1}")
    return "".join(VOCABULARY[token] for token in tokens.tolist())


TASKS = {
    task.__name__: task
    for task in (flip_flop, registers, recall, copy, count, parity, max_retrieval)
}

"""Tasks: (batch, length, generator) -> tokens and which of them are scored."""

import torch

VOCABULARY = "wri01"  # write, read, ignore, and the two bits; a token is an index into it
WRITE, READ, IGNORE, ZERO = range(4)


def flip_flop(batch, length, p_ignore, generator):
    """Flip-flop strings (Liu et al. 2023): write, read and ignore instructions, each before a bit.

    A read's bit is that of the latest write; every other bit is a coin's. The first instruction is
    a write, the last a read, each between an ignore with probability p_ignore, else either evenly.
    Returns tokens (batch, length) over VOCABULARY, and scored (batch, length) bool, True where the
    next token is a read's bit. Raises ValueError if batch is below 1, length odd or below 4, or
    p_ignore outside [0, 1].
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; allowed: 1 or more")
    if length < 4 or length % 2:
        raise ValueError(f"length is {length}; allowed: even numbers from 4")
    if not 0 <= p_ignore <= 1:
        raise ValueError(f"p_ignore is {p_ignore}; allowed: 0 to 1")
    shape = (batch, length // 2)
    draw = torch.rand(shape, generator=generator)
    instruction = torch.full(shape, IGNORE)
    instruction[draw >= p_ignore] = READ
    instruction[draw >= (1 + p_ignore) / 2] = WRITE
    instruction[:, 0], instruction[:, -1] = WRITE, READ
    bit = torch.randint(2, shape, generator=generator)
    place = torch.arange(shape[1]).expand(shape)
    latest_write = torch.where(instruction == WRITE, place, 0).cummax(-1).values
    bit = torch.where(instruction == READ, bit.gather(-1, latest_write), bit)
    tokens = torch.stack((instruction, ZERO + bit), -1).flatten(1)  # (batch, length)
    return tokens, tokens == READ


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

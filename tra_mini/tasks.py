"""Flip-flop strings (Liu et al. 2023), such as w1i0i1r1: write 1, ignore 0, ignore 1, read 1."""

import torch

VOCABULARY = "wri01"  # a token is an index into it
WRITE, READ, IGNORE, ZERO = range(4)


def flip_flop(batch, length, p_ignore, generator):
    """Random strings in which the bit after each read is the most recently written bit.

    The first instruction is a write and the last a read; each between is an ignore with
    probability p_ignore, else a write or a read. All other bits are drawn at random.
    Returns tokens (batch, length), and scored (batch, length) bool: True where the NEXT token is
    the bit of a read. Raises ValueError for an argument out of range.
    """
    if not hasattr(batch, "__index__") or batch < 1 or length < 4 or length % 2:
        raise ValueError(f"batch is {batch}, length {length}; allowed: from 1, even from 4")
    if not hasattr(p_ignore, "__float__") or not 0 <= p_ignore <= 1:
        raise ValueError(f"p_ignore is {p_ignore}; allowed: 0 to 1")
    shape = (batch, length // 2)

    # Instructions: an ignore with probability p_ignore; writes and reads share the rest.
    draw = torch.rand(shape, generator=generator)
    instruction = torch.full(shape, IGNORE)
    instruction[draw >= p_ignore] = READ
    instruction[draw >= (1 + p_ignore) / 2] = WRITE
    instruction[:, 0] = WRITE
    instruction[:, -1] = READ

    # Bits: a read repeats the bit at the place of the latest write.
    bit = torch.randint(2, shape, generator=generator)
    place = torch.arange(length // 2).expand(shape)
    latest_write = torch.where(instruction == WRITE, place, 0).cummax(-1).values
    bit = torch.where(instruction == READ, bit.gather(-1, latest_write), bit)

    tokens = torch.stack((instruction, ZERO + bit), -1).flatten(1)  # (batch, length)
    return tokens, tokens == READ


def encode(text):
    """Text such as "w0i1r0" -> tokens (length,). Raises ValueError for other characters."""
    unknown = sorted(set(text) - set(VOCABULARY))
    if unknown:
        raise ValueError(f"text contains {unknown}; allowed: characters of {VOCABULARY!r}")
    return torch.tensor([VOCABULARY.index(character) for character in text], dtype=torch.long)


def decode(tokens):
    """tokens (length,) -> text such as "w0i1r0". Raises ValueError for other numbers."""
    unknown = sorted(set(tokens.tolist()) - set(range(len(VOCABULARY))))
    if unknown:
        raise ValueError(f"tokens contain {unknown}; allowed: 0 ... {len(VOCABULARY) - 1}")
    return "".join(VOCABULARY[token] for token in tokens.tolist())

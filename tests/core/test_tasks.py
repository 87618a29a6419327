"""What must hold of flip-flop strings: their definition, their chances, their seeds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tra_mini import decode, encode, flip_flop
from tra_mini.tasks import VOCABULARY


def draw(batch, length, p_ignore, seed=0):
    return flip_flop(batch, length, p_ignore, torch.Generator().manual_seed(seed))


def chi_square(counts, expected):
    """Pearson's statistic: squared deviations from the expected counts, each over that count."""
    return sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True))


# The definition


@given(
    batch=st.integers(1, 5),
    pairs=st.integers(2, 20),
    p_ignore=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_strings_are_as_defined(batch, pairs, p_ignore, seed):
    """Instructions and bits alternate; the first is a write, the last a read.

    A read's bit is that of the latest write. scored marks exactly the reads: the next token is the
    answer.
    """
    tokens, scored = draw(batch, 2 * pairs, p_ignore, seed)
    assert tokens.shape == scored.shape == (batch, 2 * pairs)
    assert tokens.dtype == torch.long
    assert scored.dtype == torch.bool
    for row, marks in zip(tokens, scored.tolist(), strict=True):
        text = decode(row)
        assert text[0] == "w"
        assert text[-2] == "r"
        latest = None
        for place in range(0, 2 * pairs, 2):
            instruction = text[place]
            bit = text[place + 1]
            assert instruction in "wri"
            assert bit in "01"
            if instruction == "w":
                latest = bit
            if instruction == "r":
                assert bit == latest
            assert marks[place] == (instruction == "r")
            assert not marks[place + 1]


def test_extremes_of_p_ignore():
    """p_ignore = 1 ignores all between the first write and the last read; 0 ignores nothing."""
    tokens, scored = draw(20, 30, 1.0)
    assert (tokens[:, 2:-2:2] == VOCABULARY.index("i")).all()
    assert scored.sum().item() == 20
    tokens, _ = draw(20, 30, 0.0)
    assert (tokens != VOCABULARY.index("i")).all()


# Chance


@pytest.mark.parametrize("p_ignore", [0.1, 0.5, 0.8, 0.98])
def test_instructions_have_their_frequencies(p_ignore):
    """Between first and last: an ignore with p, a write and a read with (1 - p) / 2 each.

    Chi-square with 2 degrees of freedom exceeds 13.82 once in a thousand; the seed is fixed.
    """
    tokens, _ = draw(200, 64, p_ignore)
    between = tokens[:, 2:-2:2]
    counts = [(between == VOCABULARY.index(instruction)).sum().item() for instruction in "iwr"]
    total = between.numel()
    assert sum(counts) == total == 200 * 30
    rest = total * (1 - p_ignore) / 2
    assert chi_square(counts, [total * p_ignore, rest, rest]) < 13.82


@pytest.mark.parametrize("instruction", ["w", "i"])
def test_written_and_ignored_bits_are_fair_coins(instruction):
    """Chi-square with 1 degree of freedom exceeds 10.83 once in a thousand; the seed is fixed."""
    tokens, _ = draw(200, 64, 0.5)
    bits = tokens[:, 1::2][tokens[:, ::2] == VOCABULARY.index(instruction)]
    ones = (bits == VOCABULARY.index("1")).sum().item()
    half = len(bits) / 2
    assert half > 500
    assert chi_square([ones, len(bits) - ones], [half, half]) < 10.83


def test_ignored_bits_say_nothing_about_the_written_bit():
    """An ignored bit equals the latest written one half of the time (chi-square as above)."""
    tokens, _ = draw(200, 64, 0.5)
    equal = 0
    total = 0
    for text in map(decode, tokens):
        latest = None
        for instruction, bit in zip(text[::2], text[1::2], strict=True):
            if instruction == "w":
                latest = bit
            if instruction == "i":
                equal += bit == latest
                total += 1
    assert chi_square([equal, total - equal], [total / 2, total / 2]) < 10.83


def test_the_generator_alone_decides():
    """One seed gives one batch; the global random state is neither used nor moved."""
    before = torch.get_rng_state()
    one, _ = draw(8, 32, 0.5, seed=1)
    other, _ = draw(8, 32, 0.5, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again, _ = draw(8, 32, 0.5, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_generator_moves_on():
    """Two batches from one generator differ: nothing is seeded anew."""
    generator = torch.Generator().manual_seed(0)
    first, _ = flip_flop(8, 32, 0.5, generator)
    second, _ = flip_flop(8, 32, 0.5, generator)
    assert not torch.equal(first, second)


# Text


def test_encode_by_hand():
    """The order of the vocabulary: w, r, i, 0, 1."""
    assert encode("w0i1r0").tolist() == [0, 3, 2, 4, 1, 3]
    assert encode("").tolist() == []
    assert encode("").dtype == torch.long


@given(st.text(alphabet="wri01", max_size=40))
def test_decode_undoes_encode(text):
    assert decode(encode(text)) == text


# Errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch", 0),
        ("batch", -2),
        ("length", 7),
        ("length", 2),
        ("length", -4),
        ("p_ignore", -0.1),
        ("p_ignore", 1.5),
        ("p_ignore", math.nan),
        ("p_ignore", math.inf),
    ],
)
def test_bad_arguments_are_named(name, value):
    """A ValueError says which argument, what it is and what is allowed."""
    arguments = {"batch": 2, "length": 8, "p_ignore": 0.5, "generator": torch.Generator()}
    arguments[name] = value
    with pytest.raises(ValueError, match=rf"{name} (is )?{value}\b.*; allowed"):
        flip_flop(**arguments)


@pytest.mark.parametrize("text", ["w0x1", "W0", "w0 r0", "w2", "é"])
def test_other_characters_are_named(text):
    """encode names the characters it does not know, and those it does."""
    with pytest.raises(ValueError, match="^text .*allowed.*wri01") as error:
        encode(text)
    for unknown in set(text) - set("wri01"):
        assert unknown in str(error.value)


@pytest.mark.parametrize("token", [-1, 5, 99])
def test_tokens_outside_the_vocabulary_are_named(token):
    """decode names the tokens it does not know, and those it does."""
    with pytest.raises(ValueError, match=rf"^tokens .*{token}.*; allowed: 0 \.\.\. 4"):
        decode(torch.tensor([0, 3, token]))

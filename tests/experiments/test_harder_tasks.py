"""What must hold of the tasks beyond flip-flops: read token by token, every answer is correct.

Each reader below reads one sequence as the task's definition says, asserts its form, and returns
{place of a question: the answer that must follow}.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.grids import SETTINGS
from experiments.tasks import TASKS
from tra_mini import flip_flop
from tra_mini.tasks import VOCABULARY


def read_registers(tokens, n_registers, p_ignore):
    """A write fills its register, a read asks for it; each register is written first."""
    held = {}
    answers = {}
    for place in range(0, len(tokens), 2):
        kind, register = divmod(tokens[place], n_registers)
        bit = tokens[place + 1]
        assert kind in (0, 1, 2)  # write, read, ignore
        assert bit in (3 * n_registers, 3 * n_registers + 1)
        if place < 2 * n_registers:
            assert (kind, register) == (0, place // 2)
        if kind == 0:
            held[register] = bit
        if kind == 1:
            answers[place] = held[register]
    assert len(tokens) - 2 in answers
    return answers


def read_vote(tokens, n_votes, p_ignore):
    """A read asks for the majority of the latest n written bits, zero where they are halved."""
    written = []
    answers = {}
    for place in range(0, len(tokens), 2):
        instruction, bit = VOCABULARY[tokens[place]], VOCABULARY[tokens[place + 1]]
        assert instruction in "wri"
        assert bit in "01"
        assert instruction == "w" or place >= 2 * n_votes
        if instruction == "w":
            written.append(int(bit))
        if instruction == "r":
            ones = sum(written[-n_votes:])
            answers[place] = VOCABULARY.index("1" if ones > n_votes - ones else "0")
    assert len(tokens) - 2 in answers
    return answers


def read_recall(tokens, n_keys, n_values):
    """A quarter of the places, rounded up, hold a new key and its value; then no key twice."""
    value_of = {}
    answers = {}
    for place in range(0, len(tokens), 2):
        key, value = tokens[place : place + 2]
        assert 0 <= key < n_keys <= value < n_keys + n_values
        if place < len(tokens) / 2:
            assert key not in value_of
            value_of[key] = value
        else:
            assert key not in [tokens[earlier] for earlier in answers]
            answers[place] = value_of[key]
    return answers


def read_copy(tokens, n_symbols, unique):
    """After the mark the i-th symbol follows the one before it, and the first the mark."""
    n = (len(tokens) - 2) // 2
    symbols = tokens[1 : n + 1]
    assert (tokens[0], tokens[n + 1]) == (n_symbols, n_symbols + 1)
    assert all(0 <= symbol < n_symbols for symbol in symbols)
    assert not unique or len(set(symbols)) == n
    return {n + 1 + i: symbol for i, symbol in enumerate(symbols)}


def read_count(tokens, modulus, p_reset):
    """Counts one symbol, from 0 again after each reset."""
    symbol, other, reset, question = range(modulus, modulus + 4)
    assert (tokens[0], tokens[-2]) == (reset, question)
    counted = 0
    for token in tokens[:-2]:
        assert token in (symbol, other, reset)
        if token == reset:
            counted = 0
        if token == symbol:
            counted += 1
    return {len(tokens) - 2: counted % modulus}


def read_parity(tokens):
    """Counts the ones."""
    assert set(tokens[:-2]) <= {0, 1}
    assert tokens[-2] == 2
    return {len(tokens) - 2: tokens[:-2].count(1) % 2}


def read_max_retrieval(tokens, n_levels, n_classes):
    """The class of the highest level, which occurs once."""
    items = [divmod(token, n_classes) for token in tokens[:-2]]
    levels = [level for level, _ in items]
    assert all(0 <= level < n_levels for level in levels)
    assert levels.count(max(levels)) == 1
    assert tokens[-2] == n_levels * n_classes
    return {len(tokens) - 2: tokens[-2] + 1 + max(items)[1]}


READERS = {
    "registers": read_registers,
    "vote": read_vote,
    "recall": read_recall,
    "copy": read_copy,
    "count": read_count,
    "parity": read_parity,
    "max_retrieval": read_max_retrieval,
}


def settings_of(task, length):
    """A strategy for the settings that the task allows at this length."""
    few = st.integers(2, 30)
    share = st.floats(0, 1)
    n = length // 2 - 1  # symbols to copy
    unique = st.booleans()
    settings = {
        "registers": {"n_registers": st.integers(1, n), "p_ignore": share},
        "vote": {"n_votes": st.integers(1, n), "p_ignore": share},
        "recall": {"n_keys": st.integers(math.ceil(length / 4), 40), "n_values": few},
        "copy": {"n_symbols": st.integers(max(n, 2), 30), "unique": unique},
        "count": {"modulus": st.integers(2, 9), "p_reset": share},
        "parity": {},
        "max_retrieval": {"n_levels": few, "n_classes": few},
    }
    return st.fixed_dictionaries(settings[task])


def drawn(task, batch, length, seed=0, **settings):
    """Strings of a task, its settings those of the experiments where none are named."""
    settings = {**SETTINGS.get(task, {}), **settings}
    return TASKS[task](batch, length, generator=torch.Generator().manual_seed(seed), **settings)


@pytest.mark.parametrize("task", READERS)
@given(data=st.data(), half=st.integers(2, 20), batch=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_a_task_read_token_by_token(task, data, half, batch, seed):
    """Whatever the settings, scored are exactly the questions, and every answer is correct."""
    settings = data.draw(settings_of(task, 2 * half))
    tokens, scored = drawn(task, batch, 2 * half, seed, **settings)
    assert tokens.shape == scored.shape == (batch, 2 * half)
    assert (tokens.dtype, scored.dtype) == (torch.long, torch.bool)
    for row, marks in zip(tokens.tolist(), scored.tolist(), strict=True):
        answers = READERS[task](row, **settings)
        assert [place for place, mark in enumerate(marks) if mark] == list(answers)
        assert [row[place + 1] for place in answers] == list(answers.values())


@pytest.mark.parametrize("task", READERS)
def test_the_generator_decides_alone(task):
    """The same seed, the same strings; another seed, others; the global state stays."""
    before = torch.get_rng_state()
    one, again, other = (drawn(task, 8, 32, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


# Chance: seeds are fixed


def evenly(values, kinds):
    """Whether values are spread evenly over 0 ... kinds - 1.

    Pearson's chi-square below its 99.9 % quantile, as Wilson and Hilferty (1931) approximate it.
    """
    expected = values.numel() / kinds
    assert expected >= 20
    counts = torch.bincount(values.flatten(), minlength=kinds)
    assert len(counts) == kinds
    statistic = ((counts - expected) ** 2 / expected).sum()
    spread = 2 / (9 * (kinds - 1))
    return statistic < (kinds - 1) * (1 - spread + 3.09 * math.sqrt(spread)) ** 3


def share_is(values, p):
    """Whether as large a share of the booleans is True as p says, within 3.3 standard errors."""
    error = math.sqrt(p * (1 - p) / values.numel())
    return abs(values.double().mean().item() - p) < 3.3 * error


def test_uneven_is_told_from_even():
    """The measure itself: a die is even; one that shows its six a quarter of the time is not."""
    die = torch.randint(6, (6000,), generator=torch.Generator().manual_seed(0))
    loaded = die.masked_fill(torch.rand(6000, generator=torch.Generator().manual_seed(1)) < 0.1, 5)
    assert evenly(die, 6)
    assert not evenly(loaded, 6)


def test_one_register_is_flip_flop():
    """K = 1: the same instructions and scored places from the same generator."""
    tokens, scored = drawn("registers", 200, 64, n_registers=1, p_ignore=0.5)
    flips, flips_scored = drawn("flip_flop", 200, 64, p_ignore=0.5)
    assert torch.equal(tokens[:, ::2], flips[:, ::2])
    assert torch.equal(scored, flips_scored)


def test_one_vote_is_a_flip_flop():
    """With one vote the majority is the latest write: the same strings from the same generator."""
    generator = torch.Generator().manual_seed(3)
    tokens, scored = flip_flop(20, 64, 0.8, generator)
    ours, marks = drawn("vote", 20, 64, seed=3, n_votes=1, p_ignore=0.8)
    assert torch.equal(ours, tokens)
    assert torch.equal(marks, scored)


def test_registers_are_named_evenly():
    """After the first K writes: ignores as often as p_ignore says, all else even."""
    K = 4
    tokens, _ = drawn("registers", 200, 64, n_registers=K, p_ignore=0.8)
    between = tokens[:, 2 * K : -2 : 2]
    kind = between // K
    assert evenly(between[kind < 2], 2 * K)  # writes and reads alike, of every register
    assert evenly(between[kind == 2] % K, K)
    assert share_is(kind == 2, 0.8)
    assert evenly(tokens[:, -2] - K, K)
    assert evenly(tokens[:, 1::2][tokens[:, ::2] // K != 1] - 3 * K, 2)


def test_recall_asks_in_any_order():
    """Keys and values evenly, and whichever pair came first is asked at any turn, or never."""
    tokens, _ = drawn("recall", 1000, 32, n_keys=20, n_values=5)  # 8 pairs, 8 questions
    assert evenly(tokens[:, :16:2], 20)
    assert evenly(tokens[:, 1:16:2] - 20, 5)
    turn = (tokens[:, 16::2] == tokens[:, :1]).nonzero()[:, 1]
    assert len(turn) == 1000
    assert evenly(turn, 8)
    tokens, _ = drawn("recall", 1000, 10)  # 3 pairs, 2 questions
    assert evenly((tokens[:, 6::2, None] == tokens[:, None, :6:2]).nonzero()[:, 2], 3)


def test_other_tasks_are_even():
    """Symbols, unique or not; counted symbols and resets; bits and answers; levels and classes."""
    for unique in (False, True):
        tokens, _ = drawn("copy", 1000, 18, n_symbols=8, unique=unique)
        assert all(evenly(tokens[:, place], 8) for place in range(1, 9))
    tokens, _ = drawn("count", 500, 42, modulus=3, p_reset=0.2)
    body = tokens[:, 1:-2]
    assert share_is(body == 5, 0.2)
    assert evenly(body[body != 5] - 3, 2)
    tokens, _ = drawn("parity", 2000, 12)
    assert evenly(tokens[:, :-2], 2)
    assert evenly(2 * (tokens[:, 1:-2].sum(-1) % 2) + tokens[:, -1], 4)  # all bits but one: no help

    tokens, _ = drawn("max_retrieval", 3000, 18, n_levels=6, n_classes=4)
    level = tokens[:, :-2] // 4
    highest, place = level.max(-1)
    assert evenly(highest - 1, 5)
    assert evenly(place, 16)
    assert evenly(tokens[:, :-2] % 4, 4)
    for h in range(2, 6):
        others = level[highest == h]
        assert evenly(others[others < h], h)


BAD = [
    *((name, "batch", 0) for name in READERS),
    *((name, "length", length) for name in READERS for length in (13, 2, 0, -4)),
    ("registers", "length", 8),  # four writes and a read need ten tokens
    ("registers", "n_registers", 0),
    *(("registers", "p_ignore", p) for p in (-0.1, 1.5, math.nan)),
    ("vote", "n_votes", 0),
    *(("vote", "p_ignore", p) for p in (-0.1, 1.5, math.nan)),
    ("recall", "n_keys", 2),  # twelve tokens have three pairs
    ("recall", "n_values", 1),
    ("copy", "n_symbols", 1),
    ("count", "modulus", 1),
    *(("count", "p_reset", p) for p in (-0.1, 1.5, math.nan)),
    ("max_retrieval", "n_levels", 1),
    ("max_retrieval", "n_classes", 1),
]


@pytest.mark.parametrize(("task", "name", "value"), BAD)
def test_bad_arguments_are_named(task, name, value):
    """A ValueError says which argument, what was given and what is allowed."""
    arguments = {**SETTINGS.get(task, {}), "batch": 2, "length": 12, "generator": torch.Generator()}
    arguments[name] = value
    with pytest.raises(ValueError, match=f"^{name} is {value}; allowed: "):
        TASKS[task](**arguments)


def test_unique_symbols_must_be_as_many_as_are_copied():
    with pytest.raises(ValueError, match="^n_symbols is 4; allowed: whole numbers from 5$"):
        drawn("copy", 1, 12, n_symbols=4, unique=True)

"""What must hold of the tasks beyond flip-flops: read token by token, every answer is right.

Each of_TASK below reads one sequence as its definition says, asserts its form, and returns
{place of a question: the answer that must follow}.
"""

import inspect
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tra_mini.starts import of_any_length, task_of
from tra_mini.tasks import TASKS, count, flip_flop, parity

# One sequence, read


def of_registers(tokens, n_registers, p_ignore):
    """A write fills its register, a read asks for it; each register is written first."""
    held, answers = {}, {}
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


def of_flip_flop(tokens, p_ignore):
    """The same with one register."""
    return of_registers(tokens, 1, p_ignore)


def of_recall(tokens, n_keys, n_values):
    """A quarter of the places, rounded up, hold a new key and its value; then no key twice."""
    value_of, answers = {}, {}
    for place in range(0, len(tokens), 2):
        key, value = tokens[place], tokens[place + 1]
        assert 0 <= key < n_keys <= value < n_keys + n_values
        if place < len(tokens) / 2:
            assert key not in value_of
            value_of[key] = value
        else:
            assert key not in [tokens[earlier] for earlier in answers]
            answers[place] = value_of[key]
    return answers


def of_copy(tokens, n_symbols, unique):
    """After the mark the i-th symbol follows the one before it, and the first the mark."""
    n = (len(tokens) - 2) // 2
    symbols = tokens[1 : n + 1]
    assert tokens[0] == n_symbols and tokens[n + 1] == n_symbols + 1
    assert all(0 <= symbol < n_symbols for symbol in symbols)
    assert not unique or len(set(symbols)) == n
    return {n + 1 + i: symbol for i, symbol in enumerate(symbols)}


def of_count(tokens, modulus, p_reset):
    """Counts one symbol, from 0 again after each reset."""
    symbol, other, reset, question = range(modulus, modulus + 4)
    counted = 0
    assert tokens[0] == reset and tokens[-2] == question
    for token in tokens[:-2]:
        assert token in (symbol, other, reset)
        counted = 0 if token == reset else counted + (token == symbol)
    return {len(tokens) - 2: counted % modulus}


def of_parity(tokens):
    """Changes its mind at each one."""
    odd = 0
    for token in tokens[:-2]:
        assert token in (0, 1)
        odd = 1 - odd if token == 1 else odd
    assert tokens[-2] == 2
    return {len(tokens) - 2: odd}


def of_max_retrieval(tokens, n_levels, n_classes):
    """Keeps the class of the highest level so far, which in the end has occurred once."""
    levels, highest, its_class = [], -1, None
    for token in tokens[:-2]:
        level, kind = divmod(token, n_classes)
        assert 0 <= level < n_levels
        levels.append(level)
        if level > highest:
            highest, its_class = level, kind
    question = n_levels * n_classes
    assert tokens[-2] == question and levels.count(highest) == 1
    return {len(tokens) - 2: question + 1 + its_class}


def settings_of(task, length):
    """A strategy for the settings that the task allows at this length."""
    few, share = st.integers(2, 30), st.floats(0, 1)
    n = length // 2 - 1  # symbols to copy
    return {
        "flip_flop": st.fixed_dictionaries({"p_ignore": share}),
        "registers": st.fixed_dictionaries({"n_registers": st.integers(1, n), "p_ignore": share}),
        "recall": st.fixed_dictionaries(
            {"n_keys": st.integers(math.ceil(length / 4), 40), "n_values": few}
        ),
        "copy": st.fixed_dictionaries({"n_symbols": few, "unique": st.just(False)})
        | st.fixed_dictionaries({"n_symbols": st.integers(n, 30), "unique": st.just(True)}),
        "count": st.fixed_dictionaries({"modulus": st.integers(2, 9), "p_reset": share}),
        "parity": st.just({}),
        "max_retrieval": st.fixed_dictionaries({"n_levels": few, "n_classes": few}),
    }[task]


READ = {
    "flip_flop": of_flip_flop,
    "registers": of_registers,
    "recall": of_recall,
    "copy": of_copy,
    "count": of_count,
    "parity": of_parity,
    "max_retrieval": of_max_retrieval,
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def defaults(task):
    """The settings that a task has of its own; flip_flop's has no default."""
    parameters = inspect.signature(TASKS[task]).parameters.values()
    own = {p.name: p.default for p in parameters if p.default is not p.empty}
    return own | ({"p_ignore": 0.5} if task == "flip_flop" else {})


def drawn(task, batch, length, seed=0, **settings):
    return TASKS[task](batch, length, generator=seeded(seed), **defaults(task) | settings)


def assert_as_read(task, tokens, scored, settings):
    """Scored are exactly the questions, and each is followed by its answer."""
    for row, marks in zip(tokens.tolist(), scored.tolist(), strict=True):
        answers = READ[task](row, **settings)
        assert [place for place, mark in enumerate(marks) if mark] == list(answers)
        assert [row[place + 1] for place in answers] == list(answers.values())


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data(), half=st.integers(2, 20), batch=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_a_task_read_token_by_token(task, data, half, batch, seed):
    """Whatever the settings, every sequence is of its form, and its answers are right."""
    settings = data.draw(settings_of(task, 2 * half))
    tokens, scored = drawn(task, batch, 2 * half, seed, **settings)
    assert tokens.shape == scored.shape == (batch, 2 * half)
    assert (tokens.dtype, scored.dtype) == (torch.long, torch.bool)
    assert_as_read(task, tokens, scored, settings)


@pytest.mark.parametrize("task", TASKS)
def test_every_length(task):
    """All even lengths, from the least to 40 and far beyond, as the tasks are set by default."""
    least = 10 if task == "registers" else 4
    for length in (*range(least, 41, 2), 1024):
        tokens, scored = drawn(task, 3, length)
        assert tokens.shape == (3, length)
        assert_as_read(task, tokens, scored, defaults(task))


@pytest.mark.parametrize("task", TASKS)
def test_the_generator_decides_alone(task):
    """The same seed, the same strings; another batch, others; the global state stays."""
    before = torch.get_rng_state()
    one, again, other = (drawn(task, 8, 32, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    generator = seeded(1)
    batches = [TASKS[task](8, 32, generator=generator, **defaults(task))[0] for _ in range(2)]
    assert torch.equal(batches[0], one) and not torch.equal(batches[1], one)
    assert torch.equal(torch.get_rng_state(), before)


# Chance: seeds are fixed


def evenly(values, kinds):
    """Whether values (n,) are spread evenly over 0 ... kinds - 1.

    Pearson's chi-square below its 99.9 % quantile, as Wilson and Hilferty (1931) approximate it.
    """
    expected, freedom = len(values) / kinds, kinds - 1
    assert expected >= 20 and ((values >= 0) & (values < kinds)).all()
    statistic = ((torch.bincount(values, minlength=kinds) - expected) ** 2 / expected).sum().item()
    spread = 2 / (9 * freedom)
    return statistic < freedom * (1 - spread + 3.09 * math.sqrt(spread)) ** 3


def test_uneven_is_told_from_even():
    """The measure itself: a die is even; one that shows its six a quarter of the time is not."""
    die = torch.randint(6, (6000,), generator=seeded(0))
    loaded = torch.where(torch.rand(6000, generator=seeded(1)) < 0.1, 5, die)
    assert evenly(die, 6) and not evenly(loaded, 6)


def test_one_register_is_flip_flop():
    """K = 1: the same instructions and scored places from the same generator, bits of the same law.

    The bits themselves differ, since the register of each instruction is drawn before them.
    """
    tokens, scored = drawn("registers", 200, 64, n_registers=1, p_ignore=0.5)
    flips, flips_scored = drawn("flip_flop", 200, 64, p_ignore=0.5)
    assert torch.equal(tokens[:, ::2], flips[:, ::2]) and torch.equal(scored, flips_scored)
    for given_tokens in (tokens, flips):
        bits = given_tokens[:, 1::2] - 3
        free = given_tokens[:, ::2] != 1  # no read
        assert evenly(bits[free], 2)
        assert evenly(bits[:, 0] + 2 * bits[:, -1], 4)  # far apart: unrelated


@pytest.mark.parametrize("p_ignore", [0.1, 0.5, 0.8])
def test_registers_are_named_evenly(p_ignore):
    """Behind the first K writes: ignores as asked for, all else even; the last reads any."""
    K = 4
    tokens, _ = drawn("registers", 200, 64, n_registers=K, p_ignore=p_ignore)
    between = tokens[:, 2 * K : -2 : 2].flatten()
    kind = between // K
    assert evenly(between[kind < 2], 2 * K)  # writes and reads alike, of every register
    assert evenly(between[kind == 2] % K, K)
    n, share = len(between), (kind == 2).double().mean().item()
    assert abs(share - p_ignore) < 3.3 * math.sqrt(p_ignore * (1 - p_ignore) / n)
    assert evenly(tokens[:, -2] - K, K)
    assert evenly(tokens[:, 1::2][tokens[:, ::2] // K != 1] - 3 * K, 2)


def test_recall_asks_in_any_order():
    """Keys and values evenly, and whichever pair came first is asked at any turn, or never."""
    tokens, _ = drawn("recall", 1000, 32, n_keys=20, n_values=5)  # 8 pairs, 8 questions
    assert evenly(tokens[:, :16:2].flatten(), 20)
    assert evenly(tokens[:, 1:16:2].flatten() - 20, 5)
    turn = (tokens[:, 16::2] == tokens[:, :1]).nonzero()
    assert len(turn) == 1000 and evenly(turn[:, 1], 8)
    tokens, _ = drawn("recall", 1000, 10)  # 3 pairs, 2 questions
    asked = (tokens[:, 6::2, None] == tokens[:, None, :6:2]).nonzero()
    assert len(asked) == 2000 and evenly(asked[:, 2], 3)


@pytest.mark.parametrize("unique", [False, True])
def test_copied_symbols_are_even(unique):
    """At each place every symbol is as likely; unless they are unique, some occur twice."""
    tokens, _ = drawn("copy", 1000, 18, n_symbols=8, unique=unique)
    assert all(evenly(tokens[:, place], 8) for place in range(1, 9))
    assert all(len(set(row[1:9])) == 8 for row in tokens.tolist()) == unique


def test_copying_all_symbols_is_a_permutation():
    """Unique, and as many as there are: each symbol exactly once."""
    tokens, _ = drawn("copy", 20, 34, n_symbols=16, unique=True)
    assert (tokens[:, 1:17].sort(-1).values == torch.arange(16)).all()


def test_count_resets_as_often_as_asked_for():
    """p_reset = 0: the first alone, so all symbols count; 1: nothing but resets, so none does."""
    tokens, _ = drawn("count", 100, 42, modulus=50, p_reset=0)
    assert (tokens[:, 1:-2] < 52).all()  # no reset
    assert torch.equal(tokens[:, -1], (tokens[:, :-2] == 50).sum(-1))
    tokens, _ = drawn("count", 100, 42, p_reset=1)
    assert (tokens[:, :-2] == 7).all() and (tokens[:, -1] == 0).all()
    tokens, _ = drawn("count", 500, 42, modulus=3, p_reset=0.2)
    body = tokens[:, 1:-2].flatten()
    resets = (body == 5).double().mean().item()
    assert abs(resets - 0.2) < 3.3 * math.sqrt(0.2 * 0.8 / len(body))
    assert evenly(body[body != 5] - 3, 2)


def test_parity_is_a_coin():
    """Bits and answers are fair, and all bits but one leave the answer open."""
    tokens, _ = drawn("parity", 2000, 12)
    assert evenly(tokens[:, :-2].flatten(), 2) and evenly(tokens[:, -1], 2)
    but_one = tokens[:, 1:-2].sum(-1) % 2
    assert evenly(2 * but_one + tokens[:, -1], 4)


def test_max_retrieval_is_even():
    """The highest level, those below it, its place and every class are all evenly drawn."""
    tokens, _ = drawn("max_retrieval", 3000, 18, n_levels=6, n_classes=4)
    level, kind = tokens[:, :-2] // 4, tokens[:, :-2] % 4
    highest, place = level.max(-1)
    assert evenly(highest - 1, 5) and evenly(place, 16)
    assert evenly(kind.flatten(), 4) and evenly(tokens[:, -1] - 25, 4)
    for h in range(2, 6):
        others = level[highest == h]
        assert evenly(others[others < h], h)


# Any length


def recording(seen):
    """A task that notes the batch and length that it is asked for."""

    def task(batch, length, generator):
        seen.append((batch, length))
        return parity(batch, length, generator)

    return task


@pytest.mark.parametrize(("shortest", "longest"), [(4, 16), (10, 22), (8, 8)])
def test_any_length_draws_every_even_length(shortest, longest):
    """Every even length from shortest to the longest, evenly, and no other."""
    seen, generator = [], seeded(0)
    for _ in range(700):
        tokens, scored = of_any_length(
            3, longest, generator, task=recording(seen), shortest=shortest
        )
        assert tokens.shape == scored.shape == seen[-1]
    lengths = torch.tensor([length for _, length in seen])
    kinds = (longest - shortest) // 2 + 1
    assert {batch for batch, _ in seen} == {3} and (lengths % 2 == 0).all()
    assert kinds == 1 or evenly((lengths - shortest) // 2, kinds)
    assert set(lengths.tolist()) == set(range(shortest, longest + 1, 2))


def test_any_length_is_decided_by_the_generator():
    """The same seed, the same lengths and tokens."""

    def batches(seed):
        generator = seeded(seed)
        task = partial(of_any_length, task=parity, shortest=4)
        return [task(2, 30, generator=generator)[0].tolist() for _ in range(5)]

    assert batches(1) == batches(1) != batches(2)


@pytest.mark.parametrize(
    ("config", "setting", "task"),
    [
        ({}, 0.7, partial(flip_flop, p_ignore=0.7)),
        ({"task": "count"}, {"modulus": 3, "p_reset": 0.5}, partial(count, modulus=3, p_reset=0.5)),
        ({"task": "parity"}, {}, parity),
    ],
)
def test_the_task_of_a_config(config, setting, task):
    """flip_flop unless another is named; the setting reaches it."""
    given, expected = task_of(config, setting), task
    tokens, scored = given(4, 20, generator=seeded(0))
    assert torch.equal(tokens, expected(4, 20, generator=seeded(0))[0])
    assert torch.equal(scored, expected(4, 20, generator=seeded(0))[1])


# Errors

BAD = [
    *((name, "batch", batch, "1 or more") for name in TASKS for batch in (0, -2)),
    *(
        (name, "length", length, f"even numbers from {10 if name == 'registers' else 4}")
        for name in TASKS
        for length in (13, 2, 0, -4)
    ),
    ("registers", "length", 8, "even numbers from 10"),  # four writes and a read need ten
    *(("registers", "n_registers", n, "1 or more") for n in (0, -1)),
    *(("registers", "p_ignore", p, "0 to 1") for p in (-0.1, 1.5, math.nan, math.inf)),
    *(("recall", "n_keys", n, "3 or more") for n in (2, 0, -1)),  # three pairs in 12 tokens
    *(("recall", "n_values", n, "2 or more") for n in (1, 0)),
    *(("copy", "n_symbols", n, "2 or more") for n in (1, 0, -1)),
    *(("count", "modulus", m, "2 or more") for m in (1, 0, -5)),
    *(("count", "p_reset", p, "0 to 1") for p in (-0.1, 1.5, math.nan, math.inf)),
    *(("max_retrieval", "n_levels", n, "2 or more") for n in (1, 0)),
    *(("max_retrieval", "n_classes", n, "2 or more") for n in (1, 0)),
]


@pytest.mark.parametrize(("task", "name", "value", "allowed"), BAD)
def test_bad_arguments_are_named(task, name, value, allowed):
    """A ValueError says which argument, what was given and what is allowed."""
    arguments = {"batch": 2, "length": 12, "generator": seeded(0)} | defaults(task)
    with pytest.raises(ValueError) as raised:
        TASKS[task](**arguments | {name: value})
    assert str(raised.value) == f"{name} is {value}; allowed: {allowed}"


@pytest.mark.parametrize(
    ("task", "length", "settings", "least"),
    [("copy", 12, {"n_symbols": 4, "unique": True}, 5), ("recall", 1028, {"n_keys": 256}, 257)],
)
def test_what_is_allowed_grows_with_the_length(task, length, settings, least):
    """As many unique symbols as are copied, as many keys as pairs; and the least is enough."""
    [(name, value), *_] = settings.items()
    with pytest.raises(ValueError, match=f"^{name} is {value}; allowed: {least} or more$"):
        drawn(task, 1, length, **settings)
    assert drawn(task, 1, length, **settings | {name: least})[0].shape == (1, length)

"""Evaluation: errors counted one by one, intervals that solve their defining equation."""

from functools import partial
from statistics import NormalDist

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tra_mini import GPT, GPTConfig, accuracy_by_length, decode, evaluation, flip_flop
from tra_mini.evaluation import wilson_interval

TASK = partial(flip_flop, p_ignore=0.5)
BITS = 3 + 4  # the sum of the tokens of 0 and 1: BITS - bit is the other bit


class Reader:
    """Stands in for a model: answers every read correctly, except where errs(tokens) is True.

    errs takes tokens (B, T) and returns a bool (B, T). `batches` keeps all tokens seen.
    """

    def __init__(self, errs):
        self.errs = errs
        self.batches = []

    def __call__(self, tokens):
        self.batches.append(tokens)
        place = torch.arange(tokens.shape[1])
        latest_write = torch.where(tokens == 0, place, 0).cummax(-1).values  # (B, T)
        bit = tokens.gather(-1, (latest_write + 1).clamp(max=tokens.shape[1] - 1))
        bit = torch.where(self.errs(tokens), BITS - bit, bit)
        return torch.nn.functional.one_hot(bit, 5).float()


def errs_nowhere(tokens):
    return torch.zeros_like(tokens, dtype=torch.bool)


def errs_everywhere(tokens):
    return torch.ones_like(tokens, dtype=torch.bool)


def errs_at_every_seventh(tokens):
    """At every seventh position: some reads, in some sequences."""
    return (torch.arange(tokens.shape[1]) % 7 == 0).expand(tokens.shape)


def errs_in_some_sequences(tokens):
    """Everywhere in the sequences whose second bit is 1."""
    return (tokens[:, 3:4] == 4).expand(tokens.shape)


# Counts


def test_a_model_without_errors_scores_1():
    """Every sequence and every read is correct, at every length."""
    for row in accuracy_by_length(Reader(errs_nowhere), TASK, [4, 16, 128], n=30, seed=0):
        assert row["exact_match"] == row["per_read"] == row["high"] == 1
        assert row["n"] == 30


def test_a_model_that_always_errs_scores_0():
    """No sequence and no read is correct."""
    [row] = accuracy_by_length(Reader(errs_everywhere), TASK, [16], n=30, seed=0)
    assert row["exact_match"] == row["per_read"] == row["low"] == 0


@pytest.mark.parametrize(
    ("errs", "is_wrong"),
    [
        (errs_at_every_seventh, lambda text, i: i % 7 == 0),
        (errs_in_some_sequences, lambda text, i: text[3] == "1"),
    ],
)
@pytest.mark.parametrize("length", [16, 100])
def test_errors_are_counted_one_by_one(errs, is_wrong, length):
    """The same numbers as a plain loop over the text of the sequences that the model saw."""
    reader = Reader(errs)
    [row] = accuracy_by_length(reader, TASK, [length], n=137, seed=5)

    exact = 0
    correct = 0
    reads = 0
    for tokens in torch.cat(reader.batches):
        text = decode(tokens)
        answers = [not is_wrong(text, i) for i in range(length) if text[i] == "r"]
        exact += all(answers)
        correct += sum(answers)
        reads += len(answers)
    assert sum(map(len, reader.batches)) == 137
    assert 0 < correct < reads
    low, high = wilson_interval(exact, 137)
    assert row.pop("loss") > 0  # its value is compared below, with a real model's
    assert row == {
        "length": length,
        "n": 137,
        "exact_match": exact / 137,
        "low": low,
        "high": high,
        "reads": reads,
        "per_read": correct / reads,
    }


def test_a_real_model_is_counted_the_same_way():
    """An untrained GPT: its own predictions, compared one by one."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=2, d_model=8))
    batches = []

    def recording(batch, length, generator):
        tokens, scored = TASK(batch, length, generator=generator)
        batches.append(tokens)
        return tokens, scored

    [row] = accuracy_by_length(model, recording, [12], n=20, seed=0)
    [tokens] = batches
    with torch.no_grad():
        log_probability = model(tokens).log_softmax(-1)
    correct = 0
    nats = []
    for sequence, text in enumerate(map(decode, tokens)):
        for i in range(11):
            if text[i] == "r":
                answer = tokens[sequence, i + 1]
                correct += (log_probability[sequence, i].argmax() == answer).item()
                nats.append(-log_probability[sequence, i, answer].item())
    assert row["reads"] == len(nats)
    assert row["per_read"] == correct / len(nats)
    assert row["loss"] == pytest.approx(sum(nats) / len(nats))


# Which sequences are tested


def seen_at(lengths, n=9, seed=0):
    """{length: the sequences (n, length) that a model is tested on}."""
    reader = Reader(errs_nowhere)
    accuracy_by_length(reader, TASK, lengths, n=n, seed=seed)
    seen = {}
    for length in lengths:
        seen[length] = torch.cat([batch for batch in reader.batches if batch.shape[1] == length])
    return seen


def test_a_length_is_tested_on_the_same_sequences_whatever_other_lengths_are():
    """The sequences, and so the row, depend on the seed and the length alone."""
    together = seen_at([8, 16, 32])[16]
    assert torch.equal(together, seen_at([16])[16])
    assert torch.equal(together, seen_at([32, 16])[16])
    reader = Reader(errs_at_every_seventh)
    rows = accuracy_by_length(reader, TASK, [8, 16, 32], n=50, seed=2)
    assert rows[1:2] == accuracy_by_length(reader, TASK, [16], n=50, seed=2)


def test_another_seed_draws_others():
    assert not torch.equal(seen_at([64])[64], seen_at([64], seed=1)[64])


def test_no_two_lengths_share_their_draws():
    """A longer string is no continuation of a shorter one: not even its instructions are."""
    seen = seen_at([64, 128], n=1)
    assert not torch.equal(seen[64][:, :62:2], seen[128][:, :62:2])


@pytest.mark.parametrize("n", [1, 7, 31, 32, 33])
@pytest.mark.parametrize("length", [8, 16, 250, 256, 300])
def test_batches_bound_memory_and_keep_n(monkeypatch, n, length):
    """Exactly n sequences, as many at once as the bound on tokens allows, at least one."""
    monkeypatch.setattr(evaluation, "TOKENS_AT_ONCE", 256)
    reader = Reader(errs_nowhere)
    [row] = accuracy_by_length(reader, TASK, [length], n=n, seed=0)
    sizes = [len(batch) for batch in reader.batches]
    assert row["n"] == sum(sizes) == n
    assert max(sizes) == min(n, max(1, 256 // length))
    assert len(set(sizes[:-1])) <= 1  # only the last batch is smaller


def test_global_generators_are_untouched():
    """Testing draws from generators of its own."""
    before = torch.get_rng_state()
    accuracy_by_length(Reader(errs_nowhere), TASK, [8, 16], n=5, seed=0)
    assert torch.equal(before, torch.get_rng_state())


# Errors


@pytest.mark.parametrize("n", [0, -3])
def test_no_sequences_are_refused(n):
    with pytest.raises(ValueError, match=f"^n is {n}.*allowed: 1 or more"):
        accuracy_by_length(Reader(errs_nowhere), TASK, [8], n=n, seed=0)


def test_a_task_that_scores_nothing_is_refused():
    """A last token marked as scored does not count: nothing follows it."""

    def scores_the_last(batch, length, generator):
        tokens, scored = TASK(batch, length, generator=generator)
        scored = torch.zeros_like(scored)
        scored[:, -1] = True
        return tokens, scored

    with pytest.raises(ValueError, match="scored answers 0; allowed: 1 or more"):
        accuracy_by_length(Reader(errs_nowhere), scores_the_last, [8], n=5, seed=0)


# The interval


def boundary(outside, inside, is_outside):
    """The p between two numbers where is_outside(p) turns from True to False, by bisection."""
    for _ in range(100):
        middle = (outside + inside) / 2
        if is_outside(middle):
            outside = middle
        else:
            inside = middle
    return outside


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@example((0, 1))
@example((1, 1))
@example((0, 40))
@example((40, 40))
def test_wilsons_ends_solve_the_defining_equation(counts):
    """Its ends are the p where |share - p| = z sqrt(p (1 - p) / n), here by bisection."""
    successes, n = counts
    share = successes / n
    z = NormalDist().inv_cdf(0.975)

    def is_outside(p):
        return (share - p) ** 2 > z * z * p * (1 - p) / n

    low, high = wilson_interval(successes, n)
    assert low == pytest.approx(boundary(0, share, is_outside), abs=1e-6)
    assert high == pytest.approx(boundary(1, share, is_outside), abs=1e-6)


@given(st.integers(1, 10**6))
def test_all_correct_or_all_wrong_is_no_certainty(n):
    """At 0 and n successes it touches 0 or 1 but is not a point; the two mirror each other."""
    low, high = wilson_interval(0, n)
    assert low == 0 < high < 1
    assert wilson_interval(n, n) == pytest.approx((1 - high, 1))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (1, 0), (3, 2), (-1, 4)])
def test_an_impossible_proportion_is_named(successes, n):
    with pytest.raises(ValueError, match=f"successes is {successes}, n {n}; allowed"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("seed", [-1, 2**64, 10**30])
def test_any_whole_number_is_a_seed(seed):
    """Torch itself takes 64 bits."""
    drawn = []

    def task(batch, length, generator):
        drawn.append(generator.initial_seed())
        return flip_flop(batch, length, 0.5, generator)

    [row] = accuracy_by_length(Reader(errs_nowhere), task, [4], n=1, seed=seed)
    assert row["exact_match"] == 1
    assert drawn == [(seed * 1_000_003 + 4) % 2**63]

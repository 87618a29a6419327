"""Evaluation: errors counted one by one, intervals that solve their defining equation."""

from functools import partial
from statistics import NormalDist

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from tra_mini import GPT, GPTConfig, accuracy_by_length, decode, evaluation, flip_flop
from tra_mini.evaluation import wilson_interval

TASK = partial(flip_flop, p_ignore=0.5)


class Oracle(nn.Module):
    """Answers every read rightly, except where err(tokens) (B, T) is True; keeps what it saw."""

    def __init__(self, err=torch.zeros_like):
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(()))  # evaluation asks a parameter for its device
        self.err = err
        self.seen = []

    def forward(self, tokens):
        self.seen.append(tokens)
        place = torch.arange(tokens.shape[1])
        wrote = torch.where(tokens == 0, place, 0).cummax(-1).values  # (B, T), of the latest write
        bit = tokens.gather(-1, (wrote + 1).clamp(max=tokens.shape[1] - 1))
        bit = torch.where(self.err(tokens).bool(), 7 - bit, bit)  # the bits are the tokens 3 and 4
        return nn.functional.one_hot(bit, 5).float()


def err_at_every_seventh(tokens):
    """Wrong at every seventh position: some reads, in some sequences."""
    return (torch.arange(tokens.shape[1]) % 7 == 0).expand(tokens.shape)


def err_in_some_sequences(tokens):
    """Wrong everywhere in the sequences whose second bit is 1."""
    return (tokens[:, 3:4] == 4).expand(tokens.shape)


def counted_by_hand(batches, wrong_at):
    """Exact matches, right answers and reads, counted on text, a character at a time."""
    exact = right = reads = 0
    for tokens in torch.cat(batches):
        text = decode(tokens)
        answers = [not wrong_at(text, i) for i in range(len(text)) if text[i] == "r"]
        exact += all(answers)
        right += sum(answers)
        reads += len(answers)
    return exact, right, reads


def test_a_model_without_errors_scores_1():
    """Every sequence and every read right, at every length."""
    for row in accuracy_by_length(Oracle(), TASK, [4, 16, 128], n=30, seed=0):
        assert (row["exact_match"], row["per_read"], row["high"]) == (1, 1, 1)
        assert row["n"] == 30


def test_a_model_that_always_errs_scores_0():
    """No sequence and no read right."""
    [row] = accuracy_by_length(Oracle(torch.ones_like), TASK, [16], n=30, seed=0)
    assert (row["exact_match"], row["per_read"], row["low"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("err", "wrong_at"),
    [
        (err_at_every_seventh, lambda text, i: i % 7 == 0),
        (err_in_some_sequences, lambda text, i: text[3] == "1"),
    ],
)
@pytest.mark.parametrize("length", [16, 100])
def test_errors_are_counted_one_by_one(err, wrong_at, length):
    """The same numbers as a plain loop over the text of the sequences that the model saw."""
    model = Oracle(err)
    [row] = accuracy_by_length(model, TASK, [length], n=137, seed=5)
    exact, right, reads = counted_by_hand(model.seen, wrong_at)
    assert sum(map(len, model.seen)) == 137
    assert 0 < right < reads
    assert row.pop("loss") > 0  # compared below, with a real model's
    assert row == {
        "length": length,
        "n": 137,
        "exact_match": exact / 137,
        "low": wilson_interval(exact, 137)[0],
        "high": wilson_interval(exact, 137)[1],
        "reads": reads,
        "per_read": right / reads,
    }


@pytest.mark.parametrize("mechanism", ["tra", "rope"])
def test_a_real_model_is_counted_the_same_way(mechanism):
    """An untrained GPT: its own predictions, compared one by one."""
    torch.manual_seed(0)
    model, seen = GPT(GPTConfig(mechanism=mechanism, n_layer=1, n_head=2, d_model=8)), []

    def recording(batch, length, generator):
        seen.append(TASK(batch, length, generator=generator))
        return seen[-1]

    [row] = accuracy_by_length(model, recording, [12], n=20, seed=0)
    [(tokens, _)] = seen
    with torch.inference_mode():
        logits = model(tokens)
    guesses = logits.argmax(-1)
    nats = [
        -logits[s, i].log_softmax(-1)[tokens[s, i + 1]].item()
        for s in range(20)
        for i in range(11)
        if decode(tokens[s])[i] == "r"
    ]
    answers = [
        (guesses[s, i] == tokens[s, i + 1]).item()
        for s in range(20)
        for i in range(11)
        if decode(tokens[s])[i] == "r"
    ]
    assert row["reads"] == len(answers)
    assert row["per_read"] == sum(answers) / len(answers)
    assert row["loss"] == pytest.approx(sum(nats) / len(nats))


class TestSequences:
    def seen_at(self, lengths, n=9, seed=0):
        """{length: the sequences (n, length) that a model is tested on}."""
        model = Oracle()
        accuracy_by_length(model, TASK, lengths, n=n, seed=seed)
        return {
            length: torch.cat([tokens for tokens in model.seen if tokens.shape[1] == length])
            for length in lengths
        }

    def test_the_same_whatever_other_lengths_are_asked(self):
        """A length's sequences depend on the seed and the length alone."""
        among_others = self.seen_at([8, 16, 32])[16]
        assert torch.equal(among_others, self.seen_at([16])[16])
        assert torch.equal(among_others, self.seen_at([32, 16])[16])

    def test_rows_do_not_depend_on_other_lengths(self):
        """So neither do the numbers."""
        model = Oracle(err_at_every_seventh)
        rows = accuracy_by_length(model, TASK, [8, 16, 32], n=50, seed=2)
        assert rows[1:2] == accuracy_by_length(model, TASK, [16], n=50, seed=2)

    def test_another_seed_draws_others(self):
        """The seed matters."""
        assert not torch.equal(self.seen_at([64])[64], self.seen_at([64], seed=1)[64])

    def test_no_two_lengths_share_their_draws(self):
        """A longer test is no continuation of a shorter one."""
        seen = self.seen_at([64, 128])
        assert not torch.equal(seen[64], seen[128][:, :64])

    @pytest.mark.parametrize("n", [1, 7, 31, 32, 33])
    @pytest.mark.parametrize("length", [8, 16, 250, 256, 300])
    def test_batches_bound_memory_and_keep_n(self, monkeypatch, n, length):
        """Exactly n sequences; no more tokens at once than allowed, or a single sequence."""
        monkeypatch.setattr(evaluation, "TOKENS_AT_ONCE", 256)
        model = Oracle()
        [row] = accuracy_by_length(model, TASK, [length], n=n, seed=0)
        assert row["n"] == sum(map(len, model.seen)) == n
        assert max(tokens.numel() for tokens in model.seen) <= max(256, length)

    def test_batches_are_no_smaller_than_they_must_be(self, monkeypatch):
        """As many sequences at once as the bound allows: small tests are one batch."""
        monkeypatch.setattr(evaluation, "TOKENS_AT_ONCE", 256)
        model = Oracle()
        accuracy_by_length(model, TASK, [16], n=20, seed=0)
        assert [len(tokens) for tokens in model.seen] == [16, 4]


def test_no_sequences_are_refused():
    """n names itself."""
    with pytest.raises(ValueError, match="n is 0; allowed: 1 or more"):
        accuracy_by_length(Oracle(), TASK, [8], n=0, seed=0)


def test_the_global_generator_is_untouched():
    """Testing draws from generators of its own."""
    before = torch.get_rng_state()
    accuracy_by_length(Oracle(), TASK, [8, 16], n=5, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def crossing(outside, inside, positive):
    """Where positive(p) turns from True (outside) to False (inside), by halving the interval."""
    for _ in range(100):
        middle = (outside + inside) / 2
        if positive(middle):
            outside = middle
        else:
            inside = middle
    return outside


class TestWilsonInterval:
    @given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    @example((0, 1))
    @example((1, 1))
    @example((0, 40))
    @example((40, 40))
    def test_ends_solve_the_defining_equation(self, counts):
        """Its ends are the p where |share - p| = z sqrt(p (1 - p) / n), found here by bisection."""
        successes, n = counts
        share, z = successes / n, NormalDist().inv_cdf(0.975)

        def rejected(p):
            return (share - p) ** 2 > z * z * p * (1 - p) / n

        low, high = wilson_interval(successes, n)
        assert low == pytest.approx(crossing(0, share, rejected), abs=1e-6)
        assert high == pytest.approx(crossing(1, share, rejected), abs=1e-6)

    @given(st.integers(1, 10**6))
    def test_all_right_or_all_wrong_is_no_certainty(self, n):
        """At 0 and n successes it touches 0 or 1 but is not a point; the two mirror each other."""
        low, high = wilson_interval(0, n)
        assert low == 0 < high < 1
        assert wilson_interval(n, n) == pytest.approx((1 - high, 1))

    def test_shrinks_with_more_sequences(self):
        """Four times the sequences, about half the width."""
        widths = [high - low for low, high in (wilson_interval(n // 2, n) for n in (400, 1600))]
        assert widths[0] / widths[1] == pytest.approx(2, rel=0.01)

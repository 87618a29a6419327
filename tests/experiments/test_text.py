"""Text: the corpus is split by file; windows and bits per byte equal slow loops."""

import math
import os
import statistics
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from experiments import text
from experiments.text import (
    SPLITS,
    bits_per_byte,
    corpus_facts,
    split_of,
    standard_library,
    stdlib_bytes,
    windows,
)

FILES = [f"{folder}part_{number}.py" for folder in ("", "package/", "a/b/") for number in range(30)]
STRANGERS = (
    *("site-packages/a.py", "dist-packages/b.py", "test/c.py", "package/tests/d.py"),
    *("idlelib/e.py", "_sysconfigdata__linux.py", "config-3.11-x86/f.py", "turtle.py"),
    *("encodings/g.py", "package/data.txt", "sitecustomize.py"),
)


def write(path, source):
    """A file, and the folders above it; the corpus will be read anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source)
    forget()


def forget():
    standard_library.cache_clear()
    corpus_facts.cache_clear()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A made-up standard library: each file has its name in it, and bytes that are no text."""
    for name in (*FILES, *STRANGERS):
        write(tmp_path / name, f"# {name}\n".encode() + b"\xff\x00\r\n\x80")
    monkeypatch.setattr(text.sysconfig, "get_path", {"stdlib": str(tmp_path)}.get)
    yield tmp_path
    forget()


def read(split):
    """A split of the library as bytes."""
    return standard_library(split).numpy().tobytes()


def names_in(split):
    """The files of the made-up library that a split holds, in its order."""
    return [line[2:].decode() for line in read(split).splitlines() if line.startswith(b"# ")]


# The corpus


def test_a_split_is_its_files_joined_in_order(library):
    """Byte by byte, newlines between; each file is in one split, and no stranger in any."""
    for split in SPLITS:
        names = names_in(split)
        assert names == sorted(names)
        assert read(split) == b"\n".join((library / name).read_bytes() for name in names)
        tokens, _ = stdlib_bytes(50, 9, torch.Generator().manual_seed(3), split=split)
        assert all(bytes(row) in read(split) for row in tokens.tolist())
    assert sorted(names_in("train") + names_in("test")) == sorted(FILES)


def test_a_new_file_moves_no_other(library):
    """The split of a file is a matter of its own path; about one in ten is for testing."""
    before = {split: names_in(split) for split in SPLITS}
    for number in range(30):
        write(library / f"added_{number}.py", f"# added_{number}.py".encode())
    for split in SPLITS:
        assert [name for name in names_in(split) if name in FILES] == before[split]
    held_out = sum(split_of(f"some/{number}.py") == "test" for number in range(10_000))
    assert 900 < held_out < 1130


def test_what_cannot_be_read_is_named(library, monkeypatch):
    """Another split; a library without source, as where it is zipped."""
    with pytest.raises(ValueError, match="split is 'validation'; allowed: train, test"):
        standard_library("validation")
    empty = library / "empty"
    monkeypatch.setattr(text.sysconfig, "get_path", {"stdlib": str(empty)}.get)
    with pytest.raises(FileNotFoundError, match=f"{empty}.*zipped"):
        standard_library("train")


def test_the_real_one_is_source_of_this_python():
    """Megabytes of it; a module we know is in one split, this machine's packages in none."""
    train, test = map(read, SPLITS)
    assert 3e6 < len(train) < 3e7
    assert 1e5 < len(test) < len(train) / 5
    source = Path(os.__file__).read_bytes()
    assert (source in train) + (source in test) == 1
    assert b"class RMSNorm" not in train + test


def test_facts_tell_corpora_apart(library):
    """Sizes, and a fingerprint that changes with any byte; the same for the same files."""
    facts = corpus_facts()
    assert [facts["train_bytes"], facts["test_bytes"]] == [len(read(split)) for split in SPLITS]
    forget()
    assert corpus_facts() == facts
    path = library / FILES[0]
    write(path, path.read_bytes().swapcase())
    changed = corpus_facts()
    assert changed["sha256"] != facts["sha256"]
    assert {**changed, "sha256": facts["sha256"]} == facts


# Windows


@given(st.integers(2, 40), st.data())
def test_windows_against_a_loop(size, data):
    """Each row is a slice of the corpus, from the place that the generator drew."""
    length = data.draw(st.integers(2, size))
    corpus = torch.randint(256, (size,)).to(torch.uint8)
    tokens, scored = windows(corpus, 3, length, torch.Generator().manual_seed(size))
    generator = torch.Generator().manual_seed(size)
    first = torch.randint(size - length + 1, (3, 1), generator=generator)
    for row, place in zip(tokens.tolist(), first.flatten().tolist(), strict=True):
        assert row == corpus[place : place + length].tolist()
    assert tokens.dtype == torch.int64
    assert scored.shape == tokens.shape
    assert scored.all()


def test_impossible_windows_are_refused():
    """One byte predicts nothing; no window is longer than the corpus; no batch is empty."""
    corpus = torch.zeros(10, dtype=torch.uint8)
    for length in (0, 1, 11):
        with pytest.raises(ValueError, match=f"length is {length}; allowed: 2 to 10"):
            windows(corpus, 1, length, torch.Generator())
    with pytest.raises(ValueError, match="batch is 0; allowed: 1 or more"):
        windows(corpus, 0, 4, torch.Generator())


# Bits per byte


class Table(nn.Module):
    """Logits that depend on the sum of what it read; keeps the shapes that it was given."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(97, 256, generator=torch.Generator().manual_seed(0)))
        self.shapes = []

    def forward(self, tokens):
        self.shapes.append(tokens.shape)
        return self.logits[tokens.cumsum(-1) % 97]


def random_bytes(batch, length, generator):
    """A task of bytes that no one can predict."""
    tokens = torch.randint(256, (batch, length), generator=generator)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def slow_bits(model, spans, length):
    """(bits, span, bytes read) of each prediction, one by one."""
    predictions = []
    for number, span in enumerate(spans.tolist()):
        for place in range(1, len(span)):
            begin = (place - 1) // length * length
            context = torch.tensor([span[begin:place]])
            probability = model(context)[0, -1].double().softmax(-1)[span[place]].item()
            predictions.append((-math.log2(probability), number, place - begin))
    return predictions


@pytest.mark.parametrize("lengths", [[12], [1, 2, 3, 4, 6, 12], [16, 1, 8], [5], [2, 14, 7]])
def test_bits_against_a_loop(lengths):
    """The same spans at every length: mean, standard error and every bucket.

    Buckets double and leave nothing out. The seed alone chooses the spans.
    """
    before = torch.get_rng_state()
    rows = bits_per_byte(Table(), random_bytes, lengths, n=5, seed=7)
    assert torch.equal(before, torch.get_rng_state())
    assert [row["length"] for row in rows] == lengths
    spans, _ = random_bytes(5, max(lengths) + 1, torch.Generator().manual_seed(7))
    for row in rows:
        slow = slow_bits(Table(), spans, row["length"])
        by_span = [
            statistics.mean(bits for bits, number, _ in slow if number == span) for span in range(5)
        ]
        assert row["bits_per_byte"] == pytest.approx(statistics.mean(by_span), rel=1e-5)
        error = statistics.stdev(by_span) / math.sqrt(5)
        assert row["se"] == pytest.approx(error, rel=1e-3, abs=1e-6)
        for first, last, bits in row["by_position"]:
            inside = [cost for cost, _, read in slow if first <= read <= last]
            assert bits == pytest.approx(statistics.mean(inside), rel=1e-5)
        lasts = [last for _, last, _ in row["by_position"]]
        firsts = [1, *(last + 1 for last in lasts[:-1])]
        assert [first for first, _, _ in row["by_position"]] == firsts
        assert lasts[-1] == row["length"]
        assert all(later == 2 * last for last, later in pairwise(lasts[:-1]))


def test_memory_is_bounded_and_the_bound_changes_nothing(monkeypatch):
    """No more tokens at once than allowed, or one chunk; each is read once."""
    expected = bits_per_byte(Table(), random_bytes, [8, 64], n=7, seed=0)
    monkeypatch.setattr(text, "TOKENS_AT_ONCE", 24)
    model = Table()
    assert bits_per_byte(model, random_bytes, [8, 64], n=7, seed=0) == expected
    assert max(shape.numel() for shape in model.shapes if shape[1] == 8) == 24
    assert {shape[0] for shape in model.shapes if shape[1] == 64} == {1}
    assert sum(shape.numel() for shape in model.shapes) == 2 * 7 * 64


def test_impossible_measurements_are_refused():
    """One span has no spread; chunks of the longest must be whole."""
    with pytest.raises(ValueError, match="n is 1; allowed: 2 or more spans"):
        bits_per_byte(Table(), random_bytes, [4], n=1, seed=0)
    for lengths in ([], [0], [-4], [4, 6], [3, 0]):
        with pytest.raises(ValueError, match="lengths is .*; allowed: one or more, all dividing"):
            bits_per_byte(Table(), random_bytes, lengths, n=2, seed=0)

"""The corpus of bytes: split by file; windows and bits a byte against slow loops."""

import hashlib
import math
import os
import statistics
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tra_mini import corpus
from tra_mini.corpus import (
    SPLITS,
    bits_per_byte,
    corpus_facts,
    split_of,
    standard_library,
    stdlib_bytes,
    windows,
)
from tra_mini.training import name_of

FILES = [f"module_{number}.py" for number in range(40)]
FILES += [f"package/part_{number}.py" for number in range(40)] + ["package/deep/er/inner.py"]
STRANGERS = ["site-packages/a.py", "dist-packages/b.py", "test/c.py", "package/tests/d.py"]
STRANGERS += ["idlelib/e.py", "_sysconfigdata__linux.py", "config-3.11-x86/f.py", "turtle.py"]
STRANGERS += ["encodings/g.py", "package/data.txt", "sitecustomize.py"]


def contents(name):
    """What is in a file of the made-up library: its own name, so that it can be found again."""
    return f"# {name}\nvalue = {len(name)}".encode()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A made-up standard library, in place of the real one."""
    for name in FILES + STRANGERS:
        write(tmp_path / name, contents(name))
    monkeypatch.setattr(corpus.sysconfig, "get_path", {"stdlib": str(tmp_path)}.get)
    forget()
    yield tmp_path
    forget()


def forget():
    """The corpus is read once and kept; after this, read anew."""
    standard_library.cache_clear()
    corpus_facts.cache_clear()


def write(path, source):
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(source)


def read(split):
    """A split of the library as bytes."""
    return standard_library(split).numpy().tobytes()


def names_in(split):
    """The files of the made-up library that a split holds, in its order."""
    return [line[2:].decode() for line in read(split).splitlines() if line.startswith(b"# ")]


class TestStandardLibrary:
    def test_a_split_is_its_files_joined_in_order(self, library):
        """Nothing but the sources, byte by byte, with a newline between."""
        for split in SPLITS:
            names = names_in(split)
            assert names == sorted(names)
            expected = [(library / name).read_bytes() for name in names]
            assert read(split) == b"\n".join(expected)

    def test_every_file_is_in_one_split_and_no_stranger_in_any(self, library):
        """Split by file; both splits have some."""
        train, test = map(names_in, SPLITS)
        assert sorted(train + test) == sorted(FILES)
        assert train and test

    def test_a_new_file_moves_no_other(self, library):
        """The split of a file is a matter of its own path."""
        before = {split: names_in(split) for split in SPLITS}
        for number in range(30):
            write(library / f"added_{number}.py", contents(f"added_{number}.py"))
        standard_library.cache_clear()
        after = {split: names_in(split) for split in SPLITS}
        assert sum(map(len, after.values())) == len(FILES) + 30
        for split in SPLITS:
            assert [name for name in after[split] if name in FILES] == before[split]

    def test_about_one_in_ten_is_for_testing(self):
        """Of many paths, by their hash."""
        held_out = sum(split_of(f"some/{number}.py") == "test" for number in range(10_000))
        assert 900 < held_out < 1130

    def test_bytes_that_are_no_text_are_kept(self, library):
        """No decoding anywhere."""
        for name in FILES:
            write(library / name, b"\xff\x00\r\n\x80")
        standard_library.cache_clear()
        assert set(read("train")) | set(read("test")) == set(b"\xff\x00\r\n\x80")

    def test_another_split_is_refused(self):
        """With the allowed ones."""
        with pytest.raises(ValueError, match="split is 'validation'; allowed: train, test"):
            standard_library("validation")

    def test_a_library_without_source_is_refused(self, library, monkeypatch):
        """As where it is zipped: the folder is named."""
        empty = library / "empty"
        monkeypatch.setattr(corpus.sysconfig, "get_path", {"stdlib": str(empty)}.get)
        standard_library.cache_clear()
        with pytest.raises(FileNotFoundError, match=f"{empty}.*zipped"):
            standard_library("train")

    def test_the_real_one_is_source_of_this_python(self):
        """Megabytes of it; a module we know is in one split, this machine's packages in none."""
        both = [read(split) for split in SPLITS]
        assert 3e6 < len(both[0]) < 3e7 and 1e5 < len(both[1]) < len(both[0]) / 5
        assert sorted(b"class ArgumentParser(" in text for text in both) == [False, True]
        source = Path(os.__file__).read_bytes()
        assert sorted(source in text for text in both) == [False, True]
        assert not any(b"class RMSNorm" in text for text in both)


def test_facts_tell_corpora_apart(library):
    """Sizes, and a fingerprint that changes with any byte; the same for the same files."""
    facts = corpus_facts()
    train, test = map(read, SPLITS)
    assert (facts["train_bytes"], facts["test_bytes"]) == (len(train), len(test))
    assert facts["sha256"] == hashlib.sha256(train + test).hexdigest()[:16]
    assert facts["python"] == ".".join(map(str, os.sys.version_info[:3]))
    forget()
    assert corpus_facts() == facts
    write(library / FILES[0], contents(FILES[0]).swapcase())
    forget()
    changed = corpus_facts()
    assert changed != facts and changed | {"sha256": facts["sha256"]} == facts


class TestWindows:
    @given(st.integers(2, 40), st.data())
    def test_against_a_loop(self, size, data):
        """Each row is a slice of the corpus, from the place that the generator drew."""
        length, batch = data.draw(st.integers(2, size)), data.draw(st.integers(1, 5))
        text = torch.randint(256, (size,)).to(torch.uint8)
        tokens, scored = windows(text, batch, length, torch.Generator().manual_seed(size))
        generator = torch.Generator().manual_seed(size)
        first = torch.randint(size - length + 1, (batch, 1), generator=generator)
        for row, place in zip(tokens.tolist(), first.flatten().tolist(), strict=True):
            assert row == text[place : place + length].tolist()
        assert tokens.dtype == torch.int64 and tokens.shape == scored.shape == (batch, length)
        assert scored.dtype == torch.bool and scored.all()

    def test_every_place_is_drawn(self):
        """The first and the last, too, about equally often."""
        text = torch.arange(12, dtype=torch.uint8)
        tokens, _ = windows(text, 5000, 3, torch.Generator().manual_seed(0))
        counts = torch.bincount(tokens[:, 0])
        assert len(counts) == 10 and counts.min() > 400 and counts.max() < 600

    @pytest.mark.parametrize("length", [-1, 0, 1, 11])
    def test_impossible_lengths_are_refused(self, length):
        """One byte predicts nothing; and no window is longer than the corpus."""
        with pytest.raises(ValueError, match=f"length is {length}; allowed: 2 to 10"):
            windows(torch.zeros(10, dtype=torch.uint8), 1, length, torch.Generator())

    @pytest.mark.parametrize("batch", [0, -2])
    def test_an_empty_batch_is_refused(self, batch):
        """As by every task."""
        with pytest.raises(ValueError, match=f"batch is {batch}; allowed: 1 or more"):
            windows(torch.zeros(10, dtype=torch.uint8), batch, 4, torch.Generator())

    @pytest.mark.parametrize("split", SPLITS)
    def test_of_the_library_as_a_task(self, library, split):
        """stdlib_bytes draws from its split alone, and has a name for records."""
        task = partial(stdlib_bytes, split=split)
        tokens, _ = task(50, 9, generator=torch.Generator().manual_seed(3))
        assert all(bytes(row) in read(split) for row in tokens.tolist())
        expected = windows(standard_library(split), 50, 9, torch.Generator().manual_seed(3))
        assert torch.equal(tokens, expected[0])
        assert name_of(task) == f"stdlib_bytes(split={split})"


class Table(nn.Module):
    """Logits that depend on the sum of what it read, or only on the last byte; keeps its shapes."""

    def __init__(self, all_of_it=True):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(97, 256, generator=torch.Generator().manual_seed(0)))
        self.all_of_it = all_of_it
        self.shapes = []

    def forward(self, tokens):
        self.shapes.append(tokens.shape)
        return self.logits[(tokens.cumsum(-1) if self.all_of_it else tokens) % 97]


def random_bytes(batch, length, generator):
    """A task of bytes that no one can predict."""
    tokens = torch.randint(256, (batch, length), generator=generator)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def slow_bits(model, spans, length):
    """[bits, span, bytes read] of each prediction, one by one."""
    predictions = []
    for number, span in enumerate(spans.tolist()):
        for place in range(1, len(span)):
            begin = (place - 1) // length * length
            context = torch.tensor([span[begin:place]])
            probability = model(context)[0, -1].double().softmax(-1)[span[place]].item()
            predictions.append([-math.log2(probability), number, place - begin])
    return predictions


class TestBitsPerByte:
    @pytest.mark.parametrize("lengths", [[12], [1, 2, 3, 4, 6, 12], [16, 1, 8], [5], [2, 14, 7]])
    def test_against_a_loop(self, lengths):
        """Mean, standard error and every bucket."""
        model, n = Table(), 5
        rows = bits_per_byte(model, random_bytes, lengths, n=n, seed=7)
        assert [row["length"] for row in rows] == lengths
        generator = torch.Generator().manual_seed(7)
        spans, _ = random_bytes(n, max(lengths) + 1, generator=generator)
        for row in rows:
            slow = slow_bits(model, spans, row["length"])
            assert len(slow) == n * max(lengths)
            by_span = [
                statistics.mean(bits for bits, number, _ in slow if number == span)
                for span in range(n)
            ]
            assert row["n"] == n
            assert row["bits_per_byte"] == pytest.approx(statistics.mean(by_span), rel=1e-5)
            expected = statistics.stdev(by_span) / math.sqrt(n)
            assert row["se"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
            for first, last, bits in row["by_position"]:
                inside = [cost for cost, _, read in slow if first <= read <= last]
                assert bits == pytest.approx(statistics.mean(inside), rel=1e-5)

    @pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 100, 128])
    def test_buckets_double_and_leave_nothing_out(self, length):
        """1, 2, 3-4, 5-8, ... up to the length, which may cut the last one off."""
        [row] = bits_per_byte(Table(), random_bytes, [length], n=2, seed=0)
        lasts = [last for _, last, _ in row["by_position"]]
        assert [first for first, _, _ in row["by_position"]] == [
            1,
            *(last + 1 for last in lasts[:-1]),
        ]
        assert lasts[-1] == length
        assert all(later == 2 * last for last, later in pairwise(lasts[:-1]))
        assert len(lasts) < 2 or lasts[-2] < length <= 2 * lasts[-2]

    def test_no_length_has_other_text(self):
        """A model that looks at the last byte alone does equally well with any context."""
        rows = bits_per_byte(Table(all_of_it=False), random_bytes, [1, 4, 32, 64], n=6, seed=0)
        for row in rows[1:]:
            assert row["bits_per_byte"] == pytest.approx(rows[0]["bits_per_byte"], rel=1e-6)
            assert row["se"] == pytest.approx(rows[0]["se"], rel=1e-4)

    def test_eight_bits_where_nothing_is_known(self):
        """A uniform guess, at every length and position, without any spread."""
        model = Table()
        nn.init.zeros_(model.logits)
        for row in bits_per_byte(model, random_bytes, [2, 8], n=3, seed=1):
            assert row["bits_per_byte"] == pytest.approx(8) and row["se"] < 1e-6
            assert all(bits == pytest.approx(8) for _, _, bits in row["by_position"])

    def test_memory_is_bounded_and_the_bound_changes_nothing(self, monkeypatch):
        """No more tokens at once than allowed, or one chunk; each is read once."""
        free, bound = Table(), Table()
        expected = bits_per_byte(free, random_bytes, [8, 64], n=7, seed=0)
        monkeypatch.setattr(corpus, "TOKENS_AT_ONCE", 24)
        assert bits_per_byte(bound, random_bytes, [8, 64], n=7, seed=0) == expected
        assert max(shape.numel() for shape in bound.shapes if shape[1] == 8) == 24
        assert {shape[0] for shape in bound.shapes if shape[1] == 64} == {1}
        assert sum(shape.numel() for shape in bound.shapes) == 2 * 7 * 64
        assert len(free.shapes) == 2

    def test_the_seed_alone_chooses_the_text(self):
        """And no global state is touched."""
        ask = partial(bits_per_byte, Table(), random_bytes, [4, 8], n=3)
        before = torch.get_rng_state()
        first = ask(seed=0)
        torch.rand(5)
        assert first == ask(seed=0) and first != ask(seed=1)
        torch.set_rng_state(before)
        ask(seed=0)
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize("n", [1, 0, -3])
    def test_too_few_spans_are_refused(self, n):
        """One has no spread."""
        with pytest.raises(ValueError, match=f"n is {n}; allowed: 2 or more spans"):
            bits_per_byte(Table(), random_bytes, [4], n=n, seed=0)

    @pytest.mark.parametrize("lengths", [[], [0], [-4], [4, 6], [3, 0], [-2, 4]])
    def test_lengths_that_do_not_divide_are_refused(self, lengths):
        """Chunks of the longest must be whole."""
        with pytest.raises(ValueError, match="lengths is .*; allowed: one or more, all dividing"):
            bits_per_byte(Table(), random_bytes, lengths, n=2, seed=0)

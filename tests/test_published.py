"""The published sets, read from small copies of each kind; the authors' protocol on such a copy."""

import csv
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported, which no file does at once

import tra_mini
from tra_mini import __main__, decode, encode, flip_flop, protocol, published, starts, training
from tra_mini.corpus import windows
from tra_mini.evaluation import wilson_interval
from tra_mini.published import (
    flip_flop_rows,
    published_flip_flop,
    texts,
    wikitext,
    wikitext_bytes,
)
from tra_mini.recipes import PAPER, flip_flop_config
from tra_mini.tasks import READ
from tra_mini.training import name_of

ROOT = Path(tra_mini.__file__).parents[1]
LENGTH = 32
SIZES = {"train": 24, "val": 9, "val_sparse": 14, "val_dense": 5}
P_IGNORE = {"train": 0.8, "val": 0.8, "val_sparse": 0.98, "val_dense": 0.1}
LINES = [" = A title = \n", "", " Two words , and a dash – there \n", "", "no end", "  \n"]
TINY = {"n_layer": 1, "n_head": 2, "d_model": 8, "steps": 6, "batch": 4, "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """What the library keeps goes to a folder of the test's own; nothing is remembered."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(starts, "MODELS", tmp_path / "models")
    yield
    flip_flop_rows.cache_clear()
    wikitext.cache_clear()


def strings(split, length=LENGTH):
    """The made-up rows of a split."""
    generator = torch.Generator().manual_seed(len(split))
    tokens, _ = flip_flop(SIZES[split], length, P_IGNORE[split], generator=generator)
    return [decode(row) for row in tokens]


def write(path, rows):
    """A file of rows, of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": row, "other": 1}) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([["text"], *([row] for row in rows)])
    elif path.suffix == ".txt":
        path.write_text("".join(row.removesuffix("\n") + "\n" for row in rows))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"text": rows}), path)
    return path


@pytest.fixture
def copy(tmp_path):
    """A folder with the four splits."""
    for split in SIZES:
        write(tmp_path / "copy" / f"{split}.jsonl", strings(split))
    return str(tmp_path / "copy")


def refused(source, split="train", read=flip_flop_rows):
    """What a reader says of what it does not take."""
    with pytest.raises(ValueError) as refusal:
        read(str(source), split)
    message = str(refusal.value)
    assert "\n" not in message
    return message


class TestCopies:
    @pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet", ".txt"])
    def test_of_every_kind(self, tmp_path, kind):
        """Every row as encode gives it, in order; val_sparse is not taken for a part of val."""
        for split in SIZES:
            write(tmp_path / "copy" / f"{split}{kind}", strings(split))
        (tmp_path / "copy" / "README.md").write_text("about the copy")
        for split, size in SIZES.items():
            rows = flip_flop_rows(str(tmp_path / "copy"), split)
            assert rows.dtype == torch.uint8 and rows.shape == (size, LENGTH)
            assert torch.equal(rows.long(), torch.stack([encode(row) for row in strings(split)]))

    def test_named_as_the_hub_names_its_parts(self, tmp_path):
        """train-00000-of-00002-....parquet and the next are one split, in order."""
        rows = strings("train")
        write(tmp_path / "data" / "train-00001-of-00002-b4ca32.parquet", rows[10:])
        write(tmp_path / "data" / "train-00000-of-00002-bf5f77.parquet", rows[:10])
        write(tmp_path / "data" / "val-00000-of-00001.parquet", strings("val"))
        found = flip_flop_rows(str(tmp_path / "data"), "train")
        assert [decode(row) for row in found] == rows

    def test_a_file_is_the_split_that_it_is_named_after(self, tmp_path):
        """And has no other."""
        path = write(tmp_path / "val_dense.jsonl", strings("val_dense"))
        assert len(flip_flop_rows(str(path), "val_dense")) == SIZES["val_dense"]
        assert refused(path, "val").startswith("split is 'val'; allowed: val_dense, those of ")

    def test_rows_are_read_in_parts(self, copy, monkeypatch):
        """However many at once: the same rows."""
        expected = flip_flop_rows(copy, "train")
        for at_once in (1, 5, 23, 24, 25):
            monkeypatch.setattr(published, "ROWS", at_once)
            flip_flop_rows.cache_clear()
            assert torch.equal(flip_flop_rows(copy, "train"), expected)


class TestRefusals:
    def test_an_unknown_split_lists_those_there(self, copy):
        """By name."""
        message = refused(copy, "test")
        assert message.startswith("split is 'test'; allowed: ") and copy in message
        assert all(split in message for split in SIZES)

    def test_a_missing_column_lists_those_there(self, tmp_path):
        """The column is called text."""
        (tmp_path / "train.jsonl").write_text('{"string": "w0r0"}\n')
        message = refused(tmp_path / "train.jsonl")
        assert "has the columns" in message and "'string'" in message
        assert message.endswith("allowed: text, of strings")

    def test_a_column_of_numbers_is_none_of_strings(self, tmp_path):
        """As a table of digits would be read."""
        path = write(tmp_path / "train.csv", ["0101", "0110"])
        assert refused(path).endswith("allowed: text, of strings")

    @pytest.mark.parametrize("shorter", ["w0i1r0", "", None])
    def test_ragged_strings(self, tmp_path, shorter, monkeypatch):
        """The row is counted from the split's first, in whichever part it is read."""
        monkeypatch.setattr(published, "ROWS", 3)
        path = write(tmp_path / "val.jsonl", ["w0i1i0r0"] * 7 + [shorter])
        found = f"row 7 of {path}, val, has {len(shorter or '')} characters"
        assert refused(path, "val") == f"{found}; allowed: 8, as the first"

    @pytest.mark.parametrize(
        ("row", "place"),
        [("w0x1r0", 2), ("w0i2r0", 3), ("w0i1r\n", 5), ("0wi1r0", 0), ("wwi1r0", 1), ("w0i1rß", 5)],
    )
    def test_what_is_no_flip_flop_string(self, tmp_path, row, place, monkeypatch):
        """The row, the character and its place."""
        monkeypatch.setattr(published, "ROWS", 2)
        path = write(tmp_path / "train.jsonl", ["w0i1r0"] * 5 + [row])
        found = f"row 5 of {path}, train, has {row[place]!r} at {place}"
        assert refused(path) == f"{found}; allowed: one of w, r, i, then 0 or 1, in turn"

    @pytest.mark.parametrize("row", ["", "w0", "w0r"])
    def test_too_short_or_odd(self, tmp_path, row):
        """As flip_flop refuses such lengths."""
        path = write(tmp_path / "train.jsonl", [row] * 3)
        expected = f"{path}, train, has length {len(row)}; allowed: even numbers from 4"
        assert refused(path) == expected

    def test_folders_without_files_or_with_several_kinds(self, tmp_path):
        """The kinds are listed."""
        assert refused(tmp_path).endswith(
            "allowed: files of one kind of .jsonl, .csv, .parquet, .txt"
        )
        write(tmp_path / "train.csv", strings("train"))
        write(tmp_path / "val.jsonl", strings("val"))
        assert f"source is {tmp_path}, with 2 kinds of files" in refused(tmp_path)

    @pytest.mark.parametrize("broken", ['{"text": "w0', '{"text": "w0r0"}\n[1]\n', ""])
    def test_a_broken_file(self, tmp_path, broken):
        """One line, with the file."""
        path = tmp_path / "train.jsonl"
        path.write_text(broken)
        assert f"source is {str(path)!r}, which cannot be read (" in refused(path)

    @pytest.mark.parametrize("source", ["synthseq/flipflop", "Salesforce/wikitext", "no/such/set"])
    def test_without_a_network(self, source):
        """What a set of the hub needs."""
        message = refused(source, read=texts)
        assert message.startswith(f"source is {source!r}, which cannot be read (")
        assert message.endswith("which the first time needs the network, or a copy on disk")

    @pytest.mark.parametrize("read", [flip_flop_rows, wikitext])
    def test_without_the_library(self, copy, monkeypatch, read):
        """The command that installs it."""
        monkeypatch.setitem(sys.modules, "datasets", None)
        missing = "published sets need the library datasets"
        assert refused(copy, read=read) == f"{missing}; install it: pip install '.[data]'"


@pytest.mark.parametrize(
    ("read", "source", "configuration"),
    [
        (flip_flop_rows, "synthseq/flipflop", None),
        (wikitext, "Salesforce/wikitext", "wikitext-103-raw-v1"),
    ],
)
def test_what_is_asked_of_the_hub(read, source, configuration, copy, monkeypatch):
    """The set by its name, and of WikiText the configuration; all splits, then the one wanted."""
    import datasets

    load, asked = datasets.load_dataset, []

    def load_dataset(path, name=None):
        asked.append((path, name))
        return load(**published.copied(copy))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(read(source, "val")) > 0
    assert asked == [(source, configuration)]


class TestPublishedFlipFlop:
    def test_is_a_task_of_the_rows(self, copy):
        """Rows of the split alone; a read's answer is scored; the generator decides."""
        task = partial(published_flip_flop, source=copy, split="val")
        tokens, scored = task(200, LENGTH, generator=torch.Generator().manual_seed(0))
        assert tokens.dtype == torch.int64 and tokens.shape == scored.shape == (200, LENGTH)
        assert {decode(row) for row in tokens} == set(strings("val"))  # each of them drawn
        assert torch.equal(scored, tokens == READ)
        again, _ = task(200, LENGTH, generator=torch.Generator().manual_seed(0))
        other, _ = task(200, LENGTH, generator=torch.Generator().manual_seed(1))
        assert torch.equal(tokens, again) and not torch.equal(tokens, other)
        assert name_of(task) == f"published_flip_flop(source={copy}, split=val)"

    def test_draws_evenly(self, copy):
        """Each row about as often."""
        task = partial(published_flip_flop, source=copy, split="val_dense")
        tokens, _ = task(5000, LENGTH, generator=torch.Generator().manual_seed(0))
        drawn = [decode(row) for row in tokens]
        assert all(900 < drawn.count(row) < 1100 for row in strings("val_dense"))

    @pytest.mark.parametrize("length", [LENGTH - 2, LENGTH + 2, 0])
    def test_another_length_is_refused(self, copy, length):
        """Both are named."""
        found = f"length is {length}; allowed: {LENGTH}, as in {copy}, train"
        with pytest.raises(ValueError, match=re.escape(found)):
            published_flip_flop(2, length, torch.Generator(), source=copy)

    def test_an_empty_batch_is_refused(self, copy):
        """As by every task."""
        with pytest.raises(ValueError, match="batch is 0; allowed: 1 or more"):
            published_flip_flop(0, LENGTH, torch.Generator(), source=copy)


class TestWikitext:
    @pytest.mark.parametrize("kind", [".jsonl", ".parquet", ".txt"])
    def test_is_the_file_that_its_rows_came_from(self, tmp_path, kind, monkeypatch):
        """A row a line, an empty one too, whether or not it kept its end; in UTF-8."""
        monkeypatch.setattr(published, "ROWS", 4)
        path = write(tmp_path / f"validation{kind}", LINES)
        expected = "".join(line.removesuffix("\n") + "\n" for line in LINES).encode()
        text = wikitext(str(path), "validation")
        assert text.dtype == torch.uint8 and text.numpy().tobytes() == expected

    def test_is_a_task_of_windows(self, tmp_path):
        """The same as of any corpus of bytes."""
        path = str(write(tmp_path / "test.jsonl", LINES))
        task = partial(wikitext_bytes, source=path, split="test")
        tokens, scored = task(6, 11, generator=torch.Generator().manual_seed(5))
        expected = windows(wikitext(path, "test"), 6, 11, torch.Generator().manual_seed(5))
        assert torch.equal(tokens, expected[0]) and torch.equal(scored, expected[1])
        assert name_of(task) == f"wikitext_bytes(source={path}, split=test)"
        with pytest.raises(ValueError, match="length is 1; allowed: 2 to"):
            task(1, 1, generator=torch.Generator())


class TestProtocol:
    def test_rows_in_order(self):
        """Each row once, in parts, whatever the parts."""
        rows = torch.randint(3, (10, 4), dtype=torch.uint8)
        task = protocol.in_order(rows)
        parts = [task(n, 4, generator=None) for n in (3, 4, 3)]
        assert torch.equal(torch.cat([tokens for tokens, _ in parts]), rows.long())
        assert torch.equal(torch.cat([scored for _, scored in parts]), rows == READ)

    def test_every_row_is_tested_and_counted(self, copy, capsys):
        """Against a loop over the rows, with the model that was kept."""
        config = flip_flop_config("tra", 3) | TINY
        results = protocol.on_published(copy, config)
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"{SIZES['train']} strings of {LENGTH} tokens to learn from"
        kept = torch.load(said[2].removeprefix("kept in "), weights_only=True)
        model = tra_mini.GPT(tra_mini.GPTConfig(n_layer=1, n_head=2, d_model=8))
        model.load_state_dict(kept["model"])
        assert kept["settings"]["task"] == f"published_flip_flop(source={copy}, split=train)"
        assert [row["split"] for row in results] == ["val", "val_sparse", "val_dense"]
        for row, line in zip(results, said[3:], strict=True):
            rows = [encode(string) for string in strings(row["split"])]
            exact = right = reads = 0
            for tokens in rows:
                guess = model(tokens[None])[0].argmax(-1)
                answers = [
                    guess[place] == tokens[place + 1]
                    for place in range(LENGTH - 1)
                    if tokens[place] == READ
                ]
                exact, right, reads = (
                    exact + all(answers),
                    right + sum(answers),
                    reads + len(answers),
                )
            assert row["n"] == len(rows) and row["reads"] == reads
            assert row["exact_match"] == exact / len(rows)
            assert row["per_read"] == pytest.approx(right.item() / reads)
            assert (row["low"], row["high"]) == wilson_interval(exact, len(rows))
            assert f"{row['split']}: {row['exact_match']:.5f} ({row['low']:.5f} to" in line
            assert f"of {len(rows)} strings" in line and f"of {reads} reads right" in line

    def test_each_split_serves_its_purpose(self, tmp_path):
        """A split whose answer is the one to learn is right, another of the same question wrong."""
        bits = {"train": 1, "val": 1, "val_sparse": 0, "val_dense": 1}
        for split, bit in bits.items():
            write(tmp_path / "copy" / f"{split}.jsonl", [f"w0i0r{bit}"] * 5)
        config = flip_flop_config("tra", 0) | TINY | {"steps": 60, "learning_rate": 3e-2}
        results = protocol.on_published(str(tmp_path / "copy"), config)
        assert {row["split"]: row["exact_match"] for row in results} == {
            split: bits[split] for split in protocol.TESTS
        }

    def test_a_missing_split_is_said_before_training(self, copy, monkeypatch):
        """Not after hours."""
        os.remove(Path(copy) / "val_dense.jsonl")
        monkeypatch.setattr(protocol, "trained", None)  # calling it would be a TypeError
        with pytest.raises(ValueError, match="split is 'val_dense'; allowed: "):
            protocol.on_published(copy, flip_flop_config("tra", 0))

    def test_a_changed_copy_is_another_set(self, copy, capsys):
        """Its models are others."""
        kept = []
        for _ in range(2):
            protocol.on_published(copy, flip_flop_config("tra", 0) | TINY)
            kept.append(capsys.readouterr().out.splitlines()[2])
            write(Path(copy) / "train.jsonl", strings("train")[::-1])
            flip_flop_rows.cache_clear()
        assert len(set(kept)) == 2


class TestCommand:
    @pytest.fixture
    def asked(self, monkeypatch):
        """The configs that would be trained, by either way."""
        asked = []

        def on_published(source, config, device):
            asked.append((source, config, device))

        def trained(config, device):
            asked.append((None, config, device))
            raise ValueError("enough")

        monkeypatch.setattr(__main__, "on_published", on_published)
        monkeypatch.setattr(__main__, "trained", trained)
        return asked

    def test_the_authors_protocol(self, asked):
        """Every number of it reaches training; so do mechanism, seed and device."""
        command = "train --data synthseq/flipflop --preset paper --device cuda --seed 4"
        __main__.main([*command.split(), "--mechanism", "fox"])
        [(source, config, device)] = asked
        assert (source, device) == ("synthseq/flipflop", "cuda")
        published_numbers = {"n_layer": 4, "n_head": 4, "d_model": 256, "length": 512, "batch": 64}
        published_numbers |= {"steps": 25000, "learning_rate": 1e-4, "warmup": 0, "starts": 1}
        published_numbers |= {"mechanism": "fox", "seed": 4}
        assert published_numbers.items() <= config.items()

    def test_either_option_alone_and_none(self, asked):
        """The preset on generated strings; the small recipe on a set; --steps goes before both."""
        for arguments in (["--preset", "paper"], ["--steps", "7"], []):
            with pytest.raises(SystemExit, match="tra_mini: enough"):
                __main__.main(["train", *arguments])
        __main__.main(["train", "--data", "a/set"])
        __main__.main(["train", "--data", "a/set", "--preset", "paper", "--steps", "9"])
        small = flip_flop_config("tra", 0)
        assert [config for _, config, _ in asked] == [
            small | PAPER,
            small | {"steps": 7},
            small,
            small,
            small | PAPER | {"steps": 9},
        ]
        assert [source for source, _, _ in asked] == [None, None, None, "a/set", "a/set"]

    def test_stopped_and_started_again(self, copy, monkeypatch, capsys):
        """Ctrl-C half-way; the same command ends with the weights of one that was not stopped."""
        monkeypatch.setattr(training, "SAVE_EVERY", 2)
        monkeypatch.setattr(__main__, "PAPER", PAPER | TINY)
        arguments = ["train", "--data", copy, "--preset", "paper"]

        calls = []

        @functools.wraps(published_flip_flop)
        def stopping(*shape, **settings):
            calls.append(shape)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return published_flip_flop(*shape, **settings)

        monkeypatch.setitem(starts.KNOWN, "published_flip_flop", stopping)
        with pytest.raises(SystemExit) as stopped:
            __main__.main(arguments)
        assert "stopped in step 4 of 6; the same call goes on from step 2" in str(stopped.value)
        __main__.main(arguments)
        assert len(calls) == 4 + 4 + 256 // 128  # four steps left, then the loss of what it learned
        path = Path(capsys.readouterr().out.splitlines()[-4].removeprefix("kept in "))
        resumed = torch.load(path, weights_only=True)
        path.unlink()
        __main__.main(arguments)
        whole = torch.load(path, weights_only=True)
        assert resumed["settings"] == whole["settings"]
        for name, values in whole["model"].items():
            assert torch.equal(values, resumed["model"][name]), name

    def test_as_a_process(self, copy, tmp_path):
        """Six lines and nothing else: no bar, no warning, no file but the model's."""
        package = tmp_path / "package"
        shutil.copytree(
            ROOT / "tra_mini", package / "tra_mini", ignore=shutil.ignore_patterns("__pycache__")
        )
        done = subprocess.run(
            [sys.executable, "-B", "-m", "tra_mini", "train", "--data", copy, "--steps", "2"],
            cwd=package,
            env=os.environ | {"PYTHONPATH": str(package), "HF_HOME": str(tmp_path / "hub")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert [line.split(":")[0].strip() for line in lines[3:]] == list(protocol.TESTS)
        kept = Path(lines[2].removeprefix("kept in "))
        files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".py"]
        assert files == [kept]

    @pytest.mark.parametrize("source", ["synthseq/flipflop", "no such folder"])
    def test_what_cannot_be_read_is_one_line(self, source):
        """Without a traceback."""
        with pytest.raises(SystemExit) as stopped:
            __main__.main(["train", "--data", source])
        assert str(stopped.value.code).startswith(f"tra_mini: source is {source!r}, which cannot")
        assert "\n" not in stopped.value.code

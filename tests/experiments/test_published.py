"""The published strings, read from small copies of each kind; the authors' protocol on a copy."""

import csv
import json
import os
import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported, which no file does at once

from experiments import __main__, checkpoints, protocol, published, runs
from experiments.grids import PAPER, flip_flop_config
from experiments.published import flip_flop_rows, published_flip_flop, texts
from tra_mini import GPT, GPTConfig, decode, encode, flip_flop
from tra_mini.evaluation import wilson_interval
from tra_mini.tasks import READ

datasets = pytest.importorskip("datasets")

LENGTH = 32
SPLITS = {"train": (24, 0.8), "val": (9, 0.8), "val_sparse": (14, 0.98), "val_dense": (5, 0.1)}
TINY = {"n_layer": 1, "n_head": 2, "d_model": 8, "steps": 6, "batch": 4, "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """What the library keeps goes to a folder of the test's own; nothing is remembered.

    Rows are read three at a time, so that most copies are read in several parts.
    """
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(runs, "MODELS", tmp_path / "models")
    monkeypatch.setattr(published, "ROWS", 3)
    yield
    flip_flop_rows.cache_clear()


def strings(split):
    """The made-up rows of a split."""
    size, p_ignore = SPLITS[split]
    generator = torch.Generator().manual_seed(size)
    tokens, _ = flip_flop(size, LENGTH, p_ignore, generator=generator)
    return [decode(row) for row in tokens]


def write(path, rows):
    """A file of rows, of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps({"text": row, "other": 1}) + "\n" for row in rows), encoding="utf-8"
        )
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([row] for row in rows)])
    elif path.suffix == ".txt":
        path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    else:
        from pyarrow import parquet, table

        parquet.write_table(table({"text": rows}), path)
    return str(path)


@pytest.fixture
def copy(tmp_path):
    """A folder with the four splits."""
    for split in SPLITS:
        write(tmp_path / "copy" / f"{split}.jsonl", strings(split))
    return str(tmp_path / "copy")


def rows_of(source, split="train"):
    """The rows of a copy, as strings."""
    return [decode(row) for row in flip_flop_rows(str(source), split)]


def refusal(source, split="train"):
    """What the reader says of what it does not take, in one line."""
    with pytest.raises(ValueError) as refused:
        flip_flop_rows(str(source), split)
    message = str(refused.value)
    assert "\n" not in message
    return message


# Copies


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet", ".txt"])
def test_copies_of_every_kind(tmp_path, kind):
    """Every row as encode gives it, in order; val_sparse is not taken for a part of val."""
    for split in SPLITS:
        write(tmp_path / "copy" / f"{split}{kind}", strings(split))
    (tmp_path / "copy" / "README.md").write_text("about the copy", encoding="utf-8")
    for split in SPLITS:
        rows = flip_flop_rows(str(tmp_path / "copy"), split)
        assert rows.dtype == torch.uint8
        assert torch.equal(rows.long(), torch.stack([encode(row) for row in strings(split)]))


def test_named_as_the_hub_names_its_parts(tmp_path):
    """train-00000-of-00002-....parquet and the next are one split, in order."""
    rows = strings("train")
    write(tmp_path / "data" / "train-00001-of-00002-b4ca32.parquet", rows[10:])
    write(tmp_path / "data" / "train-00000-of-00002-bf5f77.parquet", rows[:10])
    write(tmp_path / "data" / "val-00000-of-00001.parquet", strings("val"))
    assert rows_of(tmp_path / "data") == rows


@pytest.mark.parametrize(
    ("name", "sibling"), [("run[12]", "run1"), ("run?", "runs"), ("a*", "ab"), ("[!a]", "b")]
)
def test_a_name_is_no_pattern(tmp_path, name, sibling):
    """A folder named run[12] is read itself, and not its sibling run1; so is a file."""
    write(tmp_path / name / "train.jsonl", ["w1r1"])
    write(tmp_path / sibling / "train.jsonl", ["w0r0"])
    assert rows_of(tmp_path / name) == ["w1r1"]
    write(tmp_path / name / f"val-{sibling}.jsonl", ["w0i0r0"])
    file = write(tmp_path / name / f"val-{name}.jsonl", ["w1i0r1"])
    assert rows_of(file, "val") == ["w1i0r1"]


def test_rows_that_look_like_missing_values_are_text(tmp_path):
    """NA, null, None and nan of a CSV file are read as they are."""
    words = ["NA", "null", "None", "nan", "N/A", "w1r1"]
    source = write(tmp_path / "train.csv", words)
    assert texts(source, "train")["text"][:] == words
    assert refusal(source).endswith("train, has length 2; allowed: even numbers from 4")


# Refusals

FORM = "allowed: one of w, r, i, then 0 or 1, in turn"
WRITTEN = "has a read whose bit was not written last; allowed: the most recently written bit"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("w0i1r000", "has 8 characters; allowed: 6, as the first"),
        ("", "has 0 characters; allowed: 6"),
        (None, "has 0 characters; allowed: 6"),
        ("w0x1r0", f"has 'x' at 2; {FORM}"),
        ("w0i2r0", f"has '2' at 3; {FORM}"),
        ("w0i1r\n", f"has '\\n' at 5; {FORM}"),
        ("0wi1r0", f"has '0' at 0; {FORM}"),
        ("wwi1r0", f"has 'w' at 1; {FORM}"),
        ("w0i1rß", f"has 'ß' at 5; {FORM}"),
        ("w0i0r1", WRITTEN),
        ("w1i0r0", WRITTEN),  # the bit ignored
        ("w0w1r0", WRITTEN),  # an older one
        ("r0w0r0", WRITTEN),  # before any
        ("w0i1w1", "has no read; allowed: one or more"),
    ],
)
def test_a_row_that_is_no_flip_flop_string_is_named(tmp_path, row, message):
    """Counted from the split's first, in whichever part it is read."""
    source = write(tmp_path / "train.jsonl", ["w0i1r0"] * 7 + [row, "w0i1r1"])
    assert refusal(source).startswith(f"row 7 of {source}, train, {message}")


def test_sources_that_will_not_do(tmp_path, copy):
    """Splits, columns, kinds, lengths: what is there, and what is allowed."""
    message = refusal(copy, "test")
    assert message.startswith("split is 'test'; allowed: ")
    assert all(split in message for split in SPLITS)
    (tmp_path / "train.jsonl").write_text('{"string": "w0r0"}\n', encoding="utf-8")
    assert "'string'" in refusal(tmp_path / "train.jsonl")
    for row in ("", "w0", "w0r"):
        source = write(tmp_path / "short" / f"train{len(row)}.jsonl", [row] * 3)
        message = refusal(source, f"train{len(row)}")
        assert message.endswith(f", has length {len(row)}; allowed: even numbers from 4")
    digits = write(tmp_path / "numbers" / "train.csv", ["0101", "0110"])
    assert refusal(digits).endswith("allowed: text, of strings")
    write(tmp_path / "numbers" / "val.jsonl", strings("val"))
    kinds = "with 2 kinds of files; allowed: files of one kind of .jsonl, .csv, .parquet, .txt"
    assert refusal(tmp_path / "numbers") == f"source is {tmp_path / 'numbers'}, {kinds}"


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet", ".txt"])
def test_an_empty_file_is_named(tmp_path, kind):
    """Also beside others of which each has strings."""
    write(tmp_path / "copy" / f"train{kind}", ["w1r1"])
    path = tmp_path / "copy" / f"val{kind}"
    path.touch()
    assert refusal(tmp_path / "copy") == f"{path} is empty; allowed: one string or more"


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".txt"])
def test_a_byte_order_mark_is_no_part_of_a_string(tmp_path, kind):
    """Windows writes it."""
    path = tmp_path / f"train{kind}"
    write(path, ["w1r1", "w0r0"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert rows_of(path) == ["w1r1", "w0r0"]


def test_a_csv_file_without_a_header_is_refused(tmp_path):
    """The strings of its splits differ, and so would the names of their columns."""
    for split in ("train", "val"):
        path = tmp_path / "copy" / f"{split}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(strings(split)) + "\n", encoding="utf-8")
    assert "columns expected but not found: ['text'])" in refusal(tmp_path / "copy")


def test_a_home_that_cannot_be_written_to_is_blamed_and_not_the_data(tmp_path, copy, monkeypatch):
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "library"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", home)
    assert refusal(copy).startswith(f"folder {home} cannot be written to (")


@pytest.mark.parametrize("broken", ['{"text": "w0', '{"text": "w0r0"}\n[1]\n'])
def test_a_broken_file(tmp_path, broken):
    """One line, with the file."""
    path = tmp_path / "train.jsonl"
    path.write_text(broken, encoding="utf-8")
    assert f"source is {str(path)!r}, which cannot be read (" in refusal(path)


def test_without_a_network_or_the_library(copy, monkeypatch):
    """What a set of the hub needs; the command that installs the library."""
    with pytest.raises(SystemExit) as stopped:
        __main__.main(["train", "--data", "synthseq/flipflop"])
    message = stopped.value.code
    assert message.startswith("experiments: source is 'synthseq/flipflop', which cannot be read (")
    assert message.endswith("which the first time needs the network, or a copy on disk")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refusal(copy).endswith("install it: pip install '.[data]'")


# As a task


def test_the_task_draws_rows_of_its_split_evenly(copy):
    """A read's answer is scored; the generator decides."""
    task = partial(published_flip_flop, source=copy, split="val_dense")
    tokens, scored = task(5000, LENGTH, generator=torch.Generator().manual_seed(0))
    assert torch.equal(scored, tokens == READ)
    drawn = [decode(row) for row in tokens]
    assert set(drawn) == set(strings("val_dense"))
    assert all(900 < drawn.count(row) < 1100 for row in strings("val_dense"))
    again, _ = task(5000, LENGTH, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tokens, again)
    with pytest.raises(ValueError, match=f"^length is 30; allowed: {LENGTH}, as in {copy}, val_"):
        task(2, 30, torch.Generator())
    with pytest.raises(ValueError, match="^batch is 0; allowed: 1 or more"):
        task(0, LENGTH, torch.Generator())


# The authors' protocol


def small(**changes):
    return flip_flop_config("tra", 3, **{**TINY, **changes})


def kept_in(printed):
    """The file that a training says its model is kept in."""
    return Path(re.search("^kept in (.*)$", printed, re.MULTILINE)[1])


def test_every_row_is_tested_and_counted(copy, capsys, monkeypatch):
    """Against a loop over the rows, with the model that was kept."""
    monkeypatch.setattr("tra_mini.evaluation.TOKENS_AT_ONCE", 4 * LENGTH)
    results = protocol.on_published(copy, small())
    printed = capsys.readouterr().out
    model = GPT(GPTConfig(n_layer=1, n_head=2, d_model=8))
    model.load_state_dict(torch.load(kept_in(printed), weights_only=True)["model"])
    assert printed.startswith(f"24 strings of {LENGTH} tokens to learn from\n")
    assert [row["split"] for row in results] == ["val", "val_sparse", "val_dense"]
    for row, line in zip(results, printed.splitlines()[3:], strict=True):
        answers = []
        for string in strings(row["split"]):
            tokens = encode(string)
            guesses = model(tokens[None])[0].argmax(-1)
            reads = (tokens == READ).nonzero()[:, 0]
            answers.append((guesses[reads] == tokens[reads + 1]).tolist())
        n = len(answers)
        exact = sum(map(all, answers))
        reads = sum(map(len, answers))
        assert (row["n"], row["exact_match"], row["reads"]) == (n, exact / n, reads)
        assert row["per_read"] == pytest.approx(sum(map(sum, answers)) / reads)
        assert (row["low"], row["high"]) == wilson_interval(exact, n)
        assert f"{row['split']}: {row['exact_match']:.5f} ({row['low']:.5f} to" in line
        assert f"of {n} strings" in line
        assert f"of {reads} reads correct" in line


def test_a_missing_split_is_said_before_training(copy, monkeypatch):
    """Not after hours."""
    (Path(copy) / "val_dense.jsonl").unlink()
    monkeypatch.setattr(protocol, "train_config", None)  # calling it would be a TypeError
    with pytest.raises(ValueError, match="split is 'val_dense'; allowed: "):
        protocol.on_published(copy, small())


@pytest.mark.parametrize("split", protocol.TESTS)
def test_a_test_without_reads_is_said_before_training(copy, monkeypatch, split):
    write(Path(copy) / f"{split}.jsonl", ["w0i1w0i1"] * 3)
    monkeypatch.setattr(protocol, "train_config", None)
    with pytest.raises(ValueError, match=f"^row 0 of {copy}, {split}, has no read"):
        protocol.on_published(copy, small())


def test_a_changed_copy_is_another_set(copy, capsys):
    """Its models are others."""
    paths = []
    for _ in range(2):
        protocol.on_published(copy, small())
        paths.append(kept_in(capsys.readouterr().out))
        write(Path(copy) / "train.jsonl", strings("train")[::-1])
        flip_flop_rows.cache_clear()
    assert paths[0] != paths[1]


def test_the_command_stopped_and_started_again(copy, monkeypatch, capsys):
    """Ctrl-C half-way; the same command ends with the weights of one that was not stopped."""
    monkeypatch.setattr(checkpoints, "SAVE_EVERY", 2)
    monkeypatch.setattr(__main__, "PAPER", {**PAPER, **TINY})
    arguments = ["train", "--data", copy, "--paper"]
    calls = []

    def stopping(*shape, **settings):
        calls.append(shape)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return published_flip_flop(*shape, **settings)

    monkeypatch.setitem(runs.KNOWN_TASKS, "published_flip_flop", stopping)
    with pytest.raises(SystemExit, match="stopped in step 4 of 6; the same command goes on from"):
        __main__.main(arguments)
    __main__.main(arguments)
    path = kept_in(capsys.readouterr().out)
    resumed = torch.load(path, weights_only=True)["model"]
    path.unlink()
    __main__.main(arguments)
    whole = torch.load(path, weights_only=True)["model"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)

"""The published flip-flop strings, read with the library `datasets`.

They come from the Hugging Face hub, or from a copy: a file, or a folder of files of one kind, in
which the file of split val is named val.jsonl, or val-ANYTHING.jsonl as the hub names its parts.
"""

import glob
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

from experiments.results import check_writable
from tra_mini.tasks import IGNORE, READ, VOCABULARY, WRITE, ZERO

FLIP_FLOP = "synthseq/flipflop"  # Liu et al. 2023; splits train, val, val_dense, val_sparse
KINDS = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}
ROWS = 10_000  # are read at once
UNKNOWN = len(VOCABULARY)
TOKEN_OF = np.full(256, UNKNOWN, np.uint8)  # of a character
TOKEN_OF[np.frombuffer(VOCABULARY.encode(), np.uint8)] = range(UNKNOWN)


def files_of(source):
    """load_dataset's arguments for a copy. ValueError for files of no known kind or of several."""
    source = Path(source)
    files = [source] if source.is_file() else sorted(source.iterdir())
    files = [file for file in files if file.suffix in KINDS]
    kinds = {KINDS[file.suffix] for file in files}
    if len(kinds) != 1:
        given = f"source is {source}, with {len(kinds)} kinds of files"
        raise ValueError(f"{given}; allowed: files of one kind of {', '.join(KINDS)}")

    # A file's name begins with its split.
    splits = {}
    for file in files:
        if file.stat().st_size == 0:
            raise ValueError(f"{file} is empty; allowed: one string or more")
        split = file.name.split(".")[0].split("-")[0]
        splits.setdefault(split, []).append(glob.escape(str(file)))  # the library takes patterns

    # Options with which the library reads every row as it stands.
    arguments = {"path": kinds.pop(), "data_files": splits}
    if arguments["path"] == "csv":
        arguments["keep_default_na"] = False  # a row NA or null is text
        arguments["usecols"] = ["text"]  # so that a file without a header is an error
    if arguments["path"] == "text":
        arguments["encoding"] = "utf-8-sig"  # a byte order mark belongs to no string
    return arguments


def texts(source, split):
    """A split's rows, with a column `text` -> datasets.Dataset. ValueError says what is missing."""
    try:
        import datasets
    except ImportError:
        missing = "published sets need the library datasets"
        raise ValueError(f"{missing}; install it: pip install '.[data]'") from None
    check_writable(datasets.config.HF_DATASETS_CACHE)  # the library's home, where it keeps copies
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()

    # A copy on disk, or a set of the hub.
    arguments = {"path": source}
    if Path(source).exists():
        arguments = files_of(source)
    try:
        found = datasets.load_dataset(**arguments)
    except Exception as error:  # of many kinds: no network, no such set, a broken file
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        given = f"source is {source!r}, which cannot be read ({type(error).__name__}: {reason})"
        allowed = "a set of the hub, which the first time needs the network, or a copy on disk"
        raise ValueError(f"{given}; allowed: {allowed}") from error

    # What was found must have this split, and text in it.
    if split not in found:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(found)}, those of {source}")
    columns = found[split].features
    if getattr(columns.get("text"), "dtype", None) not in ("string", "large_string"):
        raise ValueError(f"{source} has the columns {dict(columns)}; allowed: text, of strings")
    return found[split]


@cache
def flip_flop_rows(source, split):
    """The strings of a split, each such as "w0i1r0" -> tokens (n, length) uint8.

    Raises ValueError, naming the row, where strings are ragged, are no instructions each followed
    by a bit, or have no read or one whose bit is not the most recently written one.
    """
    strings = texts(source, split)
    length = len(strings[0]["text"] or "") if len(strings) else 0
    if length < 4 or length % 2:
        raise ValueError(f"{source}, {split}, has length {length}; allowed: even numbers from 4")
    rows = np.empty((len(strings), length), np.uint8)

    # Some rows at a time: they may be millions.
    for first in range(0, len(strings), ROWS):
        batch = [text or "" for text in strings[first : first + ROWS]["text"]]
        where = f"of {source}, {split},"

        # All as long as the first.
        for place, text in enumerate(batch):
            if len(text) != length:
                given = f"row {first + place} {where} has {len(text)} characters"
                raise ValueError(f"{given}; allowed: {length}, as the first")

        # Instructions and bits in turn.
        characters = np.frombuffer("".join(batch).encode("ascii", "replace"), np.uint8)
        tokens = TOKEN_OF[characters].reshape(-1, length)
        is_bit = np.arange(length) % 2 == 1
        wrong = np.where(is_bit, tokens < ZERO, tokens > IGNORE) | (tokens == UNKNOWN)
        if wrong.any():
            row, place = np.argwhere(wrong)[0]
            given = f"row {first + row} {where} has {batch[row][place]!r} at {place}"
            raise ValueError(f"{given}; allowed: one of w, r, i, then 0 or 1, in turn")

        # A read or more, each answered by the latest write.
        unread = (tokens != READ).all(1)
        if unread.any():
            given = f"row {first + unread.argmax()} {where} has no read"
            raise ValueError(f"{given}; allowed: one or more")
        row = first_wrong_answer(tokens)
        if row is not None:
            given = f"row {first + row} {where} has a read whose bit was not written last"
            raise ValueError(f"{given}; allowed: the most recently written bit after each r")
        rows[first : first + ROWS] = tokens
    return torch.from_numpy(rows)


def first_wrong_answer(tokens):
    """The first of the rows (n, length) with a read not answered by the latest write, or None."""
    instruction = tokens[:, 0::2]
    bit = tokens[:, 1::2]
    place = np.where(instruction == WRITE, np.arange(instruction.shape[1]), -1)
    latest = np.maximum.accumulate(place, 1)  # -1: nothing was written yet
    written = np.take_along_axis(bit, latest.clip(0), 1)
    wrong = (instruction == READ) & ((latest < 0) | (bit != written))
    return int(np.argwhere(wrong)[0][0]) if wrong.any() else None


def published_flip_flop(batch, length, generator, source=FLIP_FLOP, split="train"):
    """Flip-flop strings of a published split, drawn at random, as a task.

    Raises ValueError for a batch below 1, or another length than that of the strings.
    """
    rows = flip_flop_rows(source, split)
    if batch < 1:
        raise ValueError(f"batch is {batch}; allowed: 1 or more")
    if length != rows.shape[1]:
        raise ValueError(f"length is {length}; allowed: {rows.shape[1]}, as in {source}, {split}")
    tokens = rows[torch.randint(len(rows), (batch,), generator=generator)].long()
    return tokens, tokens == READ

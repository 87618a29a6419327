"""The published sets: flip-flop strings and WikiText-103, read with the library `datasets`.

Both come from the Hugging Face hub, or from a copy: a file, or a folder of files of one kind, in
which the file of split val is named val.jsonl, or val-ANYTHING.jsonl as the hub names its parts.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tra_mini.corpus import windows
from tra_mini.tasks import IGNORE, READ, VOCABULARY, ZERO

FLIP_FLOP = "synthseq/flipflop"  # Liu et al. 2023; splits train, val, val_dense, val_sparse
WIKITEXT = "Salesforce/wikitext"  # Merity et al. 2016; splits train, validation, test
CONFIGURATIONS = {WIKITEXT: "wikitext-103-raw-v1"}
KINDS = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet", ".txt": "text"}
ROWS = 10_000  # are read at once
UNKNOWN = len(VOCABULARY)
TOKEN_OF = np.full(256, UNKNOWN, np.uint8)  # of a character
TOKEN_OF[np.frombuffer(VOCABULARY.encode(), np.uint8)] = range(UNKNOWN)


def copied(source):
    """load_dataset's arguments for a copy. ValueError for files of no known kind or of several."""
    files = [Path(source)] if Path(source).is_file() else sorted(Path(source).iterdir())
    files = [file for file in files if file.suffix in KINDS]
    kinds = {KINDS[file.suffix] for file in files}
    if len(kinds) != 1:
        found = f"source is {source}, with {len(kinds)} kinds of files"
        raise ValueError(f"{found}; allowed: files of one kind of {', '.join(KINDS)}")
    splits = {}
    for file in files:
        splits.setdefault(file.name.split(".")[0].split("-")[0], []).append(str(file))
    return {"path": kinds.pop(), "data_files": splits}


def texts(source, split):
    """A split's rows, with a column `text` -> datasets.Dataset. ValueError says what is missing."""
    try:
        import datasets
    except ImportError:
        missing = "published sets need the library datasets"
        raise ValueError(f"{missing}; install it: pip install '.[data]'") from None
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    where = {"path": source, "name": CONFIGURATIONS.get(source)}
    where = copied(source) if Path(source).exists() else where
    try:
        found = datasets.load_dataset(**where)
    except Exception as error:  # of many kinds: no network, no such set, a broken file
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        found = f"source is {source!r}, which cannot be read ({type(error).__name__}: {reason})"
        allowed = "a set of the hub, which the first time needs the network, or a copy on disk"
        raise ValueError(f"{found}; allowed: {allowed}") from error
    if split not in found:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(found)}, those of {source}")
    columns = found[split].features
    if getattr(columns.get("text"), "dtype", None) not in ("string", "large_string"):
        raise ValueError(f"{source} has the columns {dict(columns)}; allowed: text, of strings")
    return found[split]


@cache
def flip_flop_rows(source, split):
    """The strings of a split, each such as "w0i1r0" -> tokens (n, length) uint8, see tasks.py.

    Raises ValueError where they are ragged, or no instructions each followed by a bit.
    """
    strings = texts(source, split)
    length = len(strings[0]["text"] or "") if len(strings) else 0
    if length < 4 or length % 2:
        raise ValueError(f"{source}, {split}, has length {length}; allowed: even numbers from 4")
    rows = np.empty((len(strings), length), np.uint8)
    for first in range(0, len(strings), ROWS):
        some = [text or "" for text in strings[first : first + ROWS]["text"]]
        ragged = next((place for place, text in enumerate(some) if len(text) != length), None)
        if ragged is not None:
            found = f"row {first + ragged} of {source}, {split}, has {len(some[ragged])} characters"
            raise ValueError(f"{found}; allowed: {length}, as the first")
        characters = np.frombuffer("".join(some).encode("ascii", "replace"), np.uint8)
        tokens = TOKEN_OF[characters].reshape(-1, length)
        is_bit = np.arange(length) % 2 == 1
        wrong = np.where(is_bit, tokens < ZERO, tokens > IGNORE) | (tokens == UNKNOWN)
        if wrong.any():
            row, place = np.argwhere(wrong)[0]
            found = f"row {first + row} of {source}, {split}, has {some[row][place]!r} at {place}"
            raise ValueError(f"{found}; allowed: one of w, r, i, then 0 or 1, in turn")
        rows[first : first + ROWS] = tokens
    return torch.from_numpy(rows)


def published_flip_flop(batch, length, generator, source=FLIP_FLOP, split="train"):
    """Flip-flop strings of a published split, drawn evenly, as a task: see tasks.flip_flop.

    Raises ValueError for a batch below 1, or another length than that of the strings.
    """
    rows = flip_flop_rows(source, split)
    if batch < 1:
        raise ValueError(f"batch is {batch}; allowed: 1 or more")
    if length != rows.shape[1]:
        raise ValueError(f"length is {length}; allowed: {rows.shape[1]}, as in {source}, {split}")
    tokens = rows[torch.randint(len(rows), (batch,), generator=generator)].long()
    return tokens, tokens == READ


@cache
def wikitext(source, split):
    """The text of a split -> its bytes, (length,) uint8; each row is a line, an empty one too."""
    corpus, lines = bytearray(), texts(source, split)
    for first in range(0, len(lines), ROWS):
        some = (text or "" for text in lines[first : first + ROWS]["text"])
        ended = (text if text.endswith("\n") else f"{text}\n" for text in some)
        corpus += "".join(ended).encode()
    return torch.frombuffer(corpus, dtype=torch.uint8)


def wikitext_bytes(batch, length, generator, source=WIKITEXT, split="train"):
    """Windows of WikiText-103's bytes, as a task: see corpus.windows."""
    return windows(wikitext(source, split), batch, length, generator)

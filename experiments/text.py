"""Language modelling over bytes: the standard library's own source, and bits per byte by length."""

import hashlib
import math
import os
import platform
import sysconfig
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

from tra_mini.evaluation import TOKENS_AT_ONCE

SPLITS = ("train", "test")
LEFT_OUT = {  # tests, what minimal installs lack, tables, and what belongs to one machine
    "site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "tkinter",
    "turtle.py", "turtledemo", "lib2to3", "distutils", "ensurepip", "encodings", "pydoc_data",
    "sitecustomize.py",
}  # fmt: skip
MACHINE = ("config-", "_sysconfigdata")  # names that begin so belong to one machine


@cache
def standard_library(split):
    """The source of the running Python's standard library -> its bytes, (length,) uint8.

    Files are joined in sorted order by newlines. About one in ten belongs to the split "test", by a
    hash of its path in the library, the others to "train": adding a file moves no other.
    Raises ValueError for another split, FileNotFoundError without source.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
    folder = Path(sysconfig.get_path("stdlib"))
    names = sorted(name for name in sources(folder) if split_of(name) == split)
    if not names:
        raise FileNotFoundError(f"no source of the standard library in {folder} (is it zipped?)")
    source = b"\n".join((folder / name).read_bytes() for name in names)
    return torch.frombuffer(bytearray(source), dtype=torch.uint8)


def sources(folder):
    """The paths in the library, such as json/decoder.py, of the files in the corpus."""
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if belongs(name)]  # os.walk enters no others
        for name in names:
            if name.endswith(".py") and belongs(name):
                yield Path(where, name).relative_to(folder).as_posix()


def belongs(name):
    return name not in LEFT_OUT and not name.startswith(MACHINE)


def split_of(name):
    """The split of a file, by its path in the library alone."""
    first_byte = hashlib.sha256(name.encode()).digest()[0]
    return "test" if first_byte < 26 else "train"  # 26 of 256


@cache
def corpus_facts():
    """What a results record says of the corpus: Python's version, bytes, a fingerprint."""
    train = standard_library("train").numpy().tobytes()
    test = standard_library("test").numpy().tobytes()
    return {
        "python": platform.python_version(),
        "train_bytes": len(train),
        "test_bytes": len(test),
        "sha256": hashlib.sha256(train + test).hexdigest()[:16],
    }


def windows(corpus, batch, length, generator):
    """Stretches of a corpus (bytes,) uint8, from random places -> tokens, scored (all True).

    Both are (batch, length); a token is a byte, 0 ... 255. Raises ValueError if batch is below 1,
    or length below 2 or beyond the corpus.
    """
    if batch < 1:
        raise ValueError(f"batch is {batch}; allowed: 1 or more")
    if not 2 <= length <= len(corpus):
        raise ValueError(f"length is {length}; allowed: 2 to {len(corpus):,}, the whole corpus")
    first = torch.randint(len(corpus) - length + 1, (batch, 1), generator=generator)
    tokens = corpus[first + torch.arange(length)].long()  # (batch, length)
    return tokens, torch.ones_like(tokens, dtype=torch.bool)


def stdlib_bytes(batch, length, generator, split="train"):
    """Windows of standard_library(split), as a task."""
    return windows(standard_library(split), batch, length, generator)


@torch.inference_mode()
def bits_per_byte(model, task, lengths, *, n, seed):
    """The cost of predicting text of task(batch, length, generator), by the length of context.

    The text is the same for all lengths: n spans of the longest of them, and a byte more. At each
    length a span is cut into chunks of that length, which are read on their own. So every byte but
    a span's first is predicted at every length, from the bytes of its chunk that come before it.
    Returns a row for each length: length, n, bits_per_byte (mean), se (its standard error over the
    spans) and by_position: [first, last, bits] of the predictions from first ... last bytes, with
    1, 2, 3-4, 5-8, ... of them. Raises ValueError if n is below 2, or a length does not divide the
    longest.
    """
    if not hasattr(n, "__index__") or n < 2:
        raise ValueError(f"n is {n}; allowed: 2 or more spans")
    longest = max(lengths, default=0)
    if longest < 1 or any(length < 1 or longest % length for length in lengths):
        raise ValueError(f"lengths is {lengths}; allowed: one or more, all dividing the longest")
    spans, _ = task(n, longest + 1, generator=torch.Generator().manual_seed(seed % 2**63))

    # The same spans, cut into chunks of each length.
    rows = []
    for length in lengths:
        chunks = spans[:, :-1].reshape(-1, length)
        answers = spans[:, 1:].reshape(-1, length)
        bits = cost(model, chunks, answers)  # (n * longest / length, length)
        by_span = bits.view(n, longest).mean(1)
        ends = [2**power for power in range((length - 1).bit_length())] + [length]
        row = {"length": length, "n": n, "bits_per_byte": by_span.mean().item()}
        row["se"] = by_span.std().item() / math.sqrt(n)
        row["by_position"] = [
            [before + 1, last, bits[:, before:last].mean().item()]
            for before, last in pairwise([0, *ends])
        ]
        rows.append(row)
    return rows


def cost(model, chunks, answers):
    """Bits of each answer, the byte that follows; both (count, length) -> (count, length)."""
    batch = max(1, TOKENS_AT_ONCE // chunks.shape[1])
    nats = []
    for inputs, targets in zip(chunks.split(batch), answers.split(batch), strict=True):
        logits = model(inputs).mT  # (batch, 256, length)
        nats.append(F.cross_entropy(logits, targets, reduction="none"))
    return torch.cat(nats).double() / math.log(2)

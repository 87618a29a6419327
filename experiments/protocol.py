"""One model trained and tested on the published flip-flop strings, as TRA's authors did it."""

import hashlib

from experiments.published import flip_flop_rows
from experiments.runs import on_cpu, train_config
from tra_mini import accuracy_by_length
from tra_mini.tasks import READ

TESTS = ("val", "val_sparse", "val_dense")


def in_order(rows):
    """A task that gives rows (n, length) one after the other, whatever its generator."""

    def task(batch, length, generator):
        nonlocal rows
        tokens = rows[:batch].long()
        rows = rows[batch:]
        return tokens, tokens == READ

    return task


def on_published(source, config, device="cpu"):
    """Trains on the published set's split train, or a copy's; tests on all strings of the others.

    config: a flip-flop run (grids.py); its length becomes that of the strings. The model is kept:
    the same call goes on after Ctrl-C. Prints a line a split and returns the rows of
    accuracy_by_length, each with its split. Raises ValueError before any training if the set
    cannot be read, or has splits missing or of something else.
    """
    strings = flip_flop_rows(source, "train")
    tests = {split: flip_flop_rows(source, split) for split in TESTS}
    config = {
        **config,
        "task": "published_flip_flop",
        "settings": {"source": source, "split": "train"},
        "length": strings.shape[1],
        "cope_table": strings.shape[1],
        "fingerprint": hashlib.sha256(strings.numpy()).hexdigest(),  # a copy may change
    }
    print(f"{len(strings):,} strings of {config['length']} tokens to learn from", flush=True)
    model = train_config(config, device)
    print(f"{model.parameter_count():,} parameters, trained in {model.train_seconds:.0f} s")
    print(f"kept in {model.path}", flush=True)

    results = []
    for split, rows in tests.items():
        reader = on_cpu(model, device)
        length = rows.shape[1]
        [row] = accuracy_by_length(reader, in_order(rows), [length], n=len(rows), seed=0)
        interval = f"{row['low']:.5f} to {row['high']:.5f}"
        print(
            f"{split:>12}: {row['exact_match']:.5f} ({interval}) of {len(rows):,} strings without"
            f" an error, {row['per_read']:.6f} of {row['reads']:,} reads correct",
            flush=True,
        )
        results.append({"split": split, **row})
    return results

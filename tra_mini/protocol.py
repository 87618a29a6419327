"""One model trained and tested on the published flip-flop strings, as TRA's authors did it."""

import hashlib

from tra_mini.evaluation import accuracy_by_length
from tra_mini.published import flip_flop_rows
from tra_mini.starts import trained
from tra_mini.tasks import READ

TESTS = ("val", "val_sparse", "val_dense")


def in_order(rows):
    """A task that gives rows (n, length) one after the other, whatever its generator."""

    def task(batch, length, generator):
        nonlocal rows
        tokens, rows = rows[:batch].long(), rows[batch:]
        return tokens, tokens == READ

    return task


def on_published(source, config, device="cpu"):
    """Trains on the published set's split train, or a copy's; tests on all strings of the others.

    config: mechanism, seed, width and recipe, as flip_flop_config | PAPER of recipes.py; its length
    becomes that of the strings. The model is kept: the same call goes on after Ctrl-C. Prints a
    line a split and returns the rows of accuracy_by_length, each with its split. Raises ValueError
    before any training if the set cannot be read, or has splits missing or of something else.
    """
    shown = flip_flop_rows(source, "train")
    tests = {split: flip_flop_rows(source, split) for split in TESTS}
    settings = {"source": source, "split": "train"}
    config = config | {"task": "published_flip_flop", "settings": settings, "starts": 1}
    config |= {"length": shown.shape[1], "cope_table": shown.shape[1]}
    config["fingerprint"] = hashlib.sha256(shown.numpy()).hexdigest()  # a copy may change
    print(f"{len(shown):,} strings of {config['length']} tokens to learn from", flush=True)
    model = trained(config, device=device)
    print(f"{model.parameter_count():,} parameters, trained in {model.train_seconds:.0f} s")
    print(f"kept in {model.path}", flush=True)
    results = []
    for split, rows in tests.items():
        length, n = rows.shape[1], len(rows)
        [row] = accuracy_by_length(model, in_order(rows), [length], n=n, seed=0)
        interval = f"{row['low']:.5f} to {row['high']:.5f}"
        print(
            f"{split:>12}: {row['exact_match']:.5f} ({interval}) of {n:,} strings without an error,"
            f" {row['per_read']:.6f} of {row['reads']:,} reads right",
            flush=True,
        )
        results.append({"split": split} | row)
    return results

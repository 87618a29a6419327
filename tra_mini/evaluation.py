"""How often a model is right, by length, with intervals."""

import math

import torch
import torch.nn.functional as F

PIECE = 2**18  # tokens of one sequence at a time: bounds the memory of all but keys and values
TOKENS_AT_ONCE = 2**12  # bounds memory: attention holds 64 rows * heads * this, a few times


def wilson_interval(successes, n):
    """95 % interval of a proportion (Wilson 1927), which is not empty even at 0 or n successes."""
    z = 1.959964
    centre = successes + z * z / 2
    width = z * math.sqrt(successes * (n - successes) / n + z * z / 4)
    return max(0.0, (centre - width) / (n + z * z)), min(1.0, (centre + width) / (n + z * z))


def in_pieces(model, tokens):
    """model(tokens), a piece after the other where a sequence is longer than PIECE."""
    if tokens.shape[1] <= PIECE:
        return model(tokens)
    caches = model.empty_caches()
    return torch.cat([model(piece, caches=caches) for piece in tokens.split(PIECE, 1)], 1)


@torch.inference_mode()
def accuracy_by_length(model, task, lengths, *, n, seed):
    """How often the model answers sequences of task(batch, length, generator) without an error.

    Returns a row for each length: length, n sequences, exact_match (the share of them in which
    every scored answer is right) with its Wilson 95 % interval low ... high, reads (scored
    answers), per_read (the share of those that are right) and loss (their mean cross-entropy, in
    nats). A length's sequences depend on the seed alone.
    """
    if n < 1:
        raise ValueError(f"n is {n}; allowed: 1 or more sequences")
    device = next(model.parameters()).device
    rows = []
    for length in lengths:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + length)
        exact = right = reads = nats = 0
        at_once = max(1, TOKENS_AT_ONCE // length)
        for done in range(0, n, at_once):
            tokens, scored = task(min(at_once, n - done), length, generator=generator)
            tokens, scored = tokens.to(device), scored[:, :-1].to(device)
            logits, answers = in_pieces(model, tokens)[:, :-1], tokens[:, 1:]
            correct = logits.argmax(-1) == answers  # (batch, length - 1)
            nats += F.cross_entropy(logits[scored], answers[scored], reduction="sum").item()
            exact += (correct | ~scored).all(-1).sum().item()
            right += (correct & scored).sum().item()
            reads += scored.sum().item()
        low, high = wilson_interval(exact, n)
        rows.append(
            {"length": length, "n": n, "exact_match": exact / n, "low": low, "high": high}
            | {"reads": reads, "per_read": right / reads, "loss": nats / reads}
        )
    return rows

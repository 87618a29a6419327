"""How often a model is correct, by length."""

import math

import torch
import torch.nn.functional as F

TOKENS_AT_ONCE = 2**12  # bounds the memory of a batch


def wilson_interval(successes, n):
    """95 % interval of a proportion (Wilson 1927); not a point even at 0 or n successes."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes is {successes}, n {n}; allowed: 0 to n, 1 or more")
    z = 1.959964
    centre = successes + z * z / 2
    width = z * math.sqrt(successes * (n - successes) / n + z * z / 4)
    return max(0.0, (centre - width) / (n + z * z)), min(1.0, (centre + width) / (n + z * z))


@torch.inference_mode()
def accuracy_by_length(model, task, lengths, *, n, seed):
    """Tests the model on n sequences of task(batch, length, generator) at each length.

    Returns a dictionary for each length: exact_match is the share of sequences in which every
    scored answer is correct, low ... high its 95 % interval, reads the number of scored answers,
    per_read the share of them that are correct, loss their mean cross-entropy in nats.
    """
    rows = []
    for length in lengths:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + length) % 2**63)
        batch = max(1, TOKENS_AT_ONCE // length)
        exact = right = reads = nats = 0
        for done in range(0, n, batch):
            tokens, scored = task(min(batch, n - done), length, generator=generator)
            scored, answers = scored[:, :-1], tokens[:, 1:]
            logits = model(tokens)[:, :-1]  # (batch, length - 1, vocab_size)
            correct = logits.argmax(-1) == answers  # (batch, length - 1)
            exact += (correct | ~scored).all(-1).sum().item()
            right += (correct & scored).sum().item()
            reads += scored.sum().item()
            nats += F.cross_entropy(logits[scored], answers[scored], reduction="sum").item()
        if reads == 0:
            raise ValueError(f"n is {n}, scored answers {reads}; allowed: 1 or more of each")
        low, high = wilson_interval(exact, n)
        row = {"length": length, "n": n, "exact_match": exact / n, "low": low, "high": high}
        rows.append({**row, "reads": reads, "per_read": right / reads, "loss": nats / reads})
    return rows

"""Attention as a layer of a GPT: the projections and, for TRA and others, the forget gate."""

import torch
import torch.nn.functional as F
from torch import nn

from tra_mini.attention import attend, causal, softmax, thresholded


def remember(cache, name, new):
    """cache[name] made longer by new, (B, H, T, ...); without a cache, new itself."""
    if cache is None:
        return new
    cache[name] = torch.cat((cache[name], new), 2) if name in cache else new
    return cache[name]


class Attention(nn.Module):
    """Multi-head causal self-attention without positions; subclasses weigh keys in other ways.

    q and k are RMS-normalised per head, without a learned scale: scores are within +- sqrt(D).
    """

    normalise = staticmethod(softmax)

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.project = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    def heads(self, x, first=0):
        """x (B, T, d_model), the tokens from position first on -> q, k, v, each (B, H, T, D)."""
        q, k, v = self.project(x).unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
        return F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:]), v

    def weighing(self, x, q, cache=None):
        """The rule weigh(scores, rows) -> logits, keep that attend applies to blocks of rows."""
        return lambda scores, rows: (scores, causal(scores))

    def forward(self, x, return_weights=False, cache=None):
        """x (B, T, d_model) -> the same shape, and weights or None; with cache, x is what follows.

        cache: a dict, empty at first, that keeps what tokens to come need of those seen.
        """
        q, k, v = self.heads(x, cache["k"].shape[2] if cache else 0)
        k, v = remember(cache, "k", k), remember(cache, "v", v)
        weigh = self.weighing(x, q, cache)
        asked = {"return_weights": return_weights, "normalise": self.normalise}
        output, weights = attend(q, k, v, weigh, **asked)
        return self.merge(output), weights

    def merge(self, output):
        """The heads' outputs (B, H, T, D) -> (B, T, d_model)."""
        return self.output(output.transpose(1, 2).flatten(2))


class GatedAttention(Attention):
    """Attention with a gate for each token and head: delta = log sigmoid(w_h . x + b_h)."""

    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Linear(config.d_model, config.n_head)

    def log_forget(self, x):
        """x (B, T, d_model) -> delta (B, H, T), all <= 0."""
        return F.logsigmoid(self.gate(x)).mT


class ThresholdRelativeAttention(GatedAttention):
    """TRA: selective sparsity and contextualised relative distance, both."""

    def weighing(self, x, q, cache=None):
        return thresholded(self.log_forget(x))

"""Decoding with TRA in bounded memory: only the newest keys stay, and what that may have cost.

Let n of the kept keys survive for a query, and Z be the sum of their e^logit. TRA counts distance
from the query backwards, so that evicting older keys changes no logit of a kept one; and of the
evicted, the p-th newest survivor has distance n + p and a logit of at most sqrt(D) + delta (n + p).
N evicted keys together would have weighed, before division, at most
    E = e^(sqrt(D) + delta (n + 1)) (1 - e^(delta N)) / (1 - e^delta),
so at most the share E / (E + Z) of the row was theirs, and its output, which averages values, is
wrong by at most twice that share of the longest value. No key is safe from all queries to come: one
for which nothing newer survives would look back at it. But then Z is small, and the share says so.
"""

import math

import torch
from torch import nn

from tra_mini.attention import REMOVED, attend, thresholded
from tra_mini.layers import remember


def share_lost(logits, keep, log_forget, evicted, D):
    """E / (E + Z) of each row, (B, H, rows): logits and keep (B, H, rows, kept keys), evicted = N.

    log_forget = delta (B, H, rows) <= 0. Exactly 0 where nothing was evicted, 1 for a row without
    a survivor. Valid for q and k of length sqrt(D) or less, as RMS-normalised ones are.
    """
    if evicted == 0:
        return torch.zeros_like(log_forget)
    kept = torch.logsumexp(logits + (keep - 1) * REMOVED, -1)  # log Z
    delta = log_forget.clamp(max=-1e-9)  # at 0 the geometric sum below would be 0 / 0
    terms = torch.expm1(delta * evicted) / torch.expm1(delta)  # sum of e^(delta (p - 1)), p <= N
    return torch.sigmoid(math.sqrt(D) + delta * (keep.sum(-1) + 1) + terms.log() - kept)


class Window(nn.Module):
    """A trained ThresholdRelativeAttention whose cache holds the newest `window` keys and values.

    After a pass with a cache, lost (B, H, T) bounds, for each new row, the share of its weight that
    evicted keys would have had: see share_lost.
    """

    def __init__(self, attention, window):
        super().__init__()
        self.attention, self.window = attention, window

    @torch.no_grad()
    def forward(self, x, return_weights=False, cache=None):
        if cache is None:
            return self.attention(x, return_weights)
        evicted = cache.setdefault("evicted", 0)
        q, k, v = self.attention.heads(x)
        k, v = remember(cache, "k", k), remember(cache, "v", v)
        log_forget = self.attention.log_forget(x)
        rule, self.lost = thresholded(log_forget), torch.zeros_like(log_forget)

        def weigh(scores, rows):
            logits, keep = rule(scores, rows)
            delta = log_forget[..., rows]
            self.lost[..., rows] = share_lost(logits, keep, delta, evicted, q.shape[3])
            return logits, keep

        output, weights = attend(q, k, v, weigh, return_weights=return_weights)
        cache["evicted"] += max(0, k.shape[2] - self.window)
        cache["k"], cache["v"] = k[:, :, -self.window :], v[:, :, -self.window :]
        return self.attention.merge(output), weights


def keep_newest(model, window):
    """Lets each layer of a trained TRA model keep `window` keys while decoding -> the same model.

    Raises ValueError for another mechanism, or a window below 1.
    """
    if model.config.mechanism != "tra":
        raise ValueError(f"mechanism is {model.config.mechanism!r}; allowed: 'tra'")
    if window < 1:
        raise ValueError(f"window is {window}; allowed: 1 or more keys")
    for block in model.blocks:
        block.attention = Window(block.attention, window)
    return model

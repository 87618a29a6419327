"""TRA read in pieces: cached decoding, and decoding in bounded memory with a bound on its error.

The bound. Let n of the kept keys survive for a query, and Z be the sum of their e^logit. TRA counts
distance from the query backwards, so evicting older keys changes no logit of a kept one. Of the
evicted keys, the p-th newest survivor has distance n + p and a logit of at most
sqrt(D) + delta (n + p). N evicted keys together would have weighed, before division, at most
    E = e^(sqrt(D) + delta (n + 1)) (1 - e^(delta N)) / (1 - e^delta),
so at most the share E / (E + Z) of the row was theirs. The row's output averages values, so it is
wrong by at most twice that share of the longest value. No key is safe from all later queries: one
for which nothing newer survives would look back at it. But then Z is small, and the share says so.
"""

import copy
import math

import torch
from torch import nn

from tra_mini.attention import REMOVED, attend, tra_logits
from tra_mini.mechanisms import ThresholdRelativeAttention

PIECE = 2**18  # tokens at a time: bounds the memory of all but keys and values


class CachedTRA(nn.Module):
    """A trained TRA layer that remembers the keys and values of the tokens it has read.

    Each forward pass reads the tokens that follow those of the passes before it; no gradients.
    """

    def __init__(self, attention):
        super().__init__()
        self.attention = attention
        self.forget()

    def forget(self):
        """Begins a new sequence."""
        self.k = None
        self.v = None

    def heads(self, x):
        """x (B, new, d_model) -> q, log_forget of the new tokens, k, v of all (B, H, T, D)."""
        q, k, v = self.attention.heads(x)
        if self.k is not None:
            k = torch.cat((self.k, k), 2)
            v = torch.cat((self.v, v), 2)
        self.k = k
        self.v = v
        return q, self.attention.log_forget(x), k, v

    @torch.no_grad()
    def forward(self, x, return_weights=False):
        """x (B, new, d_model) -> the same shape, and the weights (B, H, new, T) if asked for."""
        q, log_forget, k, v = self.heads(x)

        def weigh(scores, rows):
            return self.logits(scores, log_forget[..., rows], rows)

        output, weights = attend(q, k, v, weigh, return_weights)
        return self.attention.output(output.transpose(1, 2).flatten(2)), weights

    def logits(self, scores, log_forget, rows):
        return tra_logits(scores, log_forget)


def share_lost(logits, keep, log_forget, evicted, D):
    """E / (E + Z) of each row, (B, H, rows): logits and keep (B, H, rows, kept keys), evicted = N.

    log_forget = delta (B, H, rows) <= 0. Exactly 0 where nothing was evicted, 1 for a row without
    a survivor. Valid for q and k of length sqrt(D) or less, as RMS-normalised ones are. Computed in
    float32 at least: half precision cannot hold the bound.
    """
    if evicted == 0:
        return torch.zeros_like(log_forget)
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_kept = torch.logsumexp(logits.to(wide) + (keep - 1) * REMOVED, -1)  # log Z
    delta = log_forget.to(wide).clamp(max=-1e-9)  # at 0 the geometric sum below would be 0 / 0
    terms = torch.expm1(delta * evicted) / torch.expm1(delta)  # sum of e^(delta (p - 1)), p <= N
    nearest = keep.to(wide).sum(-1) + 1  # the distance of the newest evicted survivor
    return torch.sigmoid(math.sqrt(D) + delta * nearest + terms.log() - log_kept)


class Window(CachedTRA):
    """A cache of the newest `window` keys and values.

    After a pass, lost (B, H, new) bounds, for each new row, the share of its weight that the
    evicted keys would have had: see share_lost.
    """

    def __init__(self, attention, window):
        super().__init__(attention)
        self.window = window

    def forget(self):
        super().forget()
        self.evicted = 0

    def forward(self, x, return_weights=False):
        self.lost = x.new_zeros(x.shape[0], self.attention.n_head, x.shape[1])
        output, weights = super().forward(x, return_weights)
        self.evicted += max(0, self.k.shape[2] - self.window)
        self.k = self.k[:, :, -self.window :]
        self.v = self.v[:, :, -self.window :]
        return output, weights

    def logits(self, scores, log_forget, rows):
        logits, keep = tra_logits(scores, log_forget)
        D = self.k.shape[3]
        self.lost[..., rows] = share_lost(logits, keep, log_forget, self.evicted, D)
        return logits, keep


def with_layers(model, layer):
    """A copy of a trained TRA model whose attention layers are layer(attention).

    Raises ValueError for another mechanism, and for a model whose layers were replaced before.
    """
    model = copy.deepcopy(model)
    for block in model.blocks:
        if type(block.attention) is not ThresholdRelativeAttention:
            name = type(block.attention).__name__
            raise ValueError(f"mechanism is {name}; allowed: 'tra', with its own layers")
        block.attention = layer(block.attention)
    return model


def cached(model):
    """A copy of a trained TRA model whose passes go on where the last one ended."""
    return with_layers(model, CachedTRA)


def keep_newest(model, window):
    """A copy of a trained TRA model that keeps `window` keys between passes.

    Raises ValueError for another mechanism, or a window below 1.
    """
    if not hasattr(window, "__index__") or window < 1:
        raise ValueError(f"window is {window}; allowed: 1 or more keys")
    return with_layers(model, lambda attention: Window(attention, window))


def read_in_pieces(model, tokens):
    """The logits (B, T, vocab_size) of new sequences, by a model that one of these made."""
    for block in model.blocks:
        block.attention.forget()
    return torch.cat([model(piece) for piece in tokens.split(PIECE, 1)], 1)

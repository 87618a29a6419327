"""TRA that stops reading when nothing further can matter: exact, and far shorter than T.

TRA's distance only grows as one walks from a query back to older keys. Let a row have met n
survivors so far, the highest of their logits being m. Each survivor still to come scores at most
b = |q| max |k| / sqrt(D), which is sqrt(D) for normalised q and k, and lies at distance n + 1 or
more, so that its logit is at most b + delta (n + 1). Where that is below m - UNDERFLOW, its weight
e^(logit - m) is exactly 0 in float32, in the full computation too: the rest need not be read.
"""

import math

import torch
from torch import nn

from tra_mini.attention import REMOVED, survivor_distance
from tra_mini.layers import remember

UNDERFLOW = 105.0  # e^-104 is 0 in float32; 1 more for what rounding does to a logit near there
NOTHING = -1e20  # the highest logit of a row that has met no survivor: such a row reads on
CELLS = 2**18  # scores at a time, rows * keys: few enough to stay in a processor's cache


def attend_early(q, k, v, log_forget, threshold=0.0, block_size=128):
    """threshold_relative_attention, without gradients, each row only until the rest is all 0.

    k, v (B, H, T, D), q (B, H, new, D) and log_forget (B, H, new) of the newest tokens -> output
    (B, H, new, D), equal but for the order of its sums, and read (B, H): weights computed / those
    that causality allows, which a block's square, of which half is not needed, can lift above 1.
    ValueError for numbers other than float32.
    """
    if q.dtype != torch.float32:
        raise ValueError(f"q is {q.dtype}; allowed: torch.float32, in which e^-104 is 0")
    B, H, new, D = q.shape
    earlier = k.shape[2] - new
    output, read = torch.empty_like(q), torch.zeros(B, H)
    for b in range(B):
        for h in range(H):
            head = q[b, h] / math.sqrt(D), k[b, h], v[b, h], log_forget[b, h, :, None]
            limit = head[0].norm(dim=-1, keepdim=True) * head[1].norm(dim=-1).max()  # b, (T, 1)
            for first in range(0, new, block_size):
                rows = slice(first, min(first + block_size, new))
                output[b, h, rows], weights = walk_back(*head, limit, rows, earlier, threshold)
                read[b, h] += weights
    return output, read / allowed(new, k.shape[2])


def allowed(new, T):
    """How many weights causality allows the newest queries of T tokens."""
    return new * (T - (new - 1) / 2)


def walk_back(q, k, v, log_forget, limit, rows, earlier, threshold):
    """One head, a block of queries: their output (rows, D), and how many weights it took."""
    q, delta, limit = q[rows], log_forget[rows], limit[rows]  # of rows that still read: ever fewer
    survivors = total = torch.zeros_like(delta)  # (rows, 1), met so far
    most, summed = torch.full_like(delta, NOTHING), torch.zeros_like(q)
    output, reading, computed = torch.zeros_like(q), torch.arange(len(q), device=q.device), 0
    stop, width = earlier + rows.stop, len(q)  # first the block's own square, then more at a time
    while stop > 0 and len(q):
        keys = slice(max(0, stop - width), stop)
        stop, width = keys.start, max(1, min(2 * width, CELLS // len(q)))
        scores, values = q @ k[keys].mT, v[keys]  # (rows, keys), (keys, D)
        computed += scores.numel()
        own = keys.stop == earlier + rows.stop
        some = (scores.amax(0) > threshold).nonzero()[:, 0]  # keys that survive for some row
        if not own and 2 * len(some) < scores.shape[1]:  # without the others nothing changes
            scores, values = scores[:, some], values[some]
            if len(some) == 0:
                continue
        keep = scores.clone().gt_(threshold)
        if own:
            keep.tril_()
        distance = survivor_distance(keep).add_(survivors)
        logits = torch.addcmul(scores, delta, distance).add_(keep - 1, alpha=REMOVED)
        survivors = survivors + keep.sum(-1, keepdim=True)
        high, weights = logits.amax(-1, keepdim=True), logits.softmax(-1)
        mass = 1 / weights.amax(-1, keepdim=True)  # sum of e^(logit - high): exp itself is slower
        before, most = most, torch.maximum(most, high)
        shrink, mass = (before - most).exp(), mass * (high - most).exp()
        total = total * shrink + mass
        summed = summed * shrink + weights @ values * mass
        on = (limit + delta * (survivors + 1) >= most - UNDERFLOW)[:, 0]  # these read on
        if not on.all():
            output[reading] = summed / total.clamp(min=1e-30)
            q, delta, limit, survivors, total, most, summed, reading = (
                each[on] for each in (q, delta, limit, survivors, total, most, summed, reading)
            )
    output[reading] = summed / total.clamp(min=1e-30)
    return output, computed


class StopEarly(nn.Module):
    """A trained ThresholdRelativeAttention whose forward pass stops early; no gradients."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention
        self.computed = self.allowed = 0  # weights a head (H,), and a head, since share_read

    @torch.no_grad()
    def forward(self, x, return_weights=False, cache=None):
        if return_weights:
            return self.attention(x, return_weights, cache)
        q, k, v = self.attention.heads(x)
        k, v = remember(cache, "k", k), remember(cache, "v", v)
        output, read = attend_early(q, k, v, self.attention.log_forget(x))
        count = len(x) * allowed(q.shape[2], k.shape[2])
        self.computed, self.allowed = self.computed + read.mean(0) * count, self.allowed + count
        return self.attention.merge(output), None


def share_read(model):
    """Weights computed / allowed since last asked, a list for each layer with a number a head."""
    layers = [block.attention for block in model.blocks]
    shares = [
        [round(share, 5) for share in (layer.computed / layer.allowed).tolist()] for layer in layers
    ]
    for layer in layers:
        layer.computed = layer.allowed = 0
    return shares


def stop_early(model):
    """Lets each layer of a trained TRA model stop early -> the same model, for inference alone."""
    if model.config.mechanism != "tra":
        raise ValueError(f"mechanism is {model.config.mechanism!r}; allowed: 'tra'")
    for block in model.blocks:
        block.attention = StopEarly(block.attention)
    return model

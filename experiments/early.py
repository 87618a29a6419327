"""TRA that stops reading when nothing further can matter: exact, and far shorter than T.

TRA's distance only grows as one walks from a query back to older keys. Suppose a row has met n
survivors so far, and m is the highest of their logits. Each survivor still to come scores at most
b = |q| max |k| / sqrt(D), which is sqrt(D) for normalised q and k. It lies at distance n + 1 or
more, so its logit is at most b + delta (n + 1). Where that is below m - UNDERFLOW, its weight
e^(logit - m) is exactly 0 in float32, in the full computation too: the rest need not be read.
"""

import math

import torch

from experiments.decoding import CachedTRA, with_layers
from tra_mini.attention import REMOVED, check_inputs, survivor_distance

UNDERFLOW = 105.0  # e^-104 is 0 in float32; 1 more for what rounding does to a logit near there
LARGEST_SCORE = 5e8  # beyond, the rounding of a score is more than UNDERFLOW can absorb
NOTHING = -1e20  # the highest logit of a row that has met no survivor: such a row reads on
CELLS = 2**18  # scores at a time, rows * keys: few enough to stay in a processor's cache
BLOCK = 128  # query rows at a time


def attend_early(q, k, v, log_forget, threshold=0.0, block_size=BLOCK):
    """threshold_relative_attention without gradients; each row stops where the rest weighs 0.

    k, v (B, H, T, D), q (B, H, new, D) and log_forget (B, H, new) of the newest tokens -> output
    (B, H, new, D), equal but for the order of its sums, and read (B, H): weights computed / those
    that causality allows. The square of a block, half of it not needed, can lift it above 1.
    Raises ValueError for what threshold_relative_attention refuses, for numbers other than float32
    and for scores that may pass LARGEST_SCORE.
    """
    check_inputs(k, k, v, log_forget.new_zeros(k.shape[:3]), threshold, block_size)
    check_inputs(q, q, q, log_forget, threshold, block_size)
    if q.dtype != torch.float32:
        raise ValueError(f"q is {q.dtype}; allowed: torch.float32, in which e^-104 is 0")

    # Each head by itself, a block of queries at a time.
    B, H, new, D = q.shape
    largest = q.norm(dim=-1).max() * k.norm(dim=-1).max() / math.sqrt(D)
    if largest > LARGEST_SCORE:
        raise ValueError(f"q and k have scores up to {largest:g}; allowed: {LARGEST_SCORE:g}")
    earlier = k.shape[2] - new
    output = torch.empty_like(q)
    read = torch.zeros(B, H)
    for b in range(B):
        for h in range(H):
            queries = q[b, h] / math.sqrt(D)  # (new, D)
            bound = queries.norm(dim=-1, keepdim=True) * k[b, h].norm(dim=-1).max()  # (new, 1)
            for first in range(0, new, block_size):
                rows = slice(first, min(first + block_size, new))
                output[b, h, rows], weights = walk_back(
                    queries[rows],
                    k[b, h, : earlier + rows.stop],
                    v[b, h, : earlier + rows.stop],
                    log_forget[b, h, rows, None],
                    bound[rows],
                    threshold,
                )
                read[b, h] += weights
    return output, read / allowed(new, k.shape[2])


def allowed(new, T):
    """How many weights causality allows the newest queries of T tokens."""
    return new * (T - (new - 1) / 2)


def walk_back(q, k, v, delta, bound, threshold):
    """One head, a block of the newest queries: their output (rows, D), and weights computed.

    q (rows, D), k and v (keys, D), delta and bound (rows, 1).
    """
    output = torch.zeros_like(q)
    reading = torch.arange(len(q), device=q.device)  # which rows still read; they become fewer
    survivors = torch.zeros_like(delta)  # met so far, (rows, 1)
    total = torch.zeros_like(delta)  # the sum of their e^(logit - most)
    most = torch.full_like(delta, NOTHING)  # the highest of their logits
    summed = torch.zeros_like(q)  # their values, weighted
    computed = 0

    stop = len(k)
    width = len(q)  # first the block's own square, then more keys at a time
    while stop > 0 and len(q):
        keys = slice(max(0, stop - width), stop)
        own_square = stop == len(k)
        stop = keys.start
        width = max(1, min(2 * width, CELLS // len(q)))
        scores = q @ k[keys].mT  # (rows, keys)
        values = v[keys]
        computed += scores.numel()

        # Keys that survive for no row change nothing: where they are many, leave them out.
        some = (scores.amax(0) > threshold).nonzero()[:, 0]
        if not own_square and 2 * len(some) < scores.shape[1]:
            scores = scores[:, some]
            values = values[some]
            if len(some) == 0:
                continue

        # Logits, with the survivors met before these counted too.
        keep = scores.clone().gt_(threshold)
        if own_square:
            keep.tril_()
        distance = survivor_distance(keep).add_(survivors)
        logits = torch.addcmul(scores, delta, distance).add_(keep - 1, alpha=REMOVED)
        survivors = survivors + keep.sum(-1, keepdim=True)

        # A running softmax: rescale what was summed to the new highest logit.
        high = logits.amax(-1, keepdim=True)
        weights = logits.softmax(-1)
        mass = 1 / weights.amax(-1, keepdim=True)  # sum of e^(logit - high): exp itself is slower
        before = most
        most = torch.maximum(most, high)
        shrink = (before - most).exp()
        mass = mass * (high - most).exp()
        total = total * shrink + mass
        summed = summed * shrink + weights @ values * mass

        # Rows for which all older keys would weigh exactly 0 are done.
        on = (bound + delta * (survivors + 1) >= most - UNDERFLOW)[:, 0]
        if not on.all():
            output[reading] = summed / total.clamp(min=1e-30)
            reading = reading[on]
            q, delta, bound = q[on], delta[on], bound[on]
            survivors, total, most, summed = survivors[on], total[on], most[on], summed[on]
    output[reading] = summed / total.clamp(min=1e-30)
    return output, computed


class EarlyTRA(CachedTRA):
    """A cached TRA layer that stops early, and counts what it read since share_read was asked."""

    computed = 0  # weights, (H,)
    allowed = 0  # weights a head

    @torch.no_grad()
    def forward(self, x, return_weights=False):
        if return_weights:
            return super().forward(x, return_weights)
        q, log_forget, k, v = self.heads(x)
        output, read = attend_early(q, k, v, log_forget)
        count = len(x) * allowed(q.shape[2], k.shape[2])
        self.computed = self.computed + read.mean(0) * count
        self.allowed = self.allowed + count
        return self.attention.output(output.transpose(1, 2).flatten(2)), None


def stop_early(model):
    """A copy of a trained TRA model whose layers stop early: read with decoding.read_in_pieces."""
    return with_layers(model, EarlyTRA)


def share_read(model):
    """Weights computed / allowed since last asked: for each layer a list with a number a head."""
    shares = []
    for block in model.blocks:
        layer = block.attention
        if layer.allowed == 0:
            raise ValueError("the model has read nothing since share_read was last asked")
        shares.append([round(share, 5) for share in (layer.computed / layer.allowed).tolist()])
        layer.computed = 0
        layer.allowed = 0
    return shares

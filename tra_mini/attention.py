"""Threshold relative attention (TRA), Opper et al. 2025, arXiv 2503.23174: read this file first.

Shapes: B batch, H heads, T tokens, D width of a head. i is a query's position, j <= i a key's.
"""

import math

import torch
import torch.nn.functional as F
from torch.func import debug_unwrap as unwrap  # gives the numbers that vmap hides

BLOCK_SIZE = 64  # query rows at a time: few enough to stay in a processor's cache
REMOVED = 1e30  # subtracted from the logit of a removed key: its weight is then exactly 0
LARGEST = 1e12  # allowed magnitude of an input: no logit then comes near REMOVED


def causal(scores):
    """1.0 where j <= i, else 0.0; scores (B, H, rows, keys) -> (rows, keys)."""
    rows, keys = scores.shape[-2:]  # the queries are the last tokens among the keys
    return torch.ones_like(scores[0, 0]).tril(keys - rows)


def surviving(scores, threshold=0.0):
    """Selective sparsity: 1.0 where j <= i and S_ij > threshold, else 0.0; shaped like scores."""
    rows, keys = scores.shape[-2:]
    keep = scores.detach().clone().gt_(threshold)  # floats: several times faster than booleans
    keep[..., keys - rows :].tril_()  # only this square holds keys later than a query
    return keep


def survivor_distance(keep):
    """Contextualised distance: c_ij counts the survivors from j to i; shaped like keep."""
    survivors = keep.cumsum(-1)  # from the first key up to j; exact in float32 up to 2^24
    return (survivors[..., -1:] - survivors).add_(keep)


def tra_logits(scores, log_forget, threshold=0.0):
    """TRA's rule: the logits S_ij + delta_i * c_ij, and keep, 1.0 where a key survives.
    scores (B, H, rows, keys), log_forget = delta (B, H, rows) -> logits, keep, both like scores.
    """
    keep = surviving(scores, threshold)
    distance = survivor_distance(keep)
    return torch.addcmul(scores, log_forget[..., None], distance), keep


def attend(q, k, v, weigh, return_weights=False, normalise=torch.softmax, block_size=BLOCK_SIZE):
    """Causal attention under any rule, a block of rows at a time: memory grows as T, not T * T.

    q (B, H, new, D) of the newest tokens (in training of all), k and v (B, H, T, D) of all.
    weigh(scores, rows) -> logits, keep: the rule, for the queries in the slice rows; then
    normalise(logits, -1) -> weights.
    Returns the output (B, H, new, D), and the weights (B, H, new, T) if asked for, else None.
    """
    new, T = q.shape[2], k.shape[2]
    wide = torch.promote_types(v.dtype, torch.float32)  # bfloat16 cannot count past 256
    queries, keys, values = q.to(wide) / math.sqrt(q.shape[3]), k.to(wide), v.to(wide)

    outputs, maps = [], []
    for first in range(0, new, block_size):
        # Scores of a block of queries; causality: none of them needs a key from `end` on.
        rows = slice(first, min(first + block_size, new))
        end = T - new + rows.stop
        scores = queries[:, :, rows] @ keys[:, :, :end].mT  # (B, H, rows, end)

        # Weights: exactly 0 for a removed key, and for a row without survivors, a silent row.
        logits, keep = weigh(scores, rows)
        weights = normalise(logits.add_(keep - 1, alpha=REMOVED), -1) * keep.amax(-1, keepdim=True)
        outputs.append(weights @ values[:, :, :end])
        if return_weights:
            maps.append(F.pad(weights, (0, T - end)))

    output = torch.cat(outputs, 2).to(v.dtype)
    return output, torch.cat(maps, 2) if return_weights else None


def threshold_relative_attention(
    q, k, v, log_forget, *, threshold=0.0, block_size=BLOCK_SIZE, return_weights=False
):
    """TRA: A_ij = softmax of S_ij + delta_i * c_ij over the keys j that survive for query i.

    q, k, v (B, H, T, D), with q and k as the caller normalised them; log_forget = delta (B, H, T),
    all <= 0, one gate for each query and head.
    Returns the output (B, H, T, D), or with return_weights also the weights (B, H, T, T).
    Raises ValueError for shapes or dtypes that do not match, and for numbers out of range or NaN.
    """
    check_inputs(q, k, v, log_forget, threshold, block_size)

    def weigh(scores, rows):
        return tra_logits(scores, log_forget[:, :, rows].to(scores), threshold)

    output, weights = attend(q, k, v, weigh, return_weights, block_size=block_size)
    return (output, weights) if return_weights else output


def check_inputs(q, k, v, log_forget, threshold, block_size):
    if q.ndim != 4 or q.numel() == 0 or not q.is_floating_point():
        raise ValueError(f"q is {q.dtype} {tuple(q.shape)}; allowed: float (B, H, T, D), none 0")
    if not hasattr(block_size, "__index__") or block_size < 1:
        raise ValueError(f"block_size is {block_size}; allowed: whole numbers from 1")
    if not hasattr(threshold, "__float__") or math.isnan(threshold):
        raise ValueError(f"threshold is {threshold}; allowed: any other number")
    for name, value, ndim in (("q", q, 4), ("k", k, 4), ("v", v, 4), ("log_forget", log_forget, 3)):
        given = (getattr(value, "dtype", type(value)), tuple(getattr(value, "shape", ())))
        if given != (q.dtype, q.shape[:ndim]):
            raise ValueError(f"{name} is {given}; allowed: {q.dtype} {tuple(q.shape[:ndim])}, as q")
        most = 0 if name == "log_forget" else LARGEST
        low, high = (0, 0) if torch.compiler.is_compiling() else unwrap(value.detach()).aminmax()
        if not (-LARGEST <= float(low) and float(high) <= most):  # NaN fails, too
            raise ValueError(f"{name} holds {low:g} ... {high:g}; allowed: -1e12 ... {most:g}")

"""Threshold relative attention (TRA, Opper et al. 2025, arXiv 2503.23174), what its rivals share.

B batch, H heads, T tokens, D width of a head; i is the position of a query, j of a key, j <= i.
"""

import math

import torch
import torch.nn.functional as F

BLOCK_SIZE = 64  # query rows at a time: few enough to stay in a processor's cache
REMOVED = 1e30  # off a removed key's logit: its weight is then exactly 0, and no dead row is NaN
LARGEST = 1e12  # magnitude of an input: no logit then comes near REMOVED


def surviving(scores, threshold=0.0):
    """K_ij = 1.0 where key j survives for query i: j <= i, S_ij > threshold; (B, H, rows, keys)."""
    rows, keys = scores.shape[-2:]  # the queries are the tokens of the last so many keys
    keep = scores.detach().clone().gt_(threshold)  # floats: several times faster than booleans
    keep[..., keys - rows :].tril_()  # only this square holds keys later than a query
    return keep


def causal(scores):
    """1.0 where key j <= query i, else 0.0; (rows, keys)."""
    rows, keys = scores.shape[-2:]
    return torch.ones_like(scores[0, 0]).tril_(keys - rows)


def survivor_distance(keep):
    """Contextualised distance: c_ij = how many keys l from j to i survive; (B, H, rows, keys)."""
    survivors = keep.cumsum(-1)  # exact in float32 up to 2^24 keys
    return (survivors[..., -1:] - survivors).add_(keep)


def thresholded(log_forget, threshold=0.0):
    """TRA's rule: only survivors stay, and logit_ij = S_ij + delta_i * c_ij, delta = log_forget."""

    def weigh(scores, rows):
        keep = surviving(scores, threshold)
        return torch.addcmul(scores, log_forget[:, :, rows, None], survivor_distance(keep)), keep

    return weigh


def softmax(logits):
    """Weights from logits (..., keys): positive, of sum 1."""
    return logits.softmax(-1)


def attend(q, k, v, weigh, block_size=BLOCK_SIZE, return_weights=False, normalise=softmax):
    """Causal attention, a block of query rows at a time: memory grows with T, not with T * T.

    weigh(scores, rows) -> logits and keep (1.0 or 0.0) of the queries in the slice rows and the
    keys up to its end; normalise(logits) -> weights. A removed key weighs exactly 0; a row that
    keeps no key is all zeros.
    k, v (B, H, T, D), q (B, H, new, D) of the newest tokens, new = T but for decoding -> output
    (B, H, new, D), and weights (B, H, new, T) if asked for, else None.
    """
    new, T = q.shape[2], k.shape[2]
    q = q / math.sqrt(q.shape[3])
    wide = torch.promote_types(v.dtype, torch.float32)  # bfloat16 cannot count past 256
    values = v.to(wide)
    outputs, maps = [], []
    for first in reversed(range(0, new, block_size)):  # longest first: the rest reuse its memory
        rows = slice(first, min(first + block_size, new))
        keys = slice(T - new + rows.stop)  # no later ones
        scores = q[:, :, rows] @ k[:, :, keys].mT  # (B, H, rows, keys)
        logits, keep = weigh(scores.to(wide), rows)
        weights = normalise(logits.add_(keep - 1, alpha=REMOVED))
        alive = keep.amax(-1, keepdim=True)  # (..., rows, 1), 0.0 for a row that keeps no key
        outputs.append(weights @ values[:, :, keys] * alive)
        if return_weights:
            maps.append(F.pad(weights * alive, (0, T - keys.stop)))
    output = torch.cat(outputs[::-1], 2).to(v.dtype)
    return output, torch.cat(maps[::-1], 2) if return_weights else None


def threshold_relative_attention(
    q, k, v, log_forget, *, threshold=0.0, block_size=BLOCK_SIZE, return_weights=False
):
    """TRA (Opper et al. 2025): A_ij = softmax over the surviving j of S_ij + delta_i * c_ij.

    S_ij = q_i . k_j / sqrt(D); key j survives if j <= i and S_ij > threshold; c_ij counts the
    survivors from j to i. q, k, v (B, H, T, D), q and k as the caller normalised them;
    log_forget = delta (B, H, T) <= 0, one gate for each query and head.
    Returns (B, H, T, D), or with return_weights the pair of it and the weights (B, H, T, T).
    Raises ValueError for shapes or dtypes that do not match, an empty input, a block below 1, or
    numbers outside +- 1e12, NaN among them (T * D comparisons, beside T * T weights).
    """
    check_inputs(q, k, v, log_forget, threshold, block_size)
    weigh = thresholded(log_forget, threshold)
    output, weights = attend(q, k, v, weigh, block_size, return_weights)
    return (output, weights) if return_weights else output


def check_inputs(q, k, v, log_forget, threshold, block_size):
    """Raises ValueError for the first argument of threshold_relative_attention that is wrong."""
    if q.ndim != 4 or q.numel() == 0 or not q.is_floating_point():
        raise ValueError(f"q is {q.dtype} {tuple(q.shape)}; allowed: float (B, H, T, D), none 0")
    if not (isinstance(block_size, int) and block_size >= 1):
        raise ValueError(f"block_size is {block_size}; allowed: 1 or more query rows")
    if math.isnan(threshold):
        raise ValueError(f"threshold is {threshold}; allowed: any other number")
    for name, given in {"q": q, "k": k, "v": v, "log_forget": log_forget}.items():
        shape = q.shape[:3] if name == "log_forget" else q.shape
        if given.shape != shape or (name != "log_forget" and given.dtype != q.dtype):
            found = f"{given.dtype} {tuple(given.shape)}"
            raise ValueError(f"{name} is {found}; allowed, as q is: {q.dtype} {tuple(shape)}")
        low, high = given.detach().aminmax()  # NaN if any is, which fails each comparison
        most = 0 if name == "log_forget" else LARGEST
        if not (low >= -LARGEST and high <= most):
            raise ValueError(f"{name} spans {low:g} ... {high:g}; allowed: -1e12 ... {most:g}")

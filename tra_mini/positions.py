"""Positions of the published kind: turned into q and k, taken off the scores, or added to x.

Under each formula: the rule weigh(scores, rows) -> logits, keep that attention.attend applies.
"""

import math

import torch
from torch import nn

from tra_mini.ablations import raw_distance
from tra_mini.attention import causal
from tra_mini.layers import Attention


class RoPE(Attention):
    """softmax(S) after pair m of q and of k is turned by i / 10000^(2m/D) (Su et al. 2021)."""

    def heads(self, x, first=0):
        q, k, v = super().heads(x)
        half = q.shape[-1] // 2
        rate = 10000.0 ** (-torch.arange(half, device=x.device) / half)  # radians a token
        position = torch.arange(first, first + x.shape[1], device=x.device)
        angle = position[:, None] * rate  # (T, D/2)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)

        def rotate(u):
            a, b = u[..., :half], u[..., half:]
            return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

        return rotate(q), rotate(k), v


class ALiBi(Attention):
    """softmax(S_ij - m_h (i - j)), m_h = 2^(-8h/H), h = 1 ... H (Press et al. 2022, sec. 3)."""

    def slopes(self):
        return alibi_slopes(self.n_head)

    def weighing(self, x, q, cache=None):
        def weigh(scores, rows):
            slopes = scores.new_tensor(self.slopes())[:, None, None]
            return scores - slopes * raw_distance(scores), causal(scores)

        return weigh


def alibi_slopes(n_head):
    """2^(-8h/H); for other H those of the power of two below, then every other of the one above."""
    power = 2 ** int(math.log2(n_head))
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]
    return slopes + between[: n_head - power]


class CoPE(Attention):
    """softmax(S_ij + q_i . E[p_ij]), p_ij = sum over l = j..i of sigmoid(S_il).

    E is interpolated between its rows, and p clamped to its last (Golovneva et al. 2024).
    """

    def __init__(self, config):
        super().__init__(config)
        self.table = nn.Parameter(torch.zeros(config.cope_table, config.d_model // config.n_head))

    def weighing(self, x, q, cache=None):
        by_position = q @ self.table.mT  # (B, H, T, positions)

        def weigh(scores, rows):
            keep = causal(scores)
            gates = scores.sigmoid() * keep
            counted = gates.cumsum(-1)
            position = (counted[..., -1:] - counted + gates).clamp(0, self.table.shape[0] - 1)
            below = position.floor()
            z = by_position[:, :, rows].to(scores.dtype)
            z_below, z_above = (z.gather(-1, index.long()) for index in (below, position.ceil()))
            return scores + torch.lerp(z_below, z_above, position - below), keep

        return weigh


def sinusoids(position, d_model):
    """Sine and cosine of i / 10000^(2m/d_model) for each i of position (T,) -> (T, d_model).

    Added to the embeddings of the mechanism "sinusoidal" (Vaswani et al. 2017, sec. 3.5).
    """
    rate = 10000.0 ** (-torch.arange(0, d_model, 2, device=position.device) / d_model)
    angle = position[:, None] * rate  # (T, d_model / 2)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)

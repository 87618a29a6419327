"""TRA taken apart: removal of keys and distance, each by itself."""

import torch

from tra_mini.attention import causal, surviving, survivor_distance
from tra_mini.layers import Attention, GatedAttention


def raw_distance(scores):
    """i - j, (rows, keys); negative above the diagonal, where every rule masks it."""
    rows, keys = scores.shape[-2:]
    position = torch.arange(keys, device=scores.device, dtype=scores.dtype)
    return position[keys - rows :, None] - position


class SparsityOnly(Attention):
    """TRA without distance: softmax of S_ij over the keys with S_ij > 0."""

    def weighing(self, x, q, cache=None):
        return lambda scores, rows: (scores, surviving(scores))


def by_distance(delta, removal, contextual):
    """The 2 x 2 of which TRA is one corner: S_ij + delta_i * distance, over the keys kept.

    removal: keep only keys with S > 0, or all; contextual: count distance over the keys with
    S > 0, or over all: i - j + 1. delta (B, H, T).
    """

    def weigh(scores, rows):
        keep = surviving(scores)
        distance = survivor_distance(keep) if contextual else raw_distance(scores) + 1
        logits = torch.addcmul(scores, delta[:, :, rows, None], distance)
        return logits, keep if removal else causal(scores)

    return weigh


class SparsityRaw(GatedAttention):
    """Removal, raw distance: softmax of S_ij + delta_i (i - j + 1) over the keys with S_ij > 0."""

    def weighing(self, x, q, cache=None):
        return by_distance(self.log_forget(x), removal=True, contextual=False)


class ContextualOnly(GatedAttention):
    """Nothing removed, contextualised distance: softmax(S_ij + delta_i c_ij) over all keys."""

    def weighing(self, x, q, cache=None):
        return by_distance(self.log_forget(x), removal=False, contextual=True)


class DistanceOnly(GatedAttention):
    """Nothing removed, raw distance: softmax(S_ij + delta_i (i - j + 1)) over all keys."""

    def weighing(self, x, q, cache=None):
        return by_distance(self.log_forget(x), removal=False, contextual=False)

"""TRA taken apart, removal of keys and distance each by itself; and TRA beside other heads."""

import torch

from tra_mini.attention import causal, surviving, survivor_distance, thresholded
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


class BesideTRA(GatedAttention):
    """TRA in the first half of the heads, another rule in the second half."""

    def weighing(self, x, q, cache=None):
        half = self.n_head // 2
        delta = self.log_forget(x)
        tra, other = thresholded(delta[:, :half]), self.other(delta[:, half:])

        def weigh(scores, rows):
            logits, keep = tra(scores[:, :half], rows)
            other_logits, other_keep = other(scores[:, half:], rows)
            other_keep = other_keep.expand_as(other_logits)
            return torch.cat((logits, other_logits), 1), torch.cat((keep, other_keep), 1)

        return weigh


class TRABesideNoPE(BesideTRA):
    """TRA in half of the heads; in the others all keys stay, and there is no distance."""

    def other(self, delta):
        return lambda scores, rows: (scores, causal(scores))


class TRABesideLocal(BesideTRA):
    """TRA in half of the heads; in the others all keys stay, and distance is raw: DistanceOnly."""

    def other(self, delta):
        return by_distance(delta, removal=False, contextual=False)

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


class Ablation(GatedAttention):
    """The 2 x 2 of which TRA is one corner: S_ij + delta_i * distance, over the keys kept."""

    removal = True  # keep only keys with S > 0, or all
    contextual = True  # count distance over the keys with S > 0, or over all: i - j + 1

    def weighing(self, x, q, cache=None):
        delta = self.log_forget(x)[..., None]  # (B, H, T, 1)

        def weigh(scores, rows):
            keep = surviving(scores)
            if self.contextual:
                distance = survivor_distance(keep)
            else:
                distance = raw_distance(scores) + 1
            logits = torch.addcmul(scores, delta[:, :, rows], distance)
            return logits, keep if self.removal else causal(scores)

        return weigh


class SparsityRaw(Ablation):
    """Removal, raw distance: softmax of S_ij + delta_i (i - j + 1) over the keys with S_ij > 0."""

    contextual = False


class ContextualOnly(Ablation):
    """Nothing removed, contextualised distance: softmax(S_ij + delta_i c_ij) over all keys."""

    removal = False


class DistanceOnly(Ablation):
    """Nothing removed, raw distance: softmax(S_ij + delta_i (i - j + 1)) over all keys."""

    removal = contextual = False

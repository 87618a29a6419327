"""TRA taken apart, and what helps it to learn more; importing this adds them to MECHANISMS."""

import torch

from tra_mini import MECHANISMS
from tra_mini.attention import causal, surviving, survivor_distance, tra_logits
from tra_mini.mechanisms import (
    Attention,
    GatedAttention,
    ThresholdRelativeAttention,
    raw_distance,
)
from tra_mini.plots import STYLE

ANNEALED_STEPS = 500


class SparsityOnly(Attention):
    """Removal alone: softmax of S_ij over the keys with S_ij > 0."""

    def weigh(self, scores, rows, x, q):
        return scores, surviving(scores)


class SparsityRaw(GatedAttention):
    """Removal, raw distance: softmax of S_ij + delta_i (i - j + 1) over the keys with S_ij > 0."""

    def weigh(self, scores, rows, x, q):
        delta = self.log_forget(x[:, rows])[..., None]
        return torch.addcmul(scores, delta, raw_distance(scores) + 1), surviving(scores)


class ContextualOnly(GatedAttention):
    """Nothing removed, contextualised distance: softmax of S_ij + delta_i c_ij over all keys."""

    def weigh(self, scores, rows, x, q):
        delta = self.log_forget(x[:, rows])[..., None]
        distance = survivor_distance(surviving(scores))
        return torch.addcmul(scores, delta, distance), causal(scores)


class DistanceOnly(GatedAttention):
    """Nothing removed, raw distance: softmax of S_ij + delta_i (i - j + 1) over all keys."""

    def weigh(self, scores, rows, x, q):
        delta = self.log_forget(x[:, rows])[..., None]
        return torch.addcmul(scores, delta, raw_distance(scores) + 1), causal(scores)


class BesideLocal(GatedAttention):
    """TRA in the first half of the heads, DistanceOnly in the second.

    Raises ValueError for an odd number of heads.
    """

    def __init__(self, config):
        super().__init__(config)
        if config.n_head % 2:
            raise ValueError(f"n_head is {config.n_head}; allowed for two halves: even numbers")

    def weigh(self, scores, rows, x, q):
        tra_scores, local_scores = scores.chunk(2, 1)
        tra_delta, local_delta = self.log_forget(x[:, rows]).chunk(2, 1)
        tra, keep = tra_logits(tra_scores, tra_delta)
        local = torch.addcmul(local_scores, local_delta[..., None], raw_distance(scores) + 1)
        every_key = causal(scores).expand_as(keep)
        return torch.cat((tra, local), 1), torch.cat((keep, every_key), 1)


class Annealed(ThresholdRelativeAttention):
    """TRA whose removal sets in gradually: a key removed from the start never gets a gradient.

    Before the 500th step of training no key is removed. Those with S <= 0 have kappa S added, where
    kappa = 2p / (1 - p) grows without bound, p the share of the 500 steps done. Later, and always
    outside training, it is TRA. A step is a pass in training mode, with gradients.
    """

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x, return_weights=False):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        return super().forward(x, return_weights)

    def weigh(self, scores, rows, x, q):
        logits, keep = super().weigh(scores, rows, x, q)
        training = self.training and torch.is_grad_enabled()
        if not training or self.steps >= ANNEALED_STEPS:
            return logits, keep
        share = self.steps.item() / ANNEALED_STEPS
        return logits + 2 * share / (1 - share) * scores.clamp(max=0), causal(scores)


class LowThreshold(ThresholdRelativeAttention):
    """TRA that removes a key at scores of -1 and below, not at 0."""

    def weigh(self, scores, rows, x, q):
        return tra_logits(scores, self.log_forget(x[:, rows]), threshold=-1.0)


MECHANISMS.update(
    sparsity_only=SparsityOnly,
    sparsity_raw=SparsityRaw,
    distance_only=DistanceOnly,
    contextual_only=ContextualOnly,
    tra_beside_local=BesideLocal,
    tra_annealed=Annealed,
    tra_low_threshold=LowThreshold,
)
STYLE.update(
    contextual_only=("counted distance only", "#692D96", "d", "-"),
    distance_only=("raw distance only", "#4B6900", "p", "-"),
    sparsity_raw=("removal, raw distance", "#A52D69", "+", "--"),
    sparsity_only=("removal only", "#968700", "2", ":"),
    tra_beside_local=("half TRA, half raw distance", "#1E1E87", "3", "-"),
    tra_annealed=("TRA, removal annealed", "#2D3C00", "4", "--"),
    tra_low_threshold=("TRA, threshold -1", "#5A0F3C", "|", "-."),
)

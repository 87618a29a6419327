"""What was tried to make TRA learn more: other heads beside it, other starts, another threshold.

The mechanisms named tra_*. README and notebooks 07 and 09 say where each was tried, and what of it.
"""

import torch
from torch import nn

from tra_mini.ablations import by_distance
from tra_mini.attention import causal, thresholded
from tra_mini.layers import GatedAttention, ThresholdRelativeAttention

ANNEALED = 500  # steps


class Beside(GatedAttention):
    """TRA in the first half of the heads, another rule in the second half.

    ValueError for an odd number of heads.
    """

    def __init__(self, config):
        super().__init__(config)
        if config.n_head % 2:
            raise ValueError(f"n_head is {config.n_head}; allowed for two halves: even numbers")

    def weighing(self, x, q, cache=None):
        delta, others_delta = self.log_forget(x).chunk(2, 1)
        tra, other = thresholded(delta), self.other(others_delta)

        def weigh(scores, rows):
            scores, others = scores.chunk(2, 1)
            (logits, keep), (others, all_kept) = tra(scores, rows), other(others, rows)
            return torch.cat((logits, others), 1), torch.cat((keep, all_kept.expand_as(keep)), 1)

        return weigh


class BesideNoPE(Beside):
    """TRA in half of the heads; in the others all keys stay, and there is no distance."""

    def other(self, delta):
        return lambda scores, rows: (scores, causal(scores))


class BesideLocal(Beside):
    """TRA in half of the heads; in the others all keys stay, and distance is raw: DistanceOnly."""

    def other(self, delta):
        return by_distance(delta, removal=False, contextual=False)


class SlowGates(ThresholdRelativeAttention):
    """TRA whose gates start near 1: delta about -0.05 instead of -0.7 a survivor."""

    def __init__(self, config):
        super().__init__(config)
        nn.init.constant_(self.gate.bias, 3.0)


class SpreadGates(ThresholdRelativeAttention):
    """TRA whose gates start from short-sighted to far-sighted: biases -1 ... 5 over the heads."""

    def __init__(self, config):
        super().__init__(config)
        self.gate.bias.data = torch.linspace(-1, 5, config.n_head)


class Annealed(ThresholdRelativeAttention):
    """TRA whose removal sets in little by little: what is removed at once never gets a gradient.

    Before the 500th step of training no key leaves; those with S <= 0 have kappa S added, where
    kappa = 2p / (1 - p) grows without bound, p the share of the 500 done. Then, and always outside
    training, it is TRA. A step is a pass in training mode, with gradients.
    """

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def weighing(self, x, q, cache=None):
        exact = super().weighing(x, q, cache)
        training = self.training and torch.is_grad_enabled()
        self.steps += training
        if not training or self.steps >= ANNEALED:
            return exact
        share = self.steps.item() / ANNEALED

        def weigh(scores, rows):
            logits, _ = exact(scores, rows)
            return logits + 2 * share / (1 - share) * scores.clamp(max=0), causal(scores)

        return weigh


class LowThreshold(ThresholdRelativeAttention):
    """TRA that removes a key at scores of -1 and below, not at 0."""

    def weighing(self, x, q, cache=None):
        return thresholded(self.log_forget(x), threshold=-1.0)

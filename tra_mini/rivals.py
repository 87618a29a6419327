"""TRA's rivals: the same projections and q/k normalisation, another weighing.

Under each formula: the rule weigh(scores, rows) -> logits, keep that attention.attend applies.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tra_mini import ablations, variants
from tra_mini.attention import causal
from tra_mini.layers import Attention, GatedAttention, ThresholdRelativeAttention, remember
from tra_mini.positions import ALiBi, CoPE, RoPE, alibi_slopes


class FoX(GatedAttention):
    """softmax(S_ij + sum over l = j+1..i of log f_l), a gate f_l for each key (Lin et al. 2025)."""

    def weighing(self, x, q, cache=None):
        # float64, then relative to the block: near differences stay exact in the longest sequence
        before = cache["forgotten"][..., -1:] if cache and "forgotten" in cache else 0
        forgotten = before + self.log_forget(x).double().cumsum(-1)
        forgotten = remember(cache, "forgotten", forgotten)  # (B, H, T)

        def weigh(scores, rows):
            keys = scores.shape[-1]
            first = keys - scores.shape[-2]  # the key of the block's first query
            relative = (forgotten[..., :keys] - forgotten[..., first, None]).to(scores)
            return scores + relative[..., first:, None] - relative[..., None, :], causal(scores)

        return weigh


class HalfALiBi(ALiBi):
    """ALiBi on every other head, no distance on the rest: NAPE (Vasylenko et al. 2026)."""

    def slopes(self):
        return [slope * (h % 2 == 0) for h, slope in enumerate(alibi_slopes(self.n_head))]


class SSMax(HalfALiBi):
    """softmax(s_h log(n_i) S_ij), n_i keys up to i, s_h learned (Nakanishi 2025); positions NAPE.

    Against dispersion: the sharpness grows with the number of keys.
    """

    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.full((config.n_head,), 0.43))  # as in the paper's figure 1

    def weighing(self, x, q, cache=None):
        penalise = super().weighing(x, q, cache)

        def weigh(scores, rows):
            n = ablations.raw_distance(scores)[:, :1] + 1  # (rows, 1)
            return penalise(scores * n.log() * self.scale[:, None, None], rows)

        return weigh


def entmax(logits):
    """1.5-entmax over the last dimension: p_j = max(0, z_j - tau)^2, z = logits / 2, sum p_j = 1.

    tau is found exactly, by sorting (Peters et al. 2019, algorithm 2).
    """
    # p is 0 from 2 below the top; 3, so that rounding lets no key removed pass for one just inside
    z = (logits - logits.amax(-1, keepdim=True)).clamp(min=-3) / 2
    with torch.no_grad():
        ordered = z.sort(-1, descending=True).values
        k = torch.arange(1, z.shape[-1] + 1, device=z.device)
        mean, square = ordered.cumsum(-1) / k, ordered.square().cumsum(-1) / k
        tau = mean - (1 / k - square + mean.square()).clamp(min=0).sqrt()  # if k keys stay
        inside = z > tau.gather(-1, (tau < ordered).sum(-1, keepdim=True) - 1)
    k = inside.sum(-1, keepdim=True)
    mean = (z * inside).sum(-1, keepdim=True) / k
    spread = ((z - mean).square() * inside).sum(-1, keepdim=True)
    return (z - mean + ((1 - spread) / k).sqrt()).clamp(min=0).square() * inside


class Entmax(HalfALiBi):
    """1.5-entmax of S_ij, which can give a key no weight at all; positions NAPE, as above."""

    normalise = staticmethod(entmax)


class StickBreaking(Attention):
    """A_ij = beta_ij prod over l = j+1..i-1 of (1 - beta_il), beta = sigmoid(S) (Tan et al. 2025).

    Only earlier keys, j < i. From the newest on, each takes its share of what is left of the
    stick; what no key takes is silence: rows sum to less than 1.
    """

    normalise = staticmethod(torch.exp)

    def weighing(self, x, q, cache=None):
        def weigh(scores, rows):
            earlier = causal(scores).tril(scores.shape[-1] - scores.shape[-2] - 1)
            left = F.logsigmoid(-scores) * earlier  # log(1 - beta)
            after = left.flip(-1).cumsum(-1).flip(-1) - left  # of the keys l = j+1 ... i-1
            return F.logsigmoid(scores) + after, earlier

        return weigh


class LSTM(nn.Module):
    """No attention: a recurrent layer of the same width (Hochreiter and Schmidhuber 1997)."""

    def __init__(self, config):
        super().__init__()
        self.lstm = nn.LSTM(config.d_model, config.d_model, batch_first=True)

    def forward(self, x, return_weights=False, cache=None):
        """x (B, T, d_model) -> the same shape, and None. ValueError if weights are asked for."""
        if return_weights:
            raise ValueError("return_weights is True; allowed: False, for an LSTM has no weights")
        # in its own precision: not every processor has an LSTM of bfloat16
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.lstm.weight_hh_l0.dtype)
            output, state = self.lstm(x, cache.get("state") if cache else None)
        if cache is not None:
            cache["state"] = state
        return output, None


MECHANISMS = {
    "nope": Attention,  # no positions at all (Kazemnejad et al. 2023)
    "sinusoidal": Attention,  # the model adds sinusoids to its embeddings
    "rope": RoPE,
    "alibi": ALiBi,
    "cope": CoPE,
    "fox": FoX,
    "sparsity_only": ablations.SparsityOnly,
    "sparsity_raw": ablations.SparsityRaw,
    "distance_only": ablations.DistanceOnly,
    "contextual_only": ablations.ContextualOnly,
    "ssmax": SSMax,
    "entmax": Entmax,
    "stick_breaking": StickBreaking,
    "lstm": LSTM,
    "tra_beside_nope": variants.BesideNoPE,
    "tra_beside_local": variants.BesideLocal,
    "tra_slow_gates": variants.SlowGates,
    "tra_spread_gates": variants.SpreadGates,
    "tra_annealed": variants.Annealed,
    "tra_low_threshold": variants.LowThreshold,
    "tra": ThresholdRelativeAttention,
}

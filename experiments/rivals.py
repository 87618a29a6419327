"""The published rivals that only the figures compare; importing this adds them to MECHANISMS."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tra_mini import MECHANISMS, GPTConfig
from tra_mini.attention import causal
from tra_mini.mechanisms import ALiBi, Attention, raw_distance
from tra_mini.plots import STYLE


class SinusoidalEmbedding(nn.Embedding):
    """Embeddings plus sine and cosine of i / 10000^(2m/d_model) (Vaswani et al. 2017, 3.5)."""

    def forward(self, tokens):
        width = self.embedding_dim
        rate = 10000.0 ** (-torch.arange(0, width, 2, device=tokens.device) / width)
        angle = torch.arange(tokens.shape[1], device=tokens.device)[:, None] * rate  # (T, width/2)
        positions = torch.stack((angle.sin(), angle.cos()), -1).flatten(1)  # (T, width)
        return super().forward(tokens) + positions.to(self.weight.dtype)


class Sinusoidal(Attention):
    """softmax of S_ij; the positions are in the embeddings."""

    embedding = SinusoidalEmbedding


@dataclass(frozen=True)
class ExperimentConfig(GPTConfig):
    """GPTConfig, with the one setting that a rival adds."""

    cope_table: int = 64  # positions in CoPE's table: the training length


class CoPE(Attention):
    """softmax of S_ij + q_i . E[p_ij], where p_ij = sum over l = j..i of sigmoid(S_il).

    E is interpolated between its rows, and p clamped to its last (Golovneva et al. 2024).
    """

    def __init__(self, config):
        super().__init__(config)
        positions = getattr(config, "cope_table", ExperimentConfig.cope_table)
        self.table = nn.Parameter(torch.zeros(positions, config.d_model // config.n_head))

    def weigh(self, scores, rows, x, q):
        # Position: the sum of gates from j to i.
        keep = causal(scores)
        gates = scores.sigmoid() * keep
        counted = gates.cumsum(-1)
        position = (counted[..., -1:] - counted + gates).clamp(0, self.table.shape[0] - 1)

        # Its logit lies between those of the whole positions below and above.
        by_position = (q[:, :, rows] @ self.table.mT).to(scores.dtype)  # (B, H, rows, positions)
        below = position.floor()
        logit_below = by_position.gather(-1, below.long())
        logit_above = by_position.gather(-1, position.ceil().long())
        return scores + torch.lerp(logit_below, logit_above, position - below), keep


class NAPE(ALiBi):
    """ALiBi on every other head, no distance on the rest (after Vasylenko et al. 2026)."""

    def slopes(self):
        slopes = super().slopes()
        slopes[1::2] = [0] * len(slopes[1::2])
        return slopes


class SSMax(NAPE):
    """softmax of s_h log(n_i) S_ij, n_i keys up to i, s_h learned (Nakanishi 2025); positions NAPE.

    The sharpness grows with the number of keys, against dispersion.
    """

    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.full((config.n_head,), 0.43))  # as in the paper's figure 1

    def weigh(self, scores, rows, x, q):
        n = raw_distance(scores)[:, :1] + 1  # (rows, 1)
        return super().weigh(scores * n.log() * self.scale[:, None, None], rows, x, q)


def entmax(logits, dim=-1):
    """1.5-entmax: p_j = max(0, z_j - tau)^2, where z = logits / 2 and the sum of p is 1.

    tau is found exactly, by sorting the last dimension (Peters et al. 2019, algorithm 2).
    """
    # p is 0 from 2 below the top. 3: a removed key must not pass, by rounding, for one just inside.
    z = (logits - logits.amax(-1, keepdim=True)).clamp(min=-3) / 2

    # Which keys are inside: tau as it would be with 1, 2, 3, ... of them, and the last that fits.
    with torch.no_grad():
        ordered = z.sort(-1, descending=True).values
        k = torch.arange(1, z.shape[-1] + 1, device=z.device)
        mean = ordered.cumsum(-1) / k
        square = ordered.square().cumsum(-1) / k
        tau = mean - (1 / k - square + mean.square()).clamp(min=0).sqrt()
        inside = z > tau.gather(-1, (tau < ordered).sum(-1, keepdim=True) - 1)

    # tau once more, from the keys inside alone and with gradients.
    k = inside.sum(-1, keepdim=True)
    mean = (z * inside).sum(-1, keepdim=True) / k
    spread = ((z - mean).square() * inside).sum(-1, keepdim=True)
    return (z - mean + ((1 - spread) / k).sqrt()).clamp(min=0).square() * inside


class Entmax(NAPE):
    """1.5-entmax of S_ij, which can give a key no weight at all; positions NAPE."""

    normalise = staticmethod(entmax)


def exponential(logits, dim=-1):
    return logits.exp()


class StickBreaking(Attention):
    """A_ij = beta_ij prod over l = j+1..i-1 of (1 - beta_il), beta = sigmoid(S) (Tan et al. 2025).

    Only earlier keys, j < i. From the newest on, each takes its share of what is left of the
    stick. What no key takes is silence: rows sum to less than 1.
    """

    normalise = staticmethod(exponential)

    def weigh(self, scores, rows, x, q):
        n_rows, n_keys = scores.shape[-2:]
        earlier = causal(scores).tril(n_keys - n_rows - 1)
        log_left = F.logsigmoid(-scores) * earlier  # log(1 - beta)
        newer = log_left.flip(-1).cumsum(-1).flip(-1) - log_left  # of the keys l = j+1 ... i-1
        return F.logsigmoid(scores) + newer, earlier


class LSTM(nn.Module):
    """No attention: a recurrent layer of the same width (Hochreiter and Schmidhuber 1997)."""

    embedding = nn.Embedding

    def __init__(self, config):
        super().__init__()
        self.lstm = nn.LSTM(config.d_model, config.d_model, batch_first=True)

    def forward(self, x, return_weights=False):
        """x (B, T, d_model) -> the same shape, and None. ValueError if weights are asked for."""
        if return_weights:
            raise ValueError("return_weights is True; allowed for an LSTM: False")
        return self.lstm(x)[0], None


MECHANISMS.update(
    sinusoidal=Sinusoidal,
    cope=CoPE,
    ssmax=SSMax,
    entmax=Entmax,
    stick_breaking=StickBreaking,
    lstm=LSTM,
)
STYLE.update(
    cope=("CoPE", "#CC79A7", "D", "--"),
    sinusoidal=("sinusoidal", "#56B4E9", "P", ":"),
    ssmax=("SSMax", "#999999", "<", "--"),
    entmax=("entmax", "#6A3D9A", "h", "-"),
    stick_breaking=("stick-breaking", "#8B5A2B", "*", "-."),
    lstm=("LSTM (no attention)", "#B8A200", "X", "-."),
)

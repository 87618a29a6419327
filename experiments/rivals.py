"""The published rivals that only the figures compare; importing this adds them to MECHANISMS."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tra_mini import MECHANISMS, GPTConfig
from tra_mini.attention import causal
from tra_mini.mechanisms import ALiBi, Attention
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
        # Position: the sum of gates from j to i, added up from the right, where it is small.
        keep = causal(scores)
        gates = scores.sigmoid() * keep
        position = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.table.shape[0] - 1)

        # Its logit lies between those of the whole positions below and above.
        by_position = (q[:, :, rows] @ self.table.mT).to(scores.dtype)  # (B, H, rows, positions)
        below = position.floor()
        logit_below = by_position.gather(-1, below.long())
        logit_above = by_position.gather(-1, position.ceil().long())
        return scores + torch.lerp(logit_below, logit_above, position - below), keep


class NAPE(ALiBi):
    """ALiBi with slopes 1, 1/2, 1/3, ... in the first half of the heads, no distance in the others.

    In these, queries may be multiplied by a sharpness (Vasylenko et al. 2026, and their code).
    """

    def __init__(self, config):
        super().__init__(config)
        self.n_far = config.n_head - config.n_head // 2  # heads without distance

    def slopes(self):
        near = range(1, self.n_head - self.n_far + 1)
        return [1 / h for h in near] + [0] * self.n_far

    def sharpness(self, x):
        """x (B, T, d_model) -> a factor for the queries without distance, (B, n_far, T, 1)."""
        return x.new_ones(1)

    def heads(self, x):
        q, k, v = super().heads(x)
        near, far = q.split((self.n_head - self.n_far, self.n_far), 1)
        return torch.cat((near, far * self.sharpness(x)), 1), k, v


def log_keys(x):
    """log n at each position of x (B, T, d_model), with n counted from 2 -> (T, 1)."""
    n = torch.arange(2, x.shape[1] + 2, device=x.device, dtype=torch.float64)
    return n.log()[:, None].to(x.dtype)


class SSMax(NAPE):
    """softmax, sharpened by s_h log n: s_h is learned and starts at 1 (Nakanishi 2025).

    The sharpness grows with the number of keys, against dispersion.
    """

    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(self.n_far))

    def sharpness(self, x):
        return self.scale[:, None, None] * log_keys(x)


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
    """1.5-entmax of S_ij, which can give a key no weight at all."""

    normalise = staticmethod(entmax)


class ASEntmax(Entmax):
    """1.5-entmax, sharpened by 1 + softplus(w_b . x) log(n)^(2 tanh(w_g . x)) (their equation)."""

    def __init__(self, config):
        super().__init__(config)
        self.beta = nn.Linear(config.d_model, self.n_far, bias=False)
        self.gamma = nn.Linear(config.d_model, self.n_far, bias=False)

    def sharpness(self, x):
        beta = F.softplus(self.beta(x)).mT[..., None]  # (B, n_far, T, 1)
        gamma = 2 * self.gamma(x).tanh().mT[..., None]
        return 1 + beta * log_keys(x) ** gamma


def exponential(logits, dim=-1):
    return logits.exp()


class StickBreaking(Attention):
    """A_ij = beta_ij prod over l = j+1..i-1 of (1 - beta_il), beta = sigmoid(S) (Tan et al. 2025).

    Only earlier keys, j < i. From the newest on, each takes its share of what is left of the
    stick. What no key takes is dropped, as in their equations: rows sum to less than 1. Their tests
    give it to the query's own value, see StickBreakingWhole.
    """

    normalise = staticmethod(exponential)

    def weigh(self, scores, rows, x, q):
        n_rows, n_keys = scores.shape[-2:]
        earlier = causal(scores).tril(n_keys - n_rows - 1)
        log_left = F.logsigmoid(-scores) * earlier  # log(1 - beta)
        newer = log_left.flip(-1).cumsum(-1).flip(-1) - log_left  # of the keys l = j+1 ... i-1
        return F.logsigmoid(scores) + newer, earlier


class StickBreakingWhole(StickBreaking):
    """Stick-breaking that gives what is left of the stick to the query's own value."""

    def weigh(self, scores, rows, x, q):
        logits, earlier = super().weigh(scores, rows, x, q)
        left = (F.logsigmoid(-scores) * earlier).sum(-1, keepdim=True)  # (B, H, rows, 1)
        keep = causal(scores)
        return torch.where(keep > earlier, left, logits), keep


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
    asentmax=ASEntmax,
    stick_breaking=StickBreaking,
    stick_breaking_whole=StickBreakingWhole,
    lstm=LSTM,
)
STYLE.update(
    cope=("CoPE", "#CC79A7", "D", "--"),
    sinusoidal=("sinusoidal", "#56B4E9", "P", ":"),
    ssmax=("SSMax", "#876978", "<", "--"),
    entmax=("entmax", "#8769D2", "h", "-"),
    asentmax=("ASEntmax", "#B496FF", ">", "--"),
    stick_breaking=("stick-breaking", "#873C0F", "*", "-."),
    stick_breaking_whole=("stick-breaking, rest kept", "#96B487", "1", ":"),
    lstm=("LSTM (no attention)", "#2D4B69", "X", "-."),
)

"""Ways of weighing keys, as layers of a GPT. A mechanism is one method, `weigh` (RoPE: `heads`)."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from tra_mini.attention import attend, causal, tra_logits


class Attention(nn.Module):
    """Multi-head causal softmax attention without positions (NoPE; Kazemnejad et al. 2023)."""

    embedding = nn.Embedding  # of the GPT; one mechanism adds positions there
    normalise = staticmethod(torch.softmax)

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.project = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    def heads(self, x):
        """x (B, T, d_model) -> q, k, v (B, H, T, D); q and k normalised, so |S_ij| <= sqrt(D)."""
        q, k, v = self.project(x).unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
        return F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:]), v

    def weigh(self, scores, rows, x, q):
        """scores (B, H, rows, keys) of the queries in the slice rows, x (B, T, d_model) and
        q (B, H, T, D) of all -> logits like scores; keep, 1.0 for a survivor, broadcasts to them.
        """
        return scores, causal(scores)

    def forward(self, x, return_weights=False):
        """x (B, T, d_model) -> the same shape, and the weights (B, H, T, T) if asked for."""
        q, k, v = self.heads(x)
        rule = partial(self.weigh, x=x, q=q)
        output, weights = attend(q, k, v, rule, return_weights, self.normalise)
        return self.output(output.transpose(1, 2).flatten(2)), weights


class GatedAttention(Attention):
    """Attention with a forget gate for each token and head: delta = log sigmoid(w_h . x + b_h)."""

    def __init__(self, config):
        super().__init__(config)
        self.gate = nn.Linear(config.d_model, config.n_head)

    def log_forget(self, x):
        """x (B, T, d_model) -> delta (B, H, T), all <= 0."""
        return F.logsigmoid(self.gate(x)).mT


class ThresholdRelativeAttention(GatedAttention):
    """TRA: keys with S_ij <= 0 are removed, and distance is counted over the survivors."""

    def weigh(self, scores, rows, x, q):
        return tra_logits(scores, self.log_forget(x[:, rows]))


def rotate(u):
    """u (B, H, T, D) -> its pair m, entries m and m + D/2, turned by i / 10000^(2m/D)."""
    T, half = u.shape[2], u.shape[3] // 2
    rate = 10000.0 ** (-torch.arange(half, device=u.device) / half)  # radians a token, (D/2,)
    angle = torch.arange(T, device=u.device)[:, None] * rate  # (T, D/2)
    cos, sin = angle.cos().to(u.dtype), angle.sin().to(u.dtype)
    a, b = u.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class RoPE(Attention):
    """softmax of S_ij, with queries and keys turned by their positions (Su et al. 2021)."""

    def heads(self, x):
        q, k, v = super().heads(x)
        return rotate(q), rotate(k), v


def raw_distance(scores):
    """r = i - j in tokens, (rows, keys); negative for later keys, which every rule removes."""
    rows, keys = scores.shape[-2:]
    position = torch.arange(keys, device=scores.device, dtype=scores.dtype)
    return position[keys - rows :, None] - position


class ALiBi(Attention):
    """softmax of S_ij - m_h (i - j), with a fixed slope m_h for each head (Press et al. 2022)."""

    def slopes(self):
        """m_h = 2^(-8h/H) for the heads h = 1 ... H; published for H a power of two."""
        return [2 ** (-8 * h / self.n_head) for h in range(1, self.n_head + 1)]

    def weigh(self, scores, rows, x, q):
        slopes = scores.new_tensor(self.slopes())[:, None, None]
        return scores - slopes * raw_distance(scores), causal(scores)


class FoX(GatedAttention):
    """softmax of S_ij + sum over l = j+1..i of log f_l: a gate for each key (Lin et al. 2025)."""

    def weigh(self, scores, rows, x, q):
        forgotten = self.log_forget(x[:, : rows.stop]).double().cumsum(-1)  # (B, H, keys)
        forgotten = (forgotten - forgotten[..., rows.start, None]).to(scores.dtype)  # small: exact
        return scores + forgotten[..., rows, None] - forgotten[..., None, :], causal(scores)


MECHANISMS = {  # importing the package `experiments` adds the others that the figures compare
    "nope": Attention,
    "rope": RoPE,
    "alibi": ALiBi,
    "fox": FoX,
    "tra": ThresholdRelativeAttention,
}

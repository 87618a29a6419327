"""A tiny GPT: pre-norm blocks of attention and SwiGLU. No maximum length anywhere."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import func, nn

from tra_mini.mechanisms import MECHANISMS


@dataclass(frozen=True)
class GPTConfig:
    """Settings of a GPT. Raises ValueError for an unknown mechanism or an impossible size."""

    vocab_size: int = 5
    mechanism: str = "tra"  # a name in MECHANISMS
    n_layer: int = 2
    n_head: int = 8
    d_model: int = 64

    def __post_init__(self):
        if self.mechanism not in list(MECHANISMS):
            raise ValueError(f"mechanism is {self.mechanism!r}; allowed: {', '.join(MECHANISMS)}")
        sizes = (self.vocab_size, self.n_layer, self.n_head, self.d_model)
        whole = all(hasattr(size, "__index__") and size >= 1 for size in sizes)
        if not whole or self.d_model % (2 * self.n_head):
            raise ValueError(f"{self}; allowed: 1 or more, and d_model a multiple of 2 * n_head")


class Block(nn.Module):
    """Attention, then a small network for each token; both add to the stream x (B, T, d_model)."""

    def __init__(self, config):
        super().__init__()
        hidden = 8 * config.d_model // 3  # three such matrices cost what two of 4 * d_model do
        self.norm_attention = nn.RMSNorm(config.d_model)
        self.attention = MECHANISMS[config.mechanism](config)
        self.norm_mlp = nn.RMSNorm(config.d_model)
        self.up = nn.Linear(config.d_model, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, config.d_model, bias=False)

    def forward(self, x, return_weights=False):
        """x (B, T, d_model) -> the same shape, and the attention weights if asked for."""
        attended, weights = self.attention(self.norm_attention(x), return_weights)
        x = x + attended
        gate, value = self.up(self.norm_mlp(x)).chunk(2, -1)  # SwiGLU (Shazeer 2020)
        return x + self.down(F.silu(gate) * value), weights


class GPT(nn.Module):
    """A decoder-only transformer whose attention is the mechanism named in its GPTConfig."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = MECHANISMS[config.mechanism].embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.norm = nn.RMSNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(self, tokens, return_weights=False):
        """tokens (B, T) -> logits (B, T, vocab_size).
        With return_weights, also a list with the attention weights (B, H, T, T) of each layer.
        """
        if tokens.ndim != 2 or tokens.numel() == 0 or tokens.dtype != torch.long:
            given = f"{tokens.dtype} {tuple(tokens.shape)}"
            raise ValueError(f"tokens is {given}; allowed: int64 (B, T), neither 0")
        low, high = (0, 0) if torch.compiler.is_compiling() else func.debug_unwrap(tokens).aminmax()
        if low < 0 or high >= self.config.vocab_size:
            raise ValueError(f"tokens are {low}..{high}; allowed: 0..{self.config.vocab_size - 1}")

        x = self.embedding(tokens)  # (B, T, d_model)
        maps = []
        for block in self.blocks:
            x, weights = block(x, return_weights)
            maps.append(weights)
        logits = self.head(self.norm(x))
        return (logits, maps) if return_weights else logits

    @torch.no_grad()
    def generate(self, tokens, new_tokens, generator):
        """Continues tokens to (B, T + new_tokens), each new token drawn from its probabilities."""
        for _ in range(new_tokens):
            probability = self(tokens)[:, -1].softmax(-1)  # (B, vocab_size)
            choice = torch.multinomial(probability, 1, generator=generator)  # (B, 1)
            tokens = torch.cat((tokens, choice), 1)
        return tokens

    def parameter_count(self):
        return sum(parameter.numel() for parameter in self.parameters())

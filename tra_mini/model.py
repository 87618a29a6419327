"""A tiny GPT: pre-norm blocks of attention and SwiGLU. No maximum length anywhere."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tra_mini.positions import sinusoids
from tra_mini.rivals import MECHANISMS


@dataclass(frozen=True)
class GPTConfig:
    """Settings of a GPT. ValueError for an unknown mechanism or widths that do not divide."""

    vocab_size: int = 5
    mechanism: str = "tra"
    n_layer: int = 2
    n_head: int = 4
    d_model: int = 64
    cope_table: int = 64  # positions in CoPE's table: the training length

    def __post_init__(self):
        if self.mechanism not in MECHANISMS:
            raise ValueError(f"mechanism is {self.mechanism!r}; allowed: {', '.join(MECHANISMS)}")
        for name in ("vocab_size", "n_layer", "n_head", "d_model", "cope_table"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.d_model % (2 * self.n_head):
            raise ValueError(
                f"d_model is {self.d_model}; allowed: multiples of 2 * n_head = {2 * self.n_head},"
                " since each head needs a whole, even width"
            )


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); x (B, T, d_model)."""

    def __init__(self, config):
        super().__init__()
        hidden = 8 * config.d_model // 3  # three such matrices cost what two of 4 * d_model do
        self.norm_attention = nn.RMSNorm(config.d_model)
        self.attention = MECHANISMS[config.mechanism](config)
        self.norm_mlp = nn.RMSNorm(config.d_model)
        self.up = nn.Linear(config.d_model, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, config.d_model, bias=False)

    def forward(self, x, return_weights=False, cache=None):
        attended, weights = self.attention(self.norm_attention(x), return_weights, cache)
        x = x + attended
        gate, value = self.up(self.norm_mlp(x)).chunk(2, -1)  # SwiGLU (Shazeer 2020)
        return x + self.down(F.silu(gate) * value), weights


class GPT(nn.Module):
    """A decoder-only transformer whose attention is the mechanism named in its GPTConfig."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.RMSNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(self, tokens, return_weights=False, caches=None):
        """tokens (B, T) -> logits (B, T, vocab_size).

        With return_weights the pair of it and a list of attention weights, (B, H, T, T) a layer.
        With caches, as empty_caches makes them, tokens follow those given with them before.
        Raises ValueError for an empty batch, or tokens outside the vocabulary.
        """
        if tokens.ndim != 2 or tokens.numel() == 0 or tokens.is_floating_point():
            given = f"{tokens.dtype} {tuple(tokens.shape)}"
            raise ValueError(f"tokens is {given}; allowed: integers (B, T), neither 0")
        low, high = tokens.min().item(), tokens.max().item()
        if low < 0 or high >= self.config.vocab_size:
            raise ValueError(
                f"tokens lie in {low} ... {high}; allowed: 0 ... {self.config.vocab_size - 1}"
            )
        x = self.embedding(tokens)  # (B, T, d_model)
        if self.config.mechanism == "sinusoidal":
            first = caches[0]["k"].shape[2] if caches and caches[0] else 0
            position = torch.arange(first, first + x.shape[1], device=x.device)
            x = x + sinusoids(position, x.shape[2]).to(x.dtype)
        maps = []
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x, weights = block(x, return_weights, cache)
            maps.append(weights)
        logits = self.head(self.norm(x))
        return (logits, maps) if return_weights else logits

    def empty_caches(self):
        """What forward fills and reads where a sequence comes in pieces: a dict for each layer."""
        return [{} for _ in self.blocks]

    @torch.no_grad()
    def generate(self, tokens, new_tokens, generator=None):
        """Continues tokens to (B, T + new_tokens): sampled with a generator, greedily without.

        Each new token reads what the caches keep of those before it, and computes only itself.
        """
        if new_tokens < 0:
            raise ValueError(f"new_tokens is {new_tokens}; allowed: 0 or more")
        caches, unseen = self.empty_caches(), tokens
        for _ in range(new_tokens):
            logits = self(unseen, caches=caches)[:, -1]  # (B, vocab_size)
            if generator is None:
                choice = logits.argmax(-1, keepdim=True)
            else:
                choice = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens, unseen = torch.cat((tokens, choice), 1), choice
        return tokens

    def parameter_count(self):
        """How many numbers training adjusts."""
        return sum(parameter.numel() for parameter in self.parameters())

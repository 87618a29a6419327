"""One training loop, and the models that the notebooks share, each trained once."""

import hashlib
import math
import os
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from tra_mini.model import GPT, GPTConfig
from tra_mini.tasks import flip_flop

MODELS = Path(__file__).resolve().parents[1] / ".cache" / "models"
FLIP_FLOP = partial(flip_flop, p_ignore=0.8)


def learning_rate_at(step, steps, peak, warmup=200):
    """Linear warm-up, then half a cosine down to zero."""
    rise = min(1, (step + 1) / warmup) if warmup else 1
    return peak * rise * (1 + math.cos(math.pi * step / steps)) / 2


def next_token_loss(model, tokens, scored):
    """Mean cross-entropy (nats) of the tokens that follow scored ones; tokens and scored (B, T)."""
    scored = scored[:, :-1]  # what follows the last token is unknown
    return F.cross_entropy(model(tokens)[:, :-1][scored], tokens[:, 1:][scored])


def start(config, seed):
    """A new GPT, its optimizer, and the generator of its training data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT(config)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    return model, optimizer, torch.Generator().manual_seed(seed)


def train_step(model, optimizer, tokens, scored, learning_rate):
    """One step of AdamW, with gradients clipped to length 1."""
    optimizer.param_groups[0]["lr"] = learning_rate
    loss = next_token_loss(model, tokens, scored)
    if not loss.isfinite():
        raise ValueError(f"loss is {loss:g}: learning_rate is too high, or nothing is scored")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def train(config, task, *, steps=1000, seed=0, length=64, batch=16, learning_rate=3e-3):
    """Trains a GPT on fresh batches of task(batch, length, generator) -> the GPT.

    The same arguments, thread count and machine give the same weights to the bit.
    """
    if steps < 1 or not 0 < learning_rate <= 1 or not 0 <= seed < 2**32:
        given = f"steps is {steps}, learning_rate {learning_rate}, seed {seed}"
        raise ValueError(f"{given}; allowed: from 1, above 0 to 1, 0 to 2^32 - 1")
    model, optimizer, generator = start(config, seed)
    for step in tqdm(range(steps), disable=None):  # None: a bar on a terminal only
        tokens, scored = task(batch, length, generator=generator)
        train_step(model, optimizer, tokens, scored, learning_rate_at(step, steps, learning_rate))
    return model.eval()


def trained(mechanism, seed=0):
    """The notebooks' flip-flop model: read from .cache/models, or trained now and kept there."""
    config = GPTConfig(mechanism=mechanism)
    digest = hashlib.sha256(f"{config} {torch.__version__} {torch.get_num_threads()}".encode())
    path = MODELS / f"{mechanism}-{seed}-{digest.hexdigest()[:8]}.pt"
    if path.exists():
        model, _, _ = start(config, seed)
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()

    path.parent.mkdir(parents=True, exist_ok=True)  # fails, if it does, before the training
    model = train(config, FLIP_FLOP, seed=seed)
    beside = path.with_suffix(f".{os.getpid()}")  # renamed when whole: nobody reads half a file
    torch.save(model.state_dict(), beside)
    beside.replace(path)
    return model

"""One training loop, seeded to the bit, that can be interrupted and resumed."""

import math
import os
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from tra_mini.model import GPT

WARMUP = 50  # steps
SAVE_EVERY = 100  # steps


def learning_rate_at(step, steps, peak, warmup=WARMUP):
    """Linear warm-up, then half a cosine down to zero."""
    risen = min(1, (step + 1) / warmup) if warmup else 1
    return peak * risen * (1 + math.cos(math.pi * step / steps)) / 2


def next_token_loss(model, tokens, scored):
    """Mean cross-entropy (nats) of the tokens that follow scored ones; tokens and scored (B, T)."""
    scored = scored[:, :-1]  # what follows the last token is unknown
    return F.cross_entropy(model(tokens)[:, :-1][scored], tokens[:, 1:][scored])


def train(
    config,
    task,
    *,
    steps=1000,
    seed=0,
    length=64,
    batch=16,
    learning_rate=3e-3,
    warmup=WARMUP,
    precision="float32",
    device="cpu",
    checkpoint=None,
    on_step=None,
):
    """Trains a GPT on task(batch, length, generator): AdamW, clipped at 1, loss only where scored.

    precision: "float32", or "bfloat16", in which matrices are then multiplied, and nothing else.

    The same arguments, thread count and machine give the same weights to the bit. With checkpoint,
    a path, the state is kept every 100 steps: after Ctrl-C the same call goes on from there, to the
    same weights; after the end it returns at once. A bar shows progress on a terminal, unless
    on_step is given: a function called after each step.
    Returns the GPT, with the seconds that training took as its attribute train_seconds. Raises
    ValueError for impossible numbers, an unusable device, or a checkpoint of other settings.
    """
    at_least = {"steps": (steps, 1), "length": (length, 1), "batch": (batch, 1)}
    for name, (given, least) in (at_least | {"warmup": (warmup, 0)}).items():
        if given < least:
            raise ValueError(f"{name} is {given}; allowed: {least} or more")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is {precision!r}; allowed: 'float32', 'bfloat16'")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate}; allowed: above 0")
    settings = asdict(config) | {"task": name_of(task), "steps": steps, "seed": seed}
    settings |= {"length": length, "batch": batch, "learning_rate": learning_rate}
    settings |= {"warmup": warmup, "precision": precision}
    check_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # drawn on the CPU: the same first weights on every device
        model = GPT(config)
    model.to(device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    first, seconds = 0, 0.0
    if checkpoint is not None and Path(checkpoint).exists():
        first, seconds = restore(checkpoint, settings, model, optimizer, generator)
    started = time.perf_counter() - seconds
    mixed = torch.autocast(torch.device(device).type, torch.bfloat16, precision == "bfloat16")
    hidden = True if on_step else None  # None: shown on a terminal only
    try:
        for step in tqdm(range(first, steps), initial=first, total=steps, disable=hidden):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, steps, learning_rate, warmup)
            tokens, scored = task(batch, length, generator=generator)
            with mixed:
                loss = next_token_loss(model, tokens.to(device), scored.to(device))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seconds = time.perf_counter() - started
            if checkpoint is not None and ((step + 1) % SAVE_EVERY == 0 or step + 1 == steps):
                save(checkpoint, settings, model, optimizer, generator, step + 1, seconds)
            if on_step:
                on_step()
    except KeyboardInterrupt:
        advice = "give checkpoint=, a path, to be able to go on"
        if checkpoint is not None:
            kept = step // SAVE_EVERY * SAVE_EVERY
            advice = f"the same call goes on from step {kept}, kept in {checkpoint}"
        raise KeyboardInterrupt(f"stopped in step {step + 1} of {steps}; {advice}") from None
    model.train_seconds = seconds
    return model.eval()


def check_device(device):
    """Raises ValueError for a device that is unknown or cannot be used here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is {device!r}, which cannot be used here ({reason})") from None


def name_of(task):
    """A task's name with the settings bound to it, such as flip_flop(p_ignore=0.8)."""
    if not isinstance(task, partial):
        return task.__name__
    bound = ", ".join(
        f"{name}={name_of(value) if callable(value) else value}"
        for name, value in sorted(task.keywords.items())
    )
    return f"{task.func.__name__}({bound})"


def save(path, settings, model, optimizer, generator, step, seconds):
    """Keeps what training needs to go on: written beside path, then renamed: never half a file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    state = {"settings": settings, "step": step, "seconds": seconds, "model": model.state_dict()}
    state |= {"optimizer": optimizer.state_dict(), "generator": generator.get_state()}
    torch.save(state, f"{path}.{os.getpid()}")
    os.replace(f"{path}.{os.getpid()}", path)


def restore(path, settings, model, optimizer, generator):
    """Puts back what save kept -> steps and seconds done. ValueError if settings differ."""
    state = torch.load(path, weights_only=True)
    # a file of before there were these two settings holds what now is their default
    state["settings"] = {"warmup": WARMUP, "precision": "float32"} | state["settings"]
    if state["settings"] != settings:
        raise ValueError(f"checkpoint {path} holds {state['settings']}; allowed here: {settings}")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    return state["step"], state["seconds"]

"""Training that can be interrupted and resumed: the loop of tra_mini.training, kept on disk."""

import time
from pathlib import Path

import torch
from tqdm import tqdm

from experiments.results import check_device, check_writable, set_aside, write
from tra_mini.training import learning_rate_at, start, train_step

SAVE_EVERY = 100  # steps


def train_resumable(
    model_config, task, path, *, steps, seed, length, batch, learning_rate, warmup=200, device="cpu"
):
    """tra_mini.train, to the bit, with its state kept at path every 100 steps -> the GPT.

    After Ctrl-C the same call goes on from there, to the same weights; after the end it returns at
    once. The path must name all that the weights depend on. The GPT's train_seconds says how long
    training took. Raises ValueError for impossible numbers or an unusable device.
    """
    for name, number in (("steps", steps), ("length", length), ("batch", batch)):
        if not hasattr(number, "__index__") or number < 1:
            raise ValueError(f"{name} is {number}; allowed: 1 or more")
    if warmup < 0 or not 0 < learning_rate <= 1 or not 0 <= seed < 2**32:
        given = f"warmup is {warmup}, learning_rate {learning_rate}, seed {seed}"
        raise ValueError(f"{given}; allowed: 0 or more, above 0 to 1, 0 to 2^32 - 1")
    check_device(device)
    check_writable(Path(path).parent)
    model, optimizer, generator, first, seconds = restore(path, model_config, seed, device)

    # Train, and keep the state every SAVE_EVERY steps.
    began = time.perf_counter() - seconds
    step = first
    kept = first
    try:
        for step in tqdm(range(first, steps), initial=first, total=steps, disable=None):
            tokens, scored = task(batch, length, generator=generator)
            rate = learning_rate_at(step, steps, learning_rate, warmup)
            train_step(model, optimizer, tokens.to(device), scored.to(device), rate)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                seconds = time.perf_counter() - began
                save(path, model, optimizer, generator, step + 1, seconds)
                kept = step + 1
    except KeyboardInterrupt:
        advice = f"the same command goes on from step {kept}"
        raise KeyboardInterrupt(f"stopped in step {step + 1} of {steps}; {advice}") from None
    model.train_seconds = seconds
    return model.eval()


def save(path, model, optimizer, generator, step, seconds):
    """Keeps all that training needs to go on."""
    state = {
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
    }
    write(path, lambda file: torch.save(state, file))


def restore(path, model_config, seed, device):
    """What save kept -> the GPT, its optimizer and generator, and the steps and seconds done.

    A new start where nothing is kept. A damaged file is set aside, and nothing of it is used.
    """
    model, optimizer, generator = start(model_config, seed)
    model.to(device)
    if not Path(path).exists():
        return model, optimizer, generator, 0, 0.0
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        return model, optimizer, generator, state["step"], state["seconds"]
    except Exception as error:  # noqa: BLE001 (damage raises many kinds)
        print(f"{path} is damaged ({type(error).__name__}): set aside as {set_aside(path)}")
    return restore(path, model_config, seed, device)  # what was half restored is dropped

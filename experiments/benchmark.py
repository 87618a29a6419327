"""python -m experiments.benchmark: times one attention layer four ways in turn.

TRA as its formula is written, in blocks, and stopping early; and plain softmax by torch's fused
kernel. Prints the ratios and writes figures/results/cost.json, from which cost.svg is drawn.
"""

import json
import math
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from tqdm import tqdm

from experiments import results
from experiments.early import attend_early
from experiments.results import RESULTS
from experiments.runs import peak_mb
from tra_mini import threshold_relative_attention

SHAPES = [(8, 4, 512, 64), (1, 4, 2048, 16)]  # (B, H, T, D) of the table of ratios
LENGTHS = [2**power for power in range(6, 15)]  # of the figure, at B = 1, H = 4, D = 16
NAIVE_MEMORY = 8192  # tokens: beyond, the whole matrix would take more than 8 GB


def naive(q, k, v, log_forget):
    """TRA as its formula is written, on the whole T x T matrix: flip, cumulative sum, flip."""
    T, D = q.shape[2:]
    scores = q @ k.mT / math.sqrt(D)  # (B, H, T, T)
    keep = (scores > 0) & torch.ones(T, T, dtype=torch.bool).tril()
    distance = keep.to(q.dtype).flip(-1).cumsum(-1).flip(-1)
    logits = (scores + log_forget[..., None] * distance).masked_fill(~keep, float("-inf"))
    weights = logits.softmax(-1).masked_fill(~keep.any(-1, keepdim=True), 0)
    return weights @ v


def fused(q, k, v, log_forget):
    """Plain causal softmax attention, which torch computes without storing the matrix."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def early(q, k, v, log_forget):
    """TRA that stops reading where the rest weighs nothing; without gradients."""
    return attend_early(q, k, v, log_forget)[0]


FORMS = {"naive": naive, "blocked": threshold_relative_attention, "early": early, "fused": fused}


def inputs(shape):
    """Random q, k (RMS-normalised), v and log_forget of the shape (B, H, T, D)."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(shape, generator=generator) for _ in range(3))
    gate = torch.randn(shape[:3], generator=generator)
    return F.rms_norm(q, shape[3:]), F.rms_norm(k, shape[3:]), v, F.logsigmoid(gate)


def milliseconds(shape, backward, repeats):
    """The median time of each form; they take turns, so that a slow moment meets them all."""
    tensors = [tensor.requires_grad_(backward) for tensor in inputs(shape)]
    forms = dict(FORMS)
    if shape[2] > 4096:
        del forms["naive"]
    if backward:
        del forms["early"]

    # Each round times every form once.
    times = {name: [] for name in forms}
    for _ in range(repeats + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            output = form(*tensors)
            if backward:
                torch.autograd.grad(output.sum(), tensors, allow_unused=name == "fused")
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}  # first: warm-up


def print_extra_memory(name, length):
    """Prints by how many MB a forward pass without gradients raises this process's peak."""
    tensors = inputs((1, 4, length, 16))
    with torch.no_grad():
        FORMS[name](*(tensor[:, :, :64] for tensor in tensors))  # libraries and threads, once
        before = peak_mb()
        FORMS[name](*tensors)
    print(peak_mb() - before)


def extra_memory(name, length):
    """The same, in a process of its own, since a peak never falls; None where it is too large."""
    if name == "naive" and length > NAIVE_MEMORY:
        return None
    command = [sys.executable, "-m", "experiments.benchmark", name, str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout)


def measure():
    """All of it, written to cost.json."""
    results.check_writable(RESULTS)

    # How many times as long one form takes as another.
    ratios = []
    for shape in SHAPES:
        for backward in (False, True):
            times = milliseconds(shape, backward, 15)
            ratios.append(
                {
                    "shape": shape,
                    "pass": "forward and backward" if backward else "forward",
                    "naive_over_ours": round(times["naive"] / times["blocked"], 2),
                    "ours_over_fused": round(times["blocked"] / times["fused"], 2),
                }
            )
            print("  ".join(f"{name} {value}" for name, value in ratios[-1].items()))

    # Times and memory against the length.
    table = []
    for length in tqdm(LENGTHS, disable=None):
        shape = (1, 4, length, 16)
        repeats = 3 if length > 2048 else 9
        forward = milliseconds(shape, False, repeats)
        both = milliseconds(shape, True, repeats) if length <= 8192 else {}
        for name in FORMS:
            row = {"form": name, "T": length, "forward_ms": forward.get(name)}
            row["both_ms"] = both.get(name)
            row["memory_mb"] = extra_memory(name, length)
            table.append(row)

    # The file.
    environment = {**results.environment(), "threads": torch.get_num_threads()}
    contents = {"schema": results.SCHEMA, "experiment": "cost", "environment": environment}
    text = json.dumps({**contents, "ratios": ratios, "table": table})
    results.write(RESULTS / "cost.json", lambda file: file.write(text.encode()))
    print(f"written: {RESULTS / 'cost.json'}; `make figures` draws it")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print_extra_memory(sys.argv[1], int(sys.argv[2]))
    else:
        try:
            measure()
        except (ValueError, OSError) as error:
            sys.exit(f"benchmark: {error}")

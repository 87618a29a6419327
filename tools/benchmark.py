"""Times one attention layer four ways in turn: TRA to the letter, in blocks, stopping early, and
plain softmax by torch's fused kernel.

Prints the ratios and writes figures/results/cost.json, from which figures/cost.svg is drawn.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from tra_mini import charts, plots, results, threshold_relative_attention
from tra_mini.early import attend_early
from tra_mini.experiments import RESULTS

SHAPES = [(8, 4, 512, 64), (1, 4, 2048, 16)]  # (B, H, T, D) of the ratios that the README quotes
LENGTHS = [2**power for power in range(6, 15)]  # of the figure, at B = 1, H = 4, D = 16
NAIVE_MEMORY = 8192  # tokens: beyond, the whole matrix would take more than 8 GB


def naive(q, k, v, log_forget):
    """TRA to the letter on the whole T x T matrix: flip, cumulative sum, flip."""
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
    given = [tensor.requires_grad_(backward) for tensor in inputs(shape)]
    left_out = {"naive"} if shape[2] > 4096 else set()
    left_out |= {"early"} if backward else set()
    forms = {name: form for name, form in FORMS.items() if name not in left_out}
    times = {name: [] for name in forms}
    for _ in range(repeats + 1):
        for name, form in forms.items():
            start = time.perf_counter()
            output = form(*given)
            if backward:
                torch.autograd.grad(output.sum(), given, allow_unused=name == "fused")
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}  # first: warm-up


def print_extra_memory(name, length):
    """Prints by how many MB a forward pass without gradients raises this process's peak."""
    given = inputs((1, 4, length, 16))
    with torch.no_grad():
        FORMS[name](*(tensor[:, :, :64] for tensor in given))  # libraries and thread pools, once
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here (Linux)
        before = peak_kilobytes()
        FORMS[name](*given)
    print((peak_kilobytes() - before) / 1024)


def peak_kilobytes():
    """This process's peak of resident memory since it was last reset."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def extra_memory(name, length):
    """The same, in a process of its own: a peak never falls again within one."""
    command = [sys.executable, __file__, "--memory", name, str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure():
    results.check_writable(RESULTS)
    ratios = []
    print(f"milliseconds, median; {torch.get_num_threads()} threads")
    for shape in SHAPES:
        for backward in (False, True):
            times = milliseconds(shape, backward, 15)
            row = {"shape": shape, "pass": "forward and backward" if backward else "forward"}
            row |= {name: round(taken, 1) for name, taken in times.items()}
            row["naive_over_ours"] = round(times["naive"] / times["blocked"], 2)
            row["ours_over_fused"] = round(times["blocked"] / times["fused"], 2)
            ratios.append(row)
            print("  ".join(f"{name} {value}" for name, value in row.items()))
    table = []
    for length in tqdm(LENGTHS, disable=None):
        shape, repeats = (1, 4, length, 16), 3 if length > 2048 else 9
        forward = milliseconds(shape, False, repeats)
        both = milliseconds(shape, True, repeats) if length <= 8192 else {}
        for name in FORMS:
            memory = (
                extra_memory(name, length) if name != "naive" or length <= NAIVE_MEMORY else None
            )
            table.append(
                {"form": name, "T": length, "forward_ms": forward.get(name)}
                | {"both_ms": both.get(name), "memory_mb": memory}
            )
    print_table(table)
    environment = results.ENVIRONMENT | {"threads": torch.get_num_threads()}
    contents = {"schema": results.SCHEMA, "experiment": "cost", "environment": environment}
    results.write(RESULTS / "cost.json", json.dumps(contents | {"ratios": ratios, "table": table}))
    plots.save(charts.cost(table), RESULTS.parent / "cost.svg")
    print(f"written: {RESULTS / 'cost.json'}, {RESULTS.parent / 'cost.svg'}")


def print_table(table):
    """Each form's time as a multiple of the fused softmax's, and its extra memory, by length."""
    for quantity in ("forward_ms", "both_ms", "memory_mb"):
        unit = "MB" if quantity == "memory_mb" else "times the fused softmax"
        print(f"\n{quantity.rsplit('_', 1)[0]}, {unit}" + "".join(f"{name:>10}" for name in FORMS))
        for length in LENGTHS:
            row = {row["form"]: row[quantity] for row in table if row["T"] == length}
            by = row["fused"] if quantity != "memory_mb" else 1
            shown = (f"{row[name] / by:>10.2f}" if row[name] else f"{'-':>10}" for name in FORMS)
            print(f"{f'T = {length}':>30}" + "".join(shown))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", nargs=2, metavar=("FORM", "LENGTH"), help="one peak, in MB")
    asked = parser.parse_args().memory
    print_extra_memory(asked[0], int(asked[1])) if asked else measure()

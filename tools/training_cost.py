"""What a step of training on text costs: each model of the language experiments beside TRA.

Processor time of one thread, which other work on the machine changes little; the models take turns.
That of tra_annealed is the mean over its training, which is TRA's own after 500 steps.
Prints the ratios to TRA and writes figures/results/training_cost.json.
"""

import json
import statistics
import time

import torch
from tqdm import tqdm

from tra_mini import results
from tra_mini.experiments import RESULTS
from tra_mini.grids import EXPERIMENTS
from tra_mini.model import GPT
from tra_mini.recipes import LANGUAGE
from tra_mini.starts import model_config
from tra_mini.training import next_token_loss
from tra_mini.variants import ANNEALED

TURNS = 15


def step(model, optimizer, tokens, scored):
    """The seconds of processor time that a step of training takes."""
    began = time.process_time()
    optimizer.zero_grad()
    next_token_loss(model, tokens, scored).backward()
    optimizer.step()
    return time.process_time() - began


def measure():
    results.check_writable(RESULTS)
    torch.set_num_threads(1)
    models = {}  # by what the cost of a step depends on
    for config in EXPERIMENTS["language"] + EXPERIMENTS["language_tried"]:
        models.setdefault((config["mechanism"], config["n_head"]), GPT(model_config(config)))
    tokens = torch.randint(256, (config["batch"], config["length"]))
    scored = torch.ones_like(tokens, dtype=torch.bool)
    optimizers = {
        name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in models.items()
    }
    seconds = {name: [] for name in models}
    for _ in tqdm(range(TURNS + 1), disable=None):
        for name, model in models.items():
            seconds[name].append(step(model, optimizers[name], tokens, scored))
    median = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    share = ANNEALED / LANGUAGE["steps"]  # of its steps; the others are TRA's
    median["tra_annealed", 4] = share * median["tra_annealed", 4] + (1 - share) * median["tra", 4]
    rows = [
        {"mechanism": mechanism, "n_head": n_head}
        | {"ratio": round(taken / median["tra", 4], 2), "ms": round(1000 * taken, 1)}
        for (mechanism, n_head), taken in median.items()
    ]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    contents = {"schema": results.SCHEMA, "experiment": "training_cost"}
    contents |= {"environment": results.ENVIRONMENT, "table": rows}
    results.write(RESULTS / "training_cost.json", json.dumps(contents))
    print(f"written: {RESULTS / 'training_cost.json'}")


if __name__ == "__main__":
    measure()

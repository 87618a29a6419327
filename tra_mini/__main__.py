"""The command line: python -m tra_mini reproduce | figures | train."""

import argparse
import json
import sys
from functools import partial

from tra_mini import charts, cluster, plots, results
from tra_mini.evaluation import accuracy_by_length
from tra_mini.experiments import RESULTS, run_experiment, stored
from tra_mini.grids import EXPERIMENTS, HEADLINE, LENGTHS, SPLITS
from tra_mini.protocol import on_published
from tra_mini.recipes import PAPER, flip_flop_config
from tra_mini.rivals import MECHANISMS
from tra_mini.starts import trained
from tra_mini.tasks import flip_flop

FULL = ("recipe", "flip_flop", "flip_flop_long", "flip_flop_far")
TASKS = ("tasks", "remedies")
VALUES = {  # of a table that is not of exact matches: value, in words, and which seed is the worst
    "tasks": ("per_read", "answers that are right", min),
    "remedies": ("per_read", "answers that are right", min),
    "language": ("bits_per_byte", "bits a byte", max),
    "language_tried": ("bits_per_byte", "bits a byte", max),
}
FIGURES = {  # file: the results that it is drawn from, and how
    "headline.svg": ("headline", partial(plots.length_generalisation, mechanisms=HEADLINE)),
    "length_generalisation.svg": ("flip_flop", plots.length_generalisation),
    "ablation.svg": ("flip_flop", plots.ablation),
    "cost.svg": ("cost", charts.cost),
    "tasks.svg": ("tasks", charts.tasks),
    "language.svg": ("language", charts.language),
}


def table(runs, value="exact_match", what="sequences without an error", worst=min):
    """Worst seed and mean of a value: a block a split or task, a line a mechanism."""
    values = results.by_seed(runs, value)
    lines = []
    for split in dict.fromkeys(split for split, _, _ in values):
        lengths = sorted({length for where, _, length in values if where == split})
        lines += ["", f"{plots.SPLIT_TITLE.get(split, split)}: {what}, worst seed / mean"]
        lines.append(f"{'length':>18}" + "".join(f"{length:>12}" for length in lengths))
        for mechanism in dict.fromkeys(name for where, name, _ in values if where == split):
            cells = (values[split, mechanism, length] for length in lengths)
            shown = (f"{worst(cell):>7.2f}/{sum(cell) / len(cell):.2f}" for cell in cells)
            lines.append(f"{mechanism:>18}" + "".join(shown))
    return "\n".join(lines)


def recipes(runs):
    """Loss at the training length of each recipe tried, worst seed / mean: a line a recipe."""
    losses, names = {}, ("steps", "batch", "learning_rate", "d_model")
    for run in runs:
        recipe = tuple(run["config"][name] for name in names)
        losses.setdefault(recipe, []).append(run["rows"][0]["loss"])
    lines = ["", "Nats a read at 64 tokens, worst seed / mean (steps, batch, learning rate, width)"]
    for recipe, loss in sorted(losses.items(), key=lambda item: max(item[1])):
        numbers = "".join(f"{number:>8}" for number in recipe)
        lines.append(f"{numbers}{max(loss):>12.1e}/{sum(loss) / len(loss):.1e}")
    return "\n".join(lines)


def reproduce(names, device, scheduler):
    """Computes what is missing of the experiments, prints their tables, redraws the figures."""
    where = {"device": device, "executor": cluster.executor(scheduler) if scheduler else None}
    for name in names:
        runs = run_experiment(name, **where)
        print(recipes(runs) if name.endswith("recipe") else table(runs, *VALUES.get(name, ())))
        again = [run["config"] for run in runs if run["started"] > 1]
        named = dict.fromkeys(f"{config['mechanism']} {config['seed']}" for config in again)
        print(f"Seeds that needed more than one start: {', '.join(named) or 'none'}\n")
    figures()


def read(name):
    """What a figure is drawn from: the runs of an experiment, or the table of the benchmark."""
    if name == "cost":
        return json.loads((RESULTS / "cost.json").read_text())["table"]
    return stored(name)


def figures():
    """Redraws every figure whose results are stored; no training."""
    for file, (name, draw) in FIGURES.items():
        if (RESULTS / f"{name}.json").exists():
            plots.save(draw(read(name)), RESULTS.parent / file)
            print(f"drawn: {RESULTS.parent / file}")


def train_one(config, device):
    """Trains one model, or reads it if it was trained before, and prints how well it does."""
    model = trained(config, device=device)
    print(f"{model.parameter_count():,} parameters, trained in {model.train_seconds:.0f} s")
    print(f"kept in {model.path}")
    lengths = [length for length in LENGTHS[:6] if length >= config["length"]]
    for split, p_ignore in SPLITS.items():
        task = partial(flip_flop, p_ignore=p_ignore)
        rows = accuracy_by_length(model, task, lengths, n=20, seed=0)
        print(f"{split:>16}", *(f"{row['length']}: {row['exact_match']:.2f}  " for row in rows))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tra_mini", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("reproduce", help="train, test, print a table, draw figures")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--full", action="store_true", help="all mechanisms, seeds and lengths")
    which.add_argument("--tasks", action="store_true", help="harder tasks, the strongest rivals")
    which.add_argument("--experiment", choices=EXPERIMENTS, help="one by its name")
    command.add_argument("--scheduler", metavar="ADDRESS", help="run on the workers of Dask there")
    command.add_argument("--device", default="cpu", help="cpu, or cuda: results in NAME_cuda.json")
    commands.add_parser("figures", help="redraw every figure from figures/results, no training")
    command = commands.add_parser("train", help="one run")
    command.add_argument("--mechanism", choices=MECHANISMS, default="tra")
    command.add_argument("--task", choices=["flip_flop"], default="flip_flop")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--steps", type=int, help="fewer or more than the recipe's")
    command.add_argument("--preset", choices=["paper"], help="the authors' model and recipe")
    command.add_argument("--data", metavar="SET", help="synthseq/flipflop, or a copy on disk")
    command.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    try:
        if given.command == "reproduce":
            one = [given.experiment or "headline"]
            names = FULL if given.full else TASKS if given.tasks else one
            reproduce(names, given.device, given.scheduler)
        elif given.command == "figures":
            figures()
        else:
            config = flip_flop_config(given.mechanism, given.seed)
            config |= PAPER if given.preset == "paper" else {}
            config |= {} if given.steps is None else {"steps": given.steps}
            if given.data is None:
                train_one(config, given.device)
            else:
                on_published(given.data, config, given.device)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"tra_mini: {error}")
    except KeyboardInterrupt as interrupt:
        sys.exit(f"\ntra_mini: {interrupt}")


if __name__ == "__main__":
    main()

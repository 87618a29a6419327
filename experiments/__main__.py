"""The command line: python -m experiments reproduce | redraw | train."""

import argparse
import sys
from functools import partial

import torch

from experiments.charts import redraw
from experiments.cluster import executor
from experiments.compute import run_experiment
from experiments.explore import embed
from experiments.grids import EXPERIMENTS, LENGTHS, PAPER, SPLITS, flip_flop_config
from experiments.protocol import on_published
from experiments.runs import on_cpu, train_config
from experiments.tables import TABLES, write_tables
from tra_mini import MECHANISMS, accuracy_by_length, flip_flop


def reproduce(names, device, scheduler):
    """Computes what is missing of the experiments, prints their tables, redraws the figures."""
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(f"name is {name!r}; allowed: {', '.join(EXPERIMENTS)}")
    workers = None
    if scheduler is not None:
        workers = executor(scheduler)
    for name in names:
        runs = run_experiment(name, device=device, executor=workers)
        print(f"\n{TABLES[name](runs)}\n")
    for path in redraw():
        print(f"drawn: {path}")


def train(config, device):
    """Trains one model, or reads it if it was trained before, and prints how well it does."""
    model = train_config(config, device)
    print(f"{model.parameter_count():,} parameters, trained in {model.train_seconds:.0f} s")
    print(f"kept in {model.path}")
    lengths = [length for length in LENGTHS[:6] if length >= config["length"]]
    for split, p_ignore in SPLITS.items():
        task = partial(flip_flop, p_ignore=p_ignore)
        rows = accuracy_by_length(on_cpu(model, device), task, lengths, n=20, seed=0)
        print(f"{split:>16}", *(f"{row['length']}: {row['exact_match']:.2f}  " for row in rows))


def parser():
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("reproduce", help="train, test, print tables, redraw figures")
    names = ", ".join(EXPERIMENTS)
    command.add_argument("names", nargs="*", metavar="NAME", default=["headline"], help=names)
    command.add_argument("--scheduler", metavar="ADDRESS", help="run on the workers of Dask there")
    command.add_argument("--device", default="cpu", help="cpu, or cuda: results in NAME_cuda.json")
    commands.add_parser("redraw", help="redraw every figure and table, no training")
    command = commands.add_parser("train", help="train and test one model")
    command.add_argument("mechanism", nargs="?", choices=MECHANISMS, default="tra")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--paper", action="store_true", help="the authors' model and recipe")
    command.add_argument("--data", metavar="SET", help="synthseq/flipflop, or a copy on disk")
    command.add_argument("--device", default="cpu")
    return parser


def main(arguments=None):
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)  # their number changes the last bits, and so trained weights
    try:
        if options.command == "reproduce":
            reproduce(options.names, options.device, options.scheduler)
        elif options.command == "redraw":
            for path in redraw():
                print(f"drawn: {path}")
            write_tables()
            embed()
        else:
            config = flip_flop_config(options.mechanism, options.seed)
            if options.paper:
                config.update(PAPER)
            if options.data is None:
                train(config, options.device)
            else:
                on_published(options.data, config, options.device)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"experiments: {error}")
    except KeyboardInterrupt as interrupt:
        sys.exit(f"\nexperiments: {interrupt or 'stopped'}")


if __name__ == "__main__":
    main()

"""An experiment for a whole class: everyone trains one seed, the teacher merges the files.

python tools/class_experiment.py run SEED [FOLDER]     trains, writes FOLDER/class_SEED.json
python tools/class_experiment.py merge FOLDER [OUT]    its files -> OUT/class.json and class.svg

A file's digest shows that the file arrived whole. It is no signature: a cheat can compute another,
so run a doubtful seed again.
"""

import statistics
import sys
from pathlib import Path

from class_files import MECHANISMS, TESTING, check, configs, in_order, write
from matplotlib.figure import Figure

from experiments import charts, results
from experiments.parallel import run_all
from experiments.runs import run
from tra_mini import plots
from tra_mini.evaluation import wilson_interval


def class_run(seed, folder):
    """Trains and tests one seed -> its runs, and the path of the file that holds them.

    After a stop the same call goes on. Raises ValueError for a seed out of range, and RuntimeError
    if a training failed.
    """
    if not 0 <= seed < 10**6:
        raise ValueError(f"SEED is {seed}; allowed: 0 to 999999")
    results.check_writable(folder)

    # Both mechanisms side by side.
    runs = []
    failures = run_all(run, configs(seed), runs.append)
    if failures:
        raise RuntimeError(f"seed {seed} failed: {failures[0]!r}") from failures[0]

    runs.sort(key=in_order)
    path = folder / f"class_{seed}.json"
    write(path, runs, environment=results.environment())
    return runs, path


def summary(runs):
    """A member's results as text: a line for each mechanism and split, a column for each length."""
    columns = "".join(f"{length:>7}" for length in TESTING["lengths"])
    lines = [f"{'length (tokens):':32}{columns}"]
    for member_run in runs:
        label = plots.STYLE[member_run["config"]["mechanism"]][0]
        for split in TESTING["splits"]:
            _, shares = charts.curve(member_run, split)
            cells = "".join(f"{charts.rounded_down(share):>7}" for share in shares)
            lines.append(f"{label:5}{charts.SPLIT_TITLE[split]:27}{cells}")
    return "\n".join(lines)


def class_curve(runs):
    """A row for each mechanism, split and length: the class's mean over seeds, and how sure it is.

    low ... high is Wilson's 95 % interval of that mean, with seeds as the sample: shares between
    0 and 1 scatter at most as much as zeros and ones of the same mean, so it is never too narrow.
    """
    rows = []
    for (split, mechanism, length), shares in results.by_seed(runs, "exact_match").items():
        low, high = wilson_interval(sum(shares), len(shares))
        row = {
            "mechanism": mechanism,
            "split": split,
            "length": length,
            "seeds": len(shares),
            "exact_seeds": shares.count(1),
            "mean": sum(shares) / len(shares),
            "low": low,
            "high": high,
        }
        rows.append(row)
    return rows


def draw(runs, rows):
    """The class's mean with its interval, and a faint line for each seed; a panel a split."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    axes = figure.subplots(1, len(TESTING["splits"]), sharey=True)
    for ax, split in zip(axes, TESTING["splits"], strict=True):
        charts.draw_lengths(ax, charts.SPLIT_TITLE[split])
        ax.set_xlabel("length (tokens)")
        for mechanism in reversed(MECHANISMS):
            draw_mechanism(ax, runs, rows, split, mechanism)
    axes[0].set_ylabel("strings without an error (share)")
    seeds = rows[0]["seeds"]
    figure.suptitle(f"The class: mean of {seeds} seeds with 95 % interval; faint lines: each seed")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_mechanism(ax, runs, rows, split, mechanism):
    """One mechanism in one panel: a faint line a seed, then the mean and its interval."""
    label, colour, marker, line = plots.STYLE[mechanism]
    charts.draw_seeds(ax, runs, split, mechanism, colour, marker, line, label, statistics.fmean)
    panel = [row for row in rows if row["mechanism"] == mechanism and row["split"] == split]
    lengths = [row["length"] for row in panel]
    low = [row["low"] for row in panel]
    high = [row["high"] for row in panel]
    ax.fill_between(lengths, low, high, color=colour, alpha=0.12, linewidth=0)


def class_merge(folder, out):
    """Merges the class files below a folder -> the curve's rows; names each file that it refuses.

    Every file counts, whatever its name, but hidden ones and what was merged before. Raises
    ValueError if no file is left.
    """
    # Read what can be merged: each seed once.
    runs = []
    versions = set()  # of torch
    file_of = {}  # seed: the name of the file that holds it
    for path in sorted(folder.rglob("*")):
        merged = path in (out / "class.json", out / "class.svg")
        if merged or path.name.startswith(".") or not path.is_file():
            continue
        try:
            contents = check(path)
            seed = contents["runs"][0]["config"]["seed"]
            if seed in file_of:
                raise ValueError(f"holds seed {seed} again, which {file_of[seed]} holds")
        except ValueError as error:
            reason = str(error).removeprefix(f"{path} ")
            print(f"refused: {path.name} {reason[:200]}")
            continue
        file_of[seed] = path.name
        versions.add(contents["environment"]["torch"])
        runs += contents["runs"]
    if not runs:
        raise ValueError(f"{folder} holds no class file that can be merged")

    # Write all runs, the curve and its picture.
    runs.sort(key=in_order)
    rows = class_curve(runs)
    environment = results.environment()
    environment["torch"] = ", ".join(sorted(versions))
    results.check_writable(out)
    path = out / "class.json"
    write(path, runs, environment=environment, seeds=sorted(file_of), curve=rows)
    plots.save(draw(runs, rows), out / "class.svg")
    return rows


def print_curve(rows):
    """Prints the class's curve, a line a row."""
    for row in rows:
        place = f"{row['mechanism']:>4}{row['split']:>16}{row['length']:>5}"
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        exact = f"exact with {row['exact_seeds']} of {row['seeds']} seeds"
        print(f"{place}: mean {row['mean']:.2f} {interval}, {exact}")


def main(*arguments):
    """The command line; every mistake ends it with one line, or with how to call it."""
    sys.stdout.reconfigure(errors="backslashreplace")  # for any file's name
    try:
        match arguments:
            case ["run", seed, *folder] if seed.isdecimal() and len(folder) <= 1:
                runs, path = class_run(int(seed), Path(*folder).expanduser())
                print(f"Seed {seed}: share of strings without an error\n{summary(runs)}")
                print(f"Hand in this file: {path}")
            case ["merge", folder, *out] if folder and len(out) <= 1:
                folders = [Path(path).expanduser() for path in (folder, *out)]
                print_curve(class_merge(folders[0], folders[-1]))
            case _:
                sys.exit(__doc__)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"class: {error}")
    except KeyboardInterrupt:
        sys.exit("\nclass: stopped; the same command goes on")


if __name__ == "__main__":
    main(*sys.argv[1:])

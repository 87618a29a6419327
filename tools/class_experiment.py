"""An experiment for a whole class: everyone trains one seed, the teacher merges the files.

python tools/class_experiment.py run SEED [FOLDER]     trains, writes FOLDER/class_SEED.json
python tools/class_experiment.py merge FOLDER [OUT]    FOLDER/**/*.json -> OUT/class.json, class.svg

Each model gets one start here. A file's digest shows that it came through whole; it is no
signature: who means to deceive computes another, so run a doubtful seed again.
"""

import sys
from pathlib import Path

from class_files import MECHANISMS, TESTING, check, configs, text
from matplotlib.figure import Figure

from tra_mini import plots, results
from tra_mini.evaluation import wilson_interval
from tra_mini.experiments import run, whole_effort
from tra_mini.parallel import run_all

LINE = "{mechanism:>4}{split:>16}{length:>5}: mean {mean:.2f} [{low:.2f}, {high:.2f}]"
LINE += ", exact with {exact_seeds} of {seeds} seeds"


def class_run(seed, folder):
    """Trains and tests one seed -> the path of its file. After a stop the same call goes on."""
    if not 0 <= seed < 10**6:
        raise ValueError(f"SEED is {seed}; allowed: 0 to 999999")
    results.check_writable(folder)
    done, work = [], [whole_effort(config) for config in configs(seed)]
    if failures := run_all(run, configs(seed), done.append, work=work, threads=1):
        raise RuntimeError(f"seed {seed} failed: {failures[0]!r}") from failures[0]
    done.sort(key=lambda one: MECHANISMS.index(one["config"]["mechanism"]))
    path = folder / f"class_{seed}.json"
    results.write(path, text(done, environment=results.ENVIRONMENT))
    return path


def curve(runs):
    """A row for each mechanism, split and length: the class's mean over seeds, and how sure it is.

    low ... high is Wilson's 95 % interval of that mean, with seeds as the sample: shares between
    0 and 1 scatter at most as much as zeros and ones of the same mean, so it is never too narrow.
    """
    rows = []
    for (split, mechanism, length), values in results.exact_matches(runs).items():
        low, high = wilson_interval(sum(values), len(values))
        row = {"mechanism": mechanism, "split": split, "length": length, "seeds": len(values)}
        row |= {"exact_seeds": values.count(1), "mean": sum(values) / len(values)}
        rows.append(row | {"low": low, "high": high})
    return rows


def draw(runs, rows):
    """The class's mean with its interval, before a faint line for each seed; a panel a split."""
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    axes = figure.subplots(1, len(TESTING["splits"]), sharey=True)
    for ax, split in zip(axes, TESTING["splits"], strict=True):
        plots.draw_lengths(ax, plots.SPLIT_TITLE[split])
        ax.set_xlabel("length (tokens)")
        for mechanism in MECHANISMS:
            label, colour, marker, line = plots.STYLE[mechanism]
            for one in runs:
                if one["config"]["mechanism"] == mechanism:
                    ax.plot(*plots.curve(one, split), color=colour, linewidth=0.8, alpha=0.45)
            mine = [row for row in rows if (row["mechanism"], row["split"]) == (mechanism, split)]
            low, mean, high = ([row[name] for row in mine] for name in ("low", "mean", "high"))
            lengths = TESTING["lengths"]
            ax.fill_between(lengths, low, high, color=colour, alpha=0.12, linewidth=0)
            ax.plot(lengths, mean, color=colour, marker=marker, linestyle=line, label=label)
    axes[0].set_ylabel("sequences without an error (share)")
    seeds = rows[0]["seeds"]
    figure.suptitle(f"The class: mean of {seeds} seeds with 95 % interval; faint lines: each seed")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def class_merge(folder, out):
    """Merges the class files below a folder -> the curve's rows; names each file that it refuses.

    Raises ValueError if no file is left.
    """
    merged, versions, seen = [], set(), {}
    for path in sorted(folder.rglob("*.json")):
        if path == out / "class.json":
            continue
        try:
            contents = check(path)
            seed = contents["runs"][0]["config"]["seed"]
            if seed in seen:
                raise ValueError(f"holds seed {seed} again, which {seen[seed]} holds")
        except ValueError as reason:
            print(f"refused: {path.name} {str(reason).removeprefix(f'{path} ')}")
            continue
        seen[seed] = path.name
        versions.add(contents["environment"]["torch"])
        merged += contents["runs"]
    if not merged:
        raise ValueError(f"{folder} holds no class file that can be merged")
    merged.sort(
        key=lambda one: (MECHANISMS.index(one["config"]["mechanism"]), one["config"]["seed"])
    )
    rows = curve(merged)
    results.check_writable(out)
    environment = results.ENVIRONMENT | {"torch": ", ".join(sorted(versions))}
    more = {"environment": environment, "seeds": sorted(seen), "curve": rows}
    results.write(out / "class.json", text(merged, **more))
    plots.save(draw(merged, rows), out / "class.svg")
    return rows


def main(*arguments):
    """The command line; every mistake ends it with one line, or with how to call it."""
    try:
        match arguments:
            case ["run", seed, *folder] if seed.isdecimal():
                print(f"written: {class_run(int(seed), Path(*folder))}")
            case ["merge", folder, *out] if folder:
                for row in class_merge(Path(folder), Path(*(out or [folder]))):
                    print(LINE.format(**row))
            case _:
                sys.exit(__doc__)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"class: {error}")
    except KeyboardInterrupt:
        sys.exit("\nclass: stopped; the same command goes on")


if __name__ == "__main__":
    main(*sys.argv[1:])

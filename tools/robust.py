"""Whether what the notebooks claim holds with other seeds and on other processors. Takes hours.

python tools/robust.py [--seeds N] [NOTEBOOK ...]   ten seeds, and all notebooks if none is named

A copy of each notebook is executed for each number from 1 to N, which is added to every seed that
the notebook sets by a number (`seed=0`, `manual_seed(0)`). Two more copies keep their seeds and do
without this processor's vector instructions: sums are then rounded in another way, so that
training ends at other weights. On any processor the text that a cell prints must be the stored one.
"""

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

import tra_mini
from experiments import runs
from notebooks import NOTEBOOKS, joined
from tra_mini import accuracy_by_length, training

MODELS = training.MODELS
SECONDS_A_CELL = 3600
PROCESSORS = ("default", "avx2")  # values of ATEN_CPU_CAPABILITY
SEED = re.compile(r"((?:\bseed=|\bmanual_seed\())(\d+)\b")
SETUP = "import sys\nsys.path.insert(0, {tools!r})\nimport robust\nrobust.prepare({processor!r})"


class NotLearned(Exception):
    """A model that answers wrongly at the training length already: no notebook is about those."""


def prepare(processor):
    """For the kernel of a copy, before its first cell: each processor has models of its own."""
    if processor:
        training.MODELS = MODELS / processor
        runs.MODELS = MODELS / processor
    tra_mini.trained = trained


def trained(mechanism, seed=0):
    """tra_mini.trained; raises NotLearned where the model did not learn the task."""
    model = training.trained(mechanism, seed)
    [row] = accuracy_by_length(model, training.FLIP_FLOP, [64], n=256, seed=100)
    if row["loss"] > runs.LEARNED:
        raise NotLearned(f"{mechanism} with seed {seed} did not learn at 64 tokens")
    return model


def with_seeds(source, added):
    """The source with this number added to each seed that it sets by a number."""
    return SEED.sub(lambda match: f"{match[1]}{int(match[2]) + added}", source)


def execute(path, added=0, processor=None):
    """Executes a copy of a notebook -> [(code cell as stored, as executed)]."""
    stored = nbformat.read(path, as_version=4)
    copy = nbformat.read(path, as_version=4)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.source = with_seeds(cell.source, added)
    setup = SETUP.format(tools=str(Path(__file__).parent), processor=processor)
    copy.cells.insert(0, new_code_cell(setup))

    environment = dict(os.environ)
    if processor:
        environment["ATEN_CPU_CAPABILITY"] = processor
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(copy, timeout=SECONDS_A_CELL, allow_errors=True, resources=folder)
    client.execute(env=environment)
    pairs = zip(stored.cells, copy.cells[1:], strict=True)
    return [pair for pair in pairs if pair[0].cell_type == "code"]


def faults(cells, compare_text):
    """[(number of a code cell, what is wrong with it)] of an executed copy. Raises NotLearned."""
    wrong = []
    for number, (stored, executed) in enumerate(cells, 1):
        errors = [output for output in executed.outputs if output.output_type == "error"]
        if errors and errors[0].ename == "NotLearned":
            raise NotLearned(errors[0].evalue)
        if errors:
            wrong.append((number, failed_line(errors[0])))
        ignored = "NBVAL_IGNORE_OUTPUT" in stored.source
        if compare_text and not ignored and not errors and text(stored) != text(executed):
            wrong.append((number, f"prints {text(executed)!r}"))
    return wrong


def failed_line(error):
    """The kind of an error, with its message or the line of the cell that raised it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    lines = re.findall(r"^-+> *\d+ (.*)", plain, re.MULTILINE)
    return f"{error.ename}: {error.evalue or lines[0].strip()}"


def text(cell):
    """The text that nbval compares: what a cell prints, and what it displays as text."""
    pieces = []
    for output in joined(cell.outputs):
        pieces.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "".join(pieces)


def check(path, added=0, processor=None):
    """Prints what is wrong with one copy -> a word for the table."""
    name = f"{path.parent.name}/{path.name}, {processor or f'seeds + {added}'}"
    try:
        wrong = faults(execute(path, added, processor), compare_text=processor is not None)
    except NotLearned as reason:
        print(f"{name}: skipped: {reason}", flush=True)
        return "skipped"
    if not wrong:
        print(f"{name}: ok", flush=True)
        return "ok"
    for number, fault in wrong:
        print(f"{name}: code cell {number}: {fault}", flush=True)
    return f"cell {wrong[0][0]}"


def main(paths, seeds):
    """Checks all copies and prints a table, a row for each notebook -> whether all is well."""
    columns = [{"processor": processor} for processor in PROCESSORS]
    columns += [{"added": added} for added in range(1, seeds + 1)]
    table = {path: [] for path in paths}
    for column in columns:
        for path in paths:
            table[path].append(check(path, **column))

    heads = [str(value) for column in columns for value in column.values()]
    print(f"\n{'':14}", *(f"{head:>7}" for head in heads))
    for path, words in table.items():
        print(f"{path.parent.name}/{path.name[:2]:4}", *(f"{word:>7}" for word in words))
    return all(word in ("ok", "skipped") for words in table.values() for word in words)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of them")
    arguments = parser.parse_args()
    chosen = [path.resolve() for path in arguments.notebooks]
    if not chosen:
        chosen = sorted(NOTEBOOKS.glob("*.ipynb")) + sorted(NOTEBOOKS.glob("exercises/*.ipynb"))
    sys.stdout.reconfigure(errors="backslashreplace")  # the cells hold what no ASCII holds
    sys.exit(not main(chosen, arguments.seeds))

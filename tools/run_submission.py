"""Runs one handed-in notebook with our checks; tools/grade.py starts it, in a process of its own.

python tools/run_submission.py SUBMITTED OURS RESULTS MEMORY

Writes to RESULTS a line of JSON as each check ends: [exercise, passed, message].
"""

import json
import re
import resource
import sys
from pathlib import Path

import nbformat
import torch
from exercises import numbered
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

CHECKED = "exercise-{}-check"  # the mark that the student's version puts on a check's cell


class Shell(InteractiveShell):
    """IPython without a screen or a history file; magics work."""

    def enable_gui(self, gui=None):
        """No window: figures are drawn in memory."""


def plan(submitted, ours):
    """[(source, exercise or None)]: the student's cells, our checks in their checks' places.

    A check that is gone comes at the end; one that was copied runs once.
    """
    checks = {number: parts["check"].source for number, parts in numbered(ours).items()}
    places = {CHECKED.format(number.replace(".", "-")): number for number in checks}
    cells = []
    for cell in submitted.cells:
        if cell.cell_type == "code":
            number = places.get(cell.metadata.get("nbgrader", {}).get("grade_id"))
            if number is None:
                cells.append((cell.source, None))
            elif number in checks:
                cells.append((checks.pop(number), number))
    return cells + [(source, number) for number, source in checks.items()]


def trust_our_checks(folder):
    """Check modules that handed-in code wrote or imported are forgotten: ours come first."""
    for name in [name for name in sys.modules if re.fullmatch(r"checking|check_\d+", name)]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))


def limit_memory(more):
    """The system refuses more bytes than are in use now, and so many; where it can count them."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except OSError:  # no Linux
        return


def main(submitted, ours, results, memory):
    torch.set_num_threads(1)
    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    ours = Path(ours)
    limit_memory(int(memory))
    with open(results, "a", buffering=1, encoding="utf-8") as file:
        try:
            cells = plan(*(nbformat.read(path, as_version=4) for path in (submitted, ours)))
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            print(json.dumps([None, False, f"is no notebook: {error}"]), file=file)
            return
        for source, number in cells:
            if number is not None:
                trust_our_checks(ours.parent)
            error = shell.run_cell(source, store_history=False).error_in_exec
            if number is not None:
                message = "" if error is None else str(error)
                if error is not None and type(error).__name__ != "Wrong":
                    message = f"{type(error).__name__}: {message}"
                print(json.dumps([number, error is None, message]), file=file)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs one handed-in notebook with our checks; tools/grade.py starts it, in a process of its own.

python tools/run_submission.py SUBMITTED CHECKS FOLDER RESULTS MEMORY

CHECKS: JSON, {exercise: source}; FOLDER: our check modules; MEMORY: the bytes it may hold. Writes
to RESULTS, as each check ends, a line of JSON: [exercise, passed, message].
"""

import json
import re
import resource
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


class Shell(InteractiveShell):
    """IPython without a screen or a history file; magics work."""

    def enable_gui(self, gui=None):
        """No window: figures are drawn in memory."""


def plan(cells, checks):
    """[(source, exercise or None)]: the student's code, our checks in their checks' places.

    A check that is gone comes at the end; one that was copied runs once.
    """
    places = {f"exercise-{number.replace('.', '-')}-check": number for number in checks}
    left, planned = dict(checks), []
    for cell in cells:
        if cell["cell_type"] == "code":
            number = places.get(cell["metadata"].get("nbgrader", {}).get("grade_id"))
            if number is None:
                planned.append(("".join(cell["source"]), None))
            elif number in left:
                planned.append((left.pop(number), number))
    return planned + [(source, number) for number, source in left.items()]


def trust_our_checks(folder):
    """Check modules that handed-in code wrote or imported are forgotten: ours come first."""
    for name in [name for name in sys.modules if re.fullmatch(r"checking|check_\d+", name)]:
        del sys.modules[name]
    sys.path.insert(0, folder)


def main(submitted, checks, folder, results, memory):
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory), int(memory)))
    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    with open(results, "a", buffering=1, encoding="utf-8") as file:

        def write(number, passed, message):
            print(json.dumps([number, passed, message]), file=file)

        try:
            cells = json.loads(Path(submitted).read_text(encoding="utf-8"))["cells"]
            planned = plan(cells, json.loads(Path(checks).read_text(encoding="utf-8")))
        except Exception as error:  # noqa: BLE001 (whatever was handed in)
            write(None, False, f"is no notebook ({type(error).__name__}: {error})")
            return
        for source, number in planned:
            if number is not None:
                trust_our_checks(folder)
            done = shell.run_cell(source, store_history=False)
            error = done.error_before_exec or done.error_in_exec
            if number is not None:
                kind = "" if type(error).__name__ == "Wrong" else f"{type(error).__name__}: "
                write(number, done.success, "" if done.success else f"{kind}{error}")


if __name__ == "__main__":
    main(*sys.argv[1:])

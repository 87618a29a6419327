"""Runs one submitted notebook with our checks; tools/grade.py starts it, in a process of its own.

Reads its job from stdin, as JSON (see main). Writes to stdout, as each check ends, a line of JSON:
[token, exercise, passed, message]. The submission is given neither.
"""

import builtins
import importlib
import json
import os
import re
import resource
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

SUSPICIOUS = re.compile(  # an exercise needs none of these; a notebook that cheats may
    r"__(?!init__|name__|main__)\w+__"
    r"|^\s*(?:from|import)\b.*\b(?:builtins|ctypes|gc|importlib|inspect|io|os|pathlib|signal"
    r"|subprocess|threading|traceback)\b"
    r"|\bsys\.(?!path)\w+|\bfrom sys\b"
    r"|\b(?:check_\d+|checking|answers_\d+|get_ipython|f_(?:back|locals|globals)|Torch\w+Mode)\b"
    r"|(?<![\w.])(?:exec|eval|compile|open|setattr|globals|vars)\("
    r"|^\s*(?:torch|math|random|tra_mini)\.[\w.]+\s*=(?!=)"
    r"|^\s*(?:!|%%(?!time))\S+",
    re.MULTILINE,
)


class Shell(InteractiveShell):
    """IPython without a screen or a history file; magics work."""

    def enable_gui(self, gui=None):
        """No window: figures are drawn in memory."""


class OutOfTime(BaseException):
    """A cell ran too long. An `except Exception` in it does not catch this."""


@contextmanager
def limited(seconds):
    """Raises OutOfTime in a block that runs too long, and again each second until it ends."""

    def stop(*_):
        raise OutOfTime(f"stopped after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit(name, amount):
    """Limits what this process may use, where the system allows it; macOS limits no memory."""
    with suppress(ValueError, OSError):
        resource.setrlimit(getattr(resource, name), (amount, amount))


def watch(grader, folder, disk, report):
    """Ends this process and those that it started if the grader is gone or the disk fills up."""
    while os.getppid() == grader:
        time.sleep(1)
        used = 0
        with suppress(OSError):  # a file may go meanwhile
            for path in Path(folder).rglob("*"):
                used += path.lstat().st_blocks * 512
        if used > disk:
            report(None, False, f"stopped: it wrote more than {disk / 2**30:g} GB")
            break
    os.killpg(0, signal.SIGKILL)


def plan(cells, checks):
    """[(source, exercise or None)]: all that the student wrote; our check after each last copy.

    A check is recognised by nbgrader's mark or, if an editor dropped the marks, by its first line.
    One that the student deleted comes at the end.
    """
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    marks = [cell["metadata"].get("nbgrader", {}).get("grade_id") for cell in cells]
    last = {}
    for number, check in checks.items():
        mark = f"exercise-{number.replace('.', '-')}-check"
        first_line = check.splitlines()[0]
        marked = [place for place in range(len(cells)) if marks[place] == mark]
        alike = [place for place in range(len(cells)) if sources[place].startswith(first_line)]
        last[number] = (marked or alike or [len(cells)])[-1]

    steps = []
    for place, source in enumerate([*sources, ""]):
        if source.strip() not in checks.values():
            steps.append((source, None))
        steps += [(checks[number], number) for number in checks if last[number] == place]
    return steps


def suspicious_words(steps, known_lines):
    """What the student wrote that an exercise does not need; our own lines do not count."""
    lines = "\n".join(source for source, _ in steps).splitlines()
    text = "\n".join(line for line in lines if line.strip() not in known_lines)
    return list(dict.fromkeys(match[0].strip() for match in SUSPICIOUS.finditer(text)))


class Originals:
    """Modules, functions and classes as they are before the notebook runs, to undo its patches."""

    def __init__(self):
        self.modules = {name: module for name, module in sys.modules.items() if name != "__main__"}
        namespaces = [getattr(module, "__dict__", {}) for module in self.modules.values()]
        self.namespaces = [(namespace, namespace.copy()) for namespace in namespaces]

        # Of classes those that checks use: torch's tensor, and what our own modules name.
        values = [getattr(self.modules.get("torch"), "Tensor", None)]
        for name, module in self.modules.items():
            if re.match(r"check_\d|checking|tra_mini|experiments", name):
                values += vars(module).values()
        self.classes = [(value, dict(vars(value))) for value in values if isinstance(value, type)]

    def restore(self):
        """Puts all of them back in their places."""
        sys.modules.update(self.modules)
        for namespace, originals in self.namespaces:
            for name, value in originals.items():
                if callable(value) and namespace.get(name) is not value:
                    namespace[name] = value
            for name in namespace.keys() & vars(builtins).keys() - originals.keys():
                del namespace[name]  # it would hide Python's own
        for owner, originals in self.classes:
            for name in vars(owner).keys() - originals.keys():
                delattr(owner, name)
            for name, value in originals.items():
                if vars(owner).get(name) is not value:
                    setattr(owner, name, value)


def run_cell(shell, source, seconds):
    """Runs a cell as IPython does -> the error that stopped it, or None."""
    try:
        with limited(seconds):
            outcome = shell.run_cell(source, store_history=False)
    except BaseException as error:  # noqa: BLE001 (whatever was submitted)
        return error
    return outcome.error_before_exec or outcome.error_in_exec


def run_check(source, names, seconds):
    """Runs our check on the names that the notebook defined, past IPython -> its error, or None."""
    namespace = dict(names)
    namespace["__builtins__"] = builtins
    try:
        with limited(seconds):
            exec(compile(source, "<check>", "exec"), namespace)  # noqa: S102 (our own)
    except BaseException as error:  # noqa: BLE001 (whatever was submitted)
        return error
    return None


def reason(error, failures):
    """Why a check did not pass. A missing name is blamed on the failed cell that mentions it.

    failures: [(source, error)] of the student's cells.
    """
    missing = re.search(r"name '(\w+)' is not defined", str(error))
    if missing:
        for source, earlier in failures:
            if re.search(rf"\b{missing[1]}\b", source):
                error = earlier
    if isinstance(error, OutOfTime):
        return f"not finished: {error}"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} (line {error.lineno} of its cell)"
    if type(error).__name__ == "Wrong":  # what a check says of an answer stands alone
        return str(error)
    return f"{type(error).__name__}: {error}"


def run(job, report):
    """Runs the notebook, and our checks in their places."""
    # Read it.
    try:
        cells = json.loads(Path(job["notebook"]).read_text(encoding="utf-8"))["cells"]
        steps = plan(cells, job["checks"])
    except Exception as error:  # noqa: BLE001 (whatever was submitted)
        report(None, False, f"is no notebook ({type(error).__name__}: {error})")
        return
    warning = ", ".join(suspicious_words(steps, job["known_lines"]))
    if warning:
        warning = f"read this notebook's code, it names: {warning}"

    # Import our checks, and all that they use, before it can.
    sys.path.insert(0, os.getcwd())
    importlib.import_module(job["check_module"])
    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    originals = Originals()

    # Run it.
    failures = []
    for source, number in steps:
        if number is None:
            error = run_cell(shell, source, job["seconds"])
            if error is not None:
                failures.append((source, error))
        else:
            originals.restore()
            error = run_check(source, shell.user_ns, job["seconds"])
            if error is None:
                report(number, True, warning)
            else:
                report(number, False, reason(error, failures))


def main():
    """Reads the job, limits this process to it, and runs it."""
    job = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the notebook prints goes nowhere

    def report(number, passed, message):
        print(json.dumps([job["token"], number, passed, message]), file=answers)

    limit("RLIMIT_DATA", job["memory"])
    limit("RLIMIT_FSIZE", job["disk"])
    limit("RLIMIT_CPU", job["seconds_in_all"])
    watched = (job["grader"], job["folder"], job["disk"], report)
    threading.Thread(target=watch, args=watched, daemon=True).start()
    try:
        run(job, report)
    except Exception as error:  # noqa: BLE001 (a full disk, say)
        report(None, False, f"not finished: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()

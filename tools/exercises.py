"""The exercises: the student's version, the teacher's for nbgrader, and how sharp the checks are.

python tools/exercises.py student FOLDER    stubs in place of solutions, no outputs
python tools/exercises.py source FOLDER     with solutions: for nbgrader's source/ASSIGNMENT/
python tools/exercises.py catches           wrong answers that each check caught / was tried on
"""

import re
import runpy
import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
EXERCISES = ROOT / "notebooks" / "exercises"
ANSWERS = ROOT / "tests" / "exercises"
KINDS = ["exercise", "hints", "solution", "check", "discussion"]  # an exercise's cells, in order
NBGRADER = {  # what nbgrader is told of each; unanswered discussions are the teacher's to grade
    "exercise": {"grade": False, "solution": False, "locked": True},
    "hints": {"grade": False, "solution": False, "locked": True},
    "solution": {"grade": False, "solution": True, "locked": False},
    "check": {"grade": True, "solution": False, "locked": True, "points": 1},
    "discussion": {"grade": True, "solution": True, "locked": False, "points": 1},
}
REGION = re.compile(
    r"^([ \t]*)(<!-- )?### BEGIN SOLUTION.*?### END SOLUTION[^\n]*", re.DOTALL | re.MULTILINE
)


def numbered(notebook):
    """The exercises of a notebook: {"1.1": {"exercise": cell, "hints": cell, ...}, ...}."""
    found = {}
    for cell in notebook.cells:
        if heading := re.match(r"## Exercise (\d+\.\d+):", cell.source):
            found[heading[1]] = parts = {}
        for kind in set(cell.metadata.get("tags", [])) & set(KINDS):
            parts[kind] = cell
    return found


def stub(source, number):
    """A cell's source without its solution: code that says so, or room for an answer."""

    def empty(region):
        if region[2]:
            return "*Your answer here.*"
        return f'{region[1]}raise NotImplementedError("exercise {number}")'

    return REGION.sub(empty, source)


def handed_out(notebook, solutions):
    """A notebook as it is given away: without outputs, with nbgrader's marks on its cells."""
    for number, parts in numbered(notebook).items():
        for kind, cell in parts.items():
            name = f"exercise-{number.replace('.', '-')}-{kind}"
            marks = {"schema_version": 3, "grade_id": name, "task": False}
            cell.metadata["nbgrader"] = NBGRADER[kind] | marks | {"cell_type": cell.cell_type}
            if not solutions:
                cell.source = stub(cell.source, number)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def hand_out(folder, solutions, exercises=EXERCISES):
    """Writes every exercise notebook into a folder, and the checks beside them -> their paths.

    Raises ValueError if the folder holds anything: a student's work is never overwritten.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(exercises.glob("*.ipynb")):
        notebook = handed_out(nbformat.read(path, as_version=4), solutions)
        (folder / path.name).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    for path in exercises.glob("check*.py"):
        shutil.copy(path, folder)
    return sorted(folder.glob("*.ipynb"))


def attempt(notebook, number, answer=None, others=False):
    """Runs the check of an exercise -> what it says is wrong, or None if it passes.

    answer: source in place of the solution cell. others: with all other solutions in place too.
    """
    if str(EXERCISES) not in sys.path:
        sys.path.insert(0, str(EXERCISES))
    parts = numbered(notebook)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")  # the set-up
    sources = {name: cells["solution"].source for name, cells in parts.items()}
    sources[number] = sources[number] if answer is None else answer
    chosen = sources.values() if others else [sources[number]]
    names = {"__name__": "__main__"}
    try:
        for source in [first.source, *chosen, parts[number]["check"].source]:
            exec(compile(source, "<cell>", "exec"), names)  # noqa: S102 (cells of our own)
    except (AssertionError, NotImplementedError) as error:  # the latter of a stub at top level
        return str(error)
    return None


def answers(number):
    """The answers that a check is tried on: {"right": {name: source}, "wrong": {...}}."""
    return runpy.run_path(str(ANSWERS / f"answers_{number[0]:0>2}.py"))["ANSWERS"][number]


def everything(exercises=EXERCISES):
    """{"1.1": the notebook that holds it, ...} of all exercises, in their order."""
    notebooks = [nbformat.read(path, as_version=4) for path in sorted(exercises.glob("*.ipynb"))]
    return {number: notebook for notebook in notebooks for number in numbered(notebook)}


def catches(say):
    """The catch table, a line an exercise; say(number, source): what attempt says of an answer."""
    lines = ["| exercise | wrong answers caught / tried |", "|---|---|"]
    for number in everything():
        wrong = answers(number)["wrong"].values()
        caught = sum(say(number, source) is not None for source in wrong)
        lines.append(f"| {number} | {caught} / {len(wrong)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case ["student" | "source" as version, folder] if folder:
                paths = hand_out(folder, solutions=version == "source")
                print(f"{len(paths)} notebooks and their checks are in {folder}")
            case ["student" | "source" as version, *_]:
                sys.exit(f"name a new folder: make {version} OUT=folder")
            case ["catches"]:
                notebooks = everything()
                print(catches(lambda number, source: attempt(notebooks[number], number, source)))
            case _:
                sys.exit(__doc__)
    except (ValueError, OSError) as error:
        sys.exit(f"exercises: {error}")

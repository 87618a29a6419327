"""The exercises: the student's version, the teacher's for nbgrader, and how sharp the checks are.

python tools/exercises.py student FOLDER    stubs in place of solutions, no outputs
python tools/exercises.py source FOLDER     with solutions: for nbgrader's source/ASSIGNMENT/
python tools/exercises.py restore FOLDER    in submitted notebooks: the marks that Colab dropped
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
ANSWERS = ROOT / "tests" / "classroom" / "answers"
KINDS = ["exercise", "hints", "solution", "check", "discussion"]  # an exercise's cells, in order
NBGRADER = {  # what nbgrader is told of each; the teacher grades the discussions by hand
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
    exercises = {}
    parts = {}
    for cell in notebook.cells:
        heading = re.match(r"## Exercise (\d+\.\d+):", cell.source)
        if heading:
            parts = {}
            exercises[heading[1]] = parts
        for tag in cell.metadata.get("tags", []):
            if tag in KINDS:
                parts[tag] = cell
    return exercises


def setup_of(notebook):
    """The source of an exercise notebook's set-up: all code before the first exercise."""
    sources = []
    for cell in notebook.cells:
        if cell.source.startswith("## Exercise"):
            break
        if cell.cell_type == "code":
            sources.append(cell.source)
    return "\n\n".join(sources)


def stub(source, number):
    """A cell's source without its solution: code that says so, or room for an answer."""

    def replacement(region):
        if region[2]:  # a comment in markdown
            return "*Your answer here.*"
        return f'{region[1]}raise NotImplementedError("exercise {number}")'

    return REGION.sub(replacement, source)


def handed_out(notebook, solutions):
    """A notebook as it is given away: without outputs, with nbgrader's marks on its cells."""
    for number, parts in numbered(notebook).items():
        dashed = number.replace(".", "-")
        for kind, cell in parts.items():
            cell.metadata["nbgrader"] = {
                **NBGRADER[kind],
                "schema_version": 3,
                "grade_id": f"exercise-{dashed}-{kind}",  # run_submission.py looks for it
                "task": False,
                "cell_type": cell.cell_type,
            }
            if not solutions:
                cell.source = stub(cell.source, number)

    # No outputs: they would show what the solutions print.
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


def hand_out(folder, solutions, exercises=EXERCISES):
    """Writes every exercise notebook into a folder, and the checks beside them -> their paths.

    Raises ValueError if the folder holds anything: a student's work is never overwritten.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(exercises.glob("*.ipynb")):
        notebook = handed_out(nbformat.read(path, as_version=4), solutions)
        (folder / path.name).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    for path in exercises.glob("check*.py"):
        shutil.copy(path, folder)
    return sorted(folder.glob("*.ipynb"))


def notebook_for(name, references):
    """(our notebook that a file's name stands for, what precedes it), or (None, "") if unclear.

    Clear is our notebook's own name, or else its number, if it comes first or there is no other.
    """
    if ".ipynb" not in name:
        return None, ""
    for reference in references:
        prefix, stem, _ = name.partition(reference.stem)
        if stem:
            return reference, prefix
    by_number = {reference.name[:2]: reference for reference in references}
    numbers = [match for match in re.finditer(r"\d+", name) if match[0] in by_number]
    if numbers and (len(numbers) == 1 or numbers[0].start() == 0):
        return by_number[numbers[0][0]], name[: numbers[0].start()]
    return None, ""


def last_like(cell, cells):
    """The last of a student's cells whose first line is our cell's; None if there is none."""
    first_line = cell.source.splitlines()[0]
    matches = (other for other in reversed(cells) if other.source.startswith(first_line))
    return next(matches, None)


def restore(path, exercises=EXERCISES):
    """Gives a notebook's checks and discussions nbgrader's marks again -> how many, which are lost.

    Without the marks, which Colab drops, nbgrader gives no points and says nothing.
    """
    reference, _ = notebook_for(path.name, sorted(exercises.glob("*.ipynb")))
    if reference is None:
        raise ValueError("which notebook is it? Its name does not say so")
    ours = handed_out(nbformat.read(reference, as_version=4), solutions=False)
    notebook = nbformat.read(path, as_version=4)
    present = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}

    # Each check and discussion whose mark is missing, if its cell is still there.
    restored = 0
    lost = []
    for number, parts in numbered(ours).items():
        for kind in ("check", "discussion"):
            mark = parts[kind].metadata["nbgrader"]
            cell = last_like(parts[kind], notebook.cells)
            if mark["grade_id"] in present:
                continue
            if cell is None:
                lost.append(f"{kind} {number}")
            else:
                cell.metadata["nbgrader"] = mark
                restored += 1

    # Renamed when whole: no work is lost.
    if restored:
        beside = path.with_name(f"{path.name}.part")
        beside.write_text(nbformat.writes(notebook), encoding="utf-8")
        beside.replace(path)
    return restored, lost


def restore_all(folder, exercises=EXERCISES):
    """Restores every notebook below a folder, and says what it did, a line each.

    Raises ValueError if there is none.
    """
    paths = sorted(Path(folder).expanduser().rglob("*.ipynb"))
    if not paths:
        raise ValueError(f"{folder} holds no notebook")
    for path in paths:
        if ".ipynb_checkpoints" in path.parts:
            continue
        try:
            restored, lost = restore(path, exercises)
            line = f"{restored} marks restored"
            if lost:
                line += f"; not found: {', '.join(lost)}"
        except Exception as error:  # noqa: BLE001 (whatever was submitted)
            line = f"left as it is ({type(error).__name__}: {error})"
        print(f"{path}: {line}")


def attempt(notebook, number, answer=None, all_solutions=False):
    """Runs the check of an exercise -> what it says is wrong, or None if it passes.

    answer: source in place of the solution cell. all_solutions: run the other solutions too.
    """
    if str(EXERCISES) not in sys.path:
        sys.path.insert(0, str(EXERCISES))

    # What to run: the set-up, the solutions, the check.
    exercises = numbered(notebook)
    solutions = {name: parts["solution"].source for name, parts in exercises.items()}
    if answer is not None:
        solutions[number] = answer
    sources = [setup_of(notebook), solutions[number], exercises[number]["check"].source]
    if all_solutions:
        sources[1:2] = solutions.values()

    # Run them as one program.
    variables = {"__name__": "__main__"}
    try:
        for source in sources:
            exec(compile(source, "<cell>", "exec"), variables)  # noqa: S102 (our own cells)
    except (AssertionError, NotImplementedError) as error:  # the latter of a stub at top level
        return str(error)
    return None


def answers(number):
    """The answers that a check is tried on: {"right": {name: source}, "wrong": {...}}."""
    notebook, _ = number.split(".")
    return runpy.run_path(str(ANSWERS / f"answers_{notebook:0>2}.py"))["ANSWERS"][number]


def notebook_of_each(exercises=EXERCISES):
    """{"1.1": the notebook that holds it, ...} of all exercises, in their order."""
    notebooks = {}
    for path in sorted(exercises.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for number in numbered(notebook):
            notebooks[number] = notebook
    return notebooks


def catch_table(verdict):
    """The catch table, a line a notebook; verdict(number, source): what attempt says of it."""
    cells = {}  # of each notebook's line
    for number in notebook_of_each():
        wrong = answers(number)["wrong"].values()
        caught = sum(verdict(number, source) is not None for source in wrong)
        cells.setdefault(number[0], []).append(f"{number}: {caught} / {len(wrong)}")
    lines = ["| notebook | wrong answers caught / tried |", "|---|---|"]
    for notebook, line in cells.items():
        lines.append(f"| 0{notebook} | {', '.join(line)} |")
    return "\n".join(lines)


def main(*arguments):
    """The command line; every mistake ends it with one line, or with how to call it."""
    sys.stdout.reconfigure(errors="backslashreplace")  # for any file's name
    try:
        match arguments:
            case ["student" | "source" as version, folder] if folder:
                paths = hand_out(folder, solutions=version == "source")
                print(f"{len(paths)} notebooks and their checks are in {folder}")
            case ["student" | "source" as version, *_]:
                sys.exit(f"name a new folder: make {version} OUT=folder")
            case ["restore", folder] if folder:
                restore_all(folder)
            case ["restore", *_]:
                sys.exit("name the folder of submissions: make restore FOLDER=submitted")
            case ["catches"]:
                notebooks = notebook_of_each()
                print(
                    catch_table(lambda number, source: attempt(notebooks[number], number, source))
                )
            case _:
                sys.exit(__doc__)
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"exercises: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])

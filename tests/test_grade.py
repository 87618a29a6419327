"""Grading: whatever is handed in costs only its own lines; nbgrader reads the same exercises."""

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil  # comes with Jupyter
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import grade as tool
from exercises import hand_out, numbered

NAME = "01_made_up.ipynb"
CHECKS = """from checking import Wrong


def exercise_1_1(double):
    if double(4) != 8:
        raise Wrong("4 is not doubled")


def exercise_1_2(halve):
    if halve(4) != 2:
        raise Wrong("4 is not halved")
"""


def an_exercise(number, task, answer):
    """The five cells of an exercise whose function is named after its task."""
    name = number.replace(".", "_")
    function = f'def {task}(number):\n    """-> a number."""\n'
    region = f"    ### BEGIN SOLUTION\n    return {answer}\n    ### END SOLUTION"
    check = f"from check_01 import exercise_{name}\n\nexercise_{name}({task})\n"
    question = "**For discussion.** Why?\n\n"
    hidden = "<!-- ### BEGIN SOLUTION -->\nBecause it is so.\n<!-- ### END SOLUTION -->"
    title = f"## Exercise {number}: {task}\n\nDifficulty ★☆☆ (1 of 3) · 1 minutes\n\nWrite it."
    return [
        new_markdown_cell(title, metadata={"tags": ["exercise"]}),
        new_markdown_cell("<details>a hint</details>", metadata={"tags": ["hints"]}),
        new_code_cell(function + region, metadata={"tags": ["solution"]}),
        new_code_cell(f'{check}print("right")', metadata={"tags": ["check"]}),
        new_markdown_cell(question + hidden, metadata={"tags": ["discussion"]}),
    ]


@pytest.fixture(scope="module")
def exercises(tmp_path_factory):
    """A folder as notebooks/exercises, of two exercises that take no time."""
    folder = tmp_path_factory.mktemp("exercises")
    cells = [new_markdown_cell("# Made up"), new_code_cell("import math")]
    cells += an_exercise("1.1", "double", "2 * number") + an_exercise("1.2", "halve", "number / 2")
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / NAME)
    (folder / "check_01.py").write_text(CHECKS)
    (folder / "checking.py").write_text("class Wrong(AssertionError):\n    pass\n")
    return folder


@pytest.fixture(scope="module")
def given(exercises, tmp_path_factory):
    """The student's version of it."""
    folder = tmp_path_factory.mktemp("given") / "student"
    hand_out(folder, solutions=False, exercises=exercises)
    return folder / NAME


class Handed:
    """Writes what students hand in."""

    def __init__(self, folder, given):
        self.folder, self.given = folder, given

    def raw(self, student, contents):
        (self.folder / student).mkdir(parents=True)
        (self.folder / student / NAME).write_bytes(contents)

    def notebook(self, student, double="return 2 * number", halve="return number / 2", change=None):
        """The student's version with a body for each stub, then changed further."""
        notebook = nbformat.read(self.given, as_version=4)
        for number, body in (("1.1", double), ("1.2", halve)):
            cell = numbered(notebook)[number]["solution"]
            lines = cell.source.splitlines()[:-1] if body else cell.source.splitlines()
            cell.source = "\n".join(lines + [f"    {line}" for line in body.splitlines()])
        if change:
            change(notebook)
        self.raw(student, nbformat.writes(notebook).encode())


def without(kind):
    """Deletes these cells of every exercise."""

    def change(notebook):
        gone = [parts[kind].id for parts in numbered(notebook).values()]
        notebook.cells = [cell for cell in notebook.cells if cell.id not in gone]

    return change


def edited_checks(notebook):
    """Checks that print what is hoped for."""
    for parts in numbered(notebook).values():
        parts["check"].source = 'print("right")'


def own_modules(notebook):
    """And while the notebook runs, a check module of the student's own is written and imported."""
    edited_checks(notebook)
    own = "def exercise_1_1(double):\n    pass\n\n\nexercise_1_2 = exercise_1_1\n"
    writes = f"import sys\nopen('check_01.py', 'w').write({own!r})\nsys.path.insert(0, '.')\n"
    notebook.cells.insert(1, new_code_cell(writes + "import check_01"))


def without_marks(notebook):
    """Colab and other editors drop what they do not know; the checks are appended then."""
    for cell in notebook.cells:
        cell.metadata = {}


HANGS = """import subprocess
open({path!r}, "w").write(str(subprocess.Popen(["sleep", "1000"]).pid))
while True:
    pass"""


@pytest.fixture(scope="module")
def graded(exercises, given, tmp_path_factory):
    """What grading says of a class of all kinds of trouble: {student: [(passed, message), ...]}."""
    folder = tmp_path_factory.mktemp("graded")
    first = Handed(folder / "first", given)
    first.notebook("ada", halve="import torch\nreturn number / 2")  # what takes longest below
    started = time.monotonic()
    tool.grade_all(first.folder, folder / "first.csv", 300, exercises)
    seconds = int(5 + 4 * (time.monotonic() - started))  # a limit that a loaded machine keeps too

    handed = Handed(folder / "all", given)
    handed.notebook("ada")
    handed.notebook("stubs", "", "")
    handed.notebook("half", halve="return number // 3")
    handed.notebook("errs", double="return nothing")
    handed.notebook("hangs", halve=HANGS.format(path=str(folder / "pid")))
    handed.notebook("ends", halve="import os\nos._exit(3)")
    handed.notebook("exits", double="raise SystemExit(0)")
    handed.notebook("prints", double='print("x" * 10**8)\nreturn 2 * number')
    handed.notebook("hoards", double="bytearray(10**11)", halve="import torch\ntorch.ones(10**11)")
    handed.notebook("edits", "return number", "return number", own_modules)
    handed.notebook("deletes", halve="return 1", change=without("check"))
    handed.notebook("unmarked", change=without_marks)
    handed.notebook("forgets", change=without("solution"))
    handed.notebook("asks", double="input()", halve="%matplotlib inline\nreturn number / 2")
    handed.notebook("=cmd()", double="raise ValueError('=1+1\\n' + 'long ' * 100)")
    handed.raw("empty", b"")
    handed.raw("text", b"my answers: see my email")
    handed.raw("utf16", given.read_text().encode("utf-16"))
    handed.raw("list", b"[1, 2]")
    handed.raw("odd", b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}, 5]}')
    (handed.folder / "folder" / NAME).mkdir(parents=True)
    (handed.folder / "nothing").mkdir()
    handed.notebook("two")
    shutil.copy(given, handed.folder / "two" / "01_again.ipynb")
    (handed.folder / "a file beside them.txt").write_text("not a student")
    before = {path: path.read_bytes() for path in handed.folder.rglob("*") if path.is_file()}
    tool.grade_all(handed.folder, folder / "grades.csv", seconds, exercises)
    assert before == {path: path.read_bytes() for path in before}
    with open(folder / "grades.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["student", "exercise", "passed", "message"]
    found = {}
    for student, exercise, passed, message in rows:
        found.setdefault(student, []).append((passed, message))
        assert exercise == f"1.{len(found[student])}"
        assert len(message) <= 201 and "\n" not in message
    assert {len(lines) for lines in found.values()} == {2}
    assert set(found) == {path.name for path in handed.folder.iterdir() if path.is_dir()} - {
        "=cmd()"
    } | {"'=cmd()"}
    found["pid"] = int((folder / "pid").read_text())
    found["seconds"] = seconds
    return found


RIGHT = ("1", "")
STUB = "NotImplementedError: exercise 1."
UNREADABLE = "is no notebook"


@pytest.mark.parametrize(
    "student, first, second",
    [
        ("ada", None, None),
        ("stubs", STUB, STUB),
        ("half", None, "4 is not halved"),
        ("errs", "NameError: name 'nothing' is not defined", None),
        ("ends", None, "not reached: the notebook ended early (exit code 3)"),
        ("exits", "SystemExit: 0", None),
        ("prints", None, None),
        ("hoards", "MemoryError", "RuntimeError: "),
        ("edits", "4 is not doubled", "4 is not halved"),
        ("deletes", None, "4 is not halved"),
        ("unmarked", None, None),
        ("forgets", "NameError: name 'double' is not defined", "NameError: name 'halve'"),
        ("asks", "EOFError", None),
        ("'=cmd()", "ValueError: =1+1 long long", None),
        ("empty", UNREADABLE, UNREADABLE),
        ("text", UNREADABLE, UNREADABLE),
        ("utf16", UNREADABLE, UNREADABLE),
        ("list", UNREADABLE, UNREADABLE),
        ("odd", UNREADABLE, UNREADABLE),
        ("folder", UNREADABLE, UNREADABLE),
        ("nothing", "01_*.ipynb was not handed in", "01_*.ipynb was not handed in"),
        ("two", "which one? 01_again.ipynb, 01_made_up.ipynb", "which one?"),
    ],
)
def test_each_trouble_costs_only_its_own_lines(graded, student, first, second):
    """None: passed; otherwise how the message begins."""
    for (passed, message), expected in zip(graded[student], (first, second), strict=True):
        assert passed == ("1" if expected is None else "0"), message
        assert message.startswith(expected or "")
        assert bool(message) == (expected is not None)


def test_a_notebook_that_hangs_is_ended_with_what_it_started(graded):
    """What it had proved before counts; its processes are gone."""
    stopped = f"not reached: the notebook was stopped after {graded['seconds']} s"
    assert graded["hangs"] == [RIGHT, ("0", stopped)]
    deadline = time.monotonic() + 60
    while not gone(graded["pid"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(pid):
    """Whether a process has ended; nobody need have asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_formulas_are_made_harmless_and_lines_are_cut():
    """A spreadsheet takes a value that begins so for a formula."""
    assert tool.harmless("=1+1") == "'=1+1" and tool.harmless("@x") == "'@x"
    assert tool.harmless("a\n  b\tc") == "a b c" and len(tool.harmless("x" * 999)) == 200


def test_a_folder_without_submissions_is_one_line(tmp_path, exercises):
    """No file is written."""
    with pytest.raises(ValueError, match=r"holds no notebook of the form STUDENT/01_\*.ipynb"):
        tool.grade_all(tmp_path, tmp_path / "grades.csv", 60, exercises)
    assert list(tmp_path.iterdir()) == []


def test_help_says_plainly_that_this_is_no_sandbox(capsys):
    """Where a teacher looks first."""
    with pytest.raises(SystemExit):
        tool.main(["--help"])
    assert "This is no sandbox: handed-in code runs with your rights." in capsys.readouterr().out


def test_an_existing_folder_is_never_overwritten(tmp_path, exercises):
    """Neither a student's work nor any other file."""
    (tmp_path / "mine.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ValueError, match="is not empty; name a new folder"):
            hand_out(taken, solutions=False, exercises=exercises)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.skipif(
    importlib.util.find_spec("nbgrader") is None, reason="nbgrader is not installed ([teach])"
)
def test_nbgrader_generates_and_autogrades_the_same_exercises(tmp_path, exercises, given):
    """Full points for solutions, none for stubs; editing a check gains nothing."""
    hand_out(tmp_path / "source" / "exercises", solutions=True, exercises=exercises)
    notebook = tmp_path / "release" / "exercises" / NAME

    here = str(Path(sys.executable).parent)  # nbgrader calls alembic, which lies beside Python
    environment = os.environ | {"PATH": here + os.pathsep + os.environ["PATH"]}

    def nbgrader(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    nbgrader("generate_assignment", "exercises")
    released = numbered(nbformat.read(notebook, as_version=4))
    for number, parts in released.items():
        assert "raise NotImplementedError" in parts["solution"].source
        assert "return" not in parts["solution"].source
        assert "Because it is so" not in parts["discussion"].source
        assert parts["check"].source == numbered(nbformat.read(given, 4))[number]["check"].source

    handed = Handed(tmp_path / "handed", notebook)
    handed.notebook("solved")
    handed.notebook("stubs", "", "")
    handed.notebook("edits", "return number", "return number", edited_checks)
    for student in ("solved", "stubs", "edits"):
        place = tmp_path / "submitted" / student / "exercises"
        shutil.copytree(tmp_path / "handed" / student, place)
        shutil.copy(exercises / "checking.py", place)
        (place / "check_01.py").write_text(CHECKS if student != "edits" else "import math")
    nbgrader("autograde", "exercises", "--create")
    nbgrader("export")
    with open(tmp_path / "grades.csv", newline="") as file:
        points = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert points == {"solved": 2, "stubs": 0, "edits": 0}

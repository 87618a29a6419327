"""Grading: whatever is submitted costs only its own lines; nbgrader reads the same exercises."""

import copy
import csv
import importlib.util
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil  # comes with Jupyter
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
TOOLS = str(ROOT / "tools")
sys.path.insert(0, TOOLS)

import exercises as exercise_tool
import grade as tool
import run_submission
from exercises import hand_out, numbered

NAME = "01_made_up.ipynb"
CHECKS = """import math

from checking import Wrong


def exercise_1_1(double):
    if not math.isclose(double(4), 8):
        raise Wrong("4 is not doubled")


def exercise_1_2(halve):
    if abs(halve(4) - 2) > 1e-9:
        raise Wrong("4 is not halved")
"""


def exercise_cells(number, task, answer):
    """The five cells of an exercise whose function is named after its task."""
    title = f"## Exercise {number}: {task}\n\nDifficulty ★☆☆ (1 of 3) · 1 minutes\n\nWrite it."
    region = f"    ### BEGIN SOLUTION\n    return {answer}\n    ### END SOLUTION"
    solution = f'def {task}(number):\n    """-> a number."""\n{region}'
    name = f"exercise_{number.replace('.', '_')}"
    check = f'from check_01 import {name}\n\n{name}({task})\nprint("right")'
    hidden = "<!-- ### BEGIN SOLUTION -->\nBecause it is so.\n<!-- ### END SOLUTION -->"
    return [
        new_markdown_cell(title, metadata={"tags": ["exercise"]}),
        new_markdown_cell("<details>a hint</details>", metadata={"tags": ["hints"]}),
        new_code_cell(solution, metadata={"tags": ["solution"]}),
        new_code_cell(check, metadata={"tags": ["check"]}),
        new_markdown_cell(f"Why?\n\n{hidden}", metadata={"tags": ["discussion"]}),
    ]


@pytest.fixture(scope="module")
def exercises(tmp_path_factory):
    """A folder as notebooks/exercises, of two exercises that take no time."""
    folder = tmp_path_factory.mktemp("exercises")
    cells = [new_markdown_cell("# Made up"), new_code_cell("import math")]
    cells += exercise_cells("1.1", "double", "2 * number")
    cells += exercise_cells("1.2", "halve", "number / 2")
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / NAME)
    (folder / "check_01.py").write_text(CHECKS, encoding="utf-8")
    (folder / "checking.py").write_text("class Wrong(AssertionError): pass\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def template(exercises, tmp_path_factory):
    """The student's version of it."""
    folder = tmp_path_factory.mktemp("template") / "student"
    hand_out(folder, solutions=False, exercises=exercises)
    return folder / NAME


class Class:
    """A folder with a folder for each student; writes what they submit."""

    def __init__(self, folder, template):
        self.folder = folder
        self.template = template

    def raw(self, student, contents):
        """Bytes of any kind as the notebook's file."""
        (self.folder / student).mkdir(parents=True)
        (self.folder / student / NAME).write_bytes(contents)

    def notebook(self, student, double="return 2 * number", halve="return number / 2", change=None):
        """The student's version with a body for each stub (none: as it was), then changed."""
        notebook = nbformat.read(self.template, as_version=4)
        exercises = numbered(notebook)
        for number, body in (("1.1", double), ("1.2", halve)):
            if body:
                cell = exercises[number]["solution"]
                head = cell.source.splitlines()[:-1]
                cell.source = "\n".join(head + [f"    {line}" for line in body.splitlines()])
        if change:
            change(notebook)
        self.raw(student, nbformat.writes(notebook).encode())

    def grade(self, out, exercises, seconds=300):
        """Grades the folder; what is in the table then, {student: [(passed, message), ...]}."""
        tool.grade_all(self.folder, out, seconds, exercises)
        with open(out, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header == ["student", "exercise", "passed", "message", "notebook", "digest"]
        outcomes = {}
        for student, exercise, passed, message, _, _ in rows:
            outcomes.setdefault(student, []).append((passed, message))
            assert exercise == f"1.{len(outcomes[student])}"
            assert len(message) <= 201 and "\n" not in message
        assert {len(lines) for lines in outcomes.values()} == {2}
        return outcomes


def without(kind):
    """Deletes these cells of every exercise."""

    def change(notebook):
        cells = [parts[kind] for parts in numbered(notebook).values()]
        notebook.cells = [cell for cell in notebook.cells if cell not in cells]

    return change


def with_edited_checks(notebook):
    """Checks that only print what is hoped for."""
    for parts in numbered(notebook).values():
        parts["check"].source = 'print("right")'


def with_false_modules(notebook):
    """And while the notebook runs, a check module of the student's is written and imported."""
    with_edited_checks(notebook)
    module = "def exercise_1_1(double):\n    pass\n\n\nexercise_1_2 = exercise_1_1\n"
    writes = f"import sys\nopen('check_01.py', 'w').write({module!r})\nsys.path.insert(0, '.')\n"
    notebook.cells.insert(1, new_code_cell(writes + "import check_01"))


def without_marks(notebook):
    """Colab and other editors drop what they do not know; the checks are appended then."""
    for cell in notebook.cells:
        cell.metadata = {}


def with_copied_checks(notebook):
    """One copy stands above its solution; another, below the check, became a helper."""
    parts = numbered(notebook)["1.1"]
    for cell, source in (("solution", parts["check"].source), ("discussion", HELPER)):
        duplicate = copy.deepcopy(parts["check"])
        duplicate.id = f"before-{cell}"
        duplicate.source = source
        notebook.cells.insert(notebook.cells.index(parts[cell]), duplicate)
    uses = "def halve(number):\n    return helper(number) / 4"
    numbered(notebook)["1.2"]["solution"].source = uses


def with_cheats(notebook):
    """Cells before and after all others that each try to make every check pass."""
    notebook.cells[:0] = [new_code_cell(PATCHES), new_code_cell(BLANKS)]
    notebook.cells.append(new_code_cell(WRITES))


PRINTS = """import os
print("x" * 10**8)
assert os.path.samestat(os.fstat(1), os.stat(os.devnull))
return 2 * number"""
HELPER = "def helper(number):\n    return 2 * number"
PATCHES = """import math, builtins, sys
math.isclose = lambda *_: True
builtins.abs = lambda _: 0
import check_01
check_01.abs = lambda _: 0
check_01.exercise_1_1 = check_01.exercise_1_2 = lambda _: None
sys.modules["check_01"] = check_01.math"""
BLANKS = """blank = lambda lines: [line for line in lines if "exercise_" not in line]
get_ipython().input_transformers_cleanup.append(blank)"""
WRITES = """import os, sys
for place in [*range(3, 99), *sys.argv]:
    try:
        os.write(place, b'["", "1.1", true, ""]\\n["1.2", true, ""]\\n')
    except (OSError, TypeError):
        pass"""
READS = """import tra_mini
from pathlib import Path
solutions = list(Path(tra_mini.__file__).parents[1].rglob("*.ipynb"))
assert Path(tra_mini.__file__).with_name("model.py").exists()
return 2 * number + len(solutions)"""
HANGS = """import subprocess
open({path!r}, "w").write(str(subprocess.Popen(["sleep", "1000"]).pid))
while True:
    pass"""
FILLS = """import time
for n in range(100):
    with open({name}, "ab") as file:
        file.write(bytes(10**7))
    time.sleep(0.05)"""


@pytest.fixture(scope="module")
def graded(exercises, template, tmp_path_factory):
    """What grading says of a class with all kinds of trouble.

    outcomes: {student: [(passed, message), ...]}; pid: of what a student started; seconds: the
    limit of time of a cell.
    """
    # A limit that a loaded machine keeps too: from what the longest of the others takes.
    folder = tmp_path_factory.mktemp("graded")
    first = Class(folder / "first", template)
    first.notebook("ada", halve="import torch\nreturn number / 2")
    started = time.monotonic()
    first.grade(folder / "first.csv", exercises)
    seconds = int(5 + 4 * (time.monotonic() - started))

    students = Class(folder / "all", template)
    students.notebook("ada")
    students.notebook("stubs", "", "")
    students.notebook("half", halve="return number // 3")
    students.notebook("errs", double="return nothing")
    students.notebook("hangs", double=HANGS.format(path=str(folder / "pid")))
    students.notebook("ends", halve="import os\nos._exit(3)")
    students.notebook("exits", double="raise SystemExit(0)")
    students.notebook("prints", PRINTS)
    students.notebook("hoards", "bytearray(10**11)", "import torch\ntorch.ones(10**11)")
    students.notebook("edits", "return number", "return number", with_false_modules)
    students.notebook("deletes", halve="return 1", change=without("check"))
    students.notebook("unmarked", change=without_marks)
    students.notebook("forgets", change=without("solution"))
    students.notebook("asks", double="input()", halve="%matplotlib inline\nreturn number / 2")
    students.notebook("=cmd()", double="raise ValueError('=1+1\\n' + 'long ' * 100)")
    students.notebook("surrogate", double="raise ValueError('\\ud800')")
    students.notebook("mistypes", double="return (")
    students.notebook("copies", change=with_copied_checks)
    students.notebook("cheats", "return 1", "return 1", with_cheats)
    students.notebook("reads", READS, 'open("/dev/full", "w").write("x" * 10**6)')
    students.raw("empty", b"")
    students.raw("text", b"my answers: see my email")
    students.raw("utf16", template.read_text(encoding="utf-8").encode("utf-16"))
    students.raw("list", b"[1, 2]")
    students.raw("odd", b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}, 5]}')
    (students.folder / "loop").mkdir()
    (students.folder / "loop" / NAME).symlink_to(NAME)
    (students.folder / "nothing").mkdir()
    students.notebook("two")
    shutil.copy(template, students.folder / "two" / "01_again.ipynb")
    (students.folder / "a file beside them.txt").write_text("not a student", encoding="utf-8")
    students.notebook(".ipynb_checkpoints")

    before = {path: path.read_bytes() for path in students.folder.rglob("*") if path.is_file()}
    outcomes = students.grade(folder / "grades.csv", exercises, seconds)
    assert before == {path: path.read_bytes() for path in before}
    pid = int((folder / "pid").read_text(encoding="utf-8"))
    return SimpleNamespace(outcomes=outcomes, pid=pid, seconds=seconds)


DOUBTFUL = "read this notebook's code, it names: "  # passed, but
STUB = "NotImplementedError: exercise 1."
UNREADABLE = "is no notebook"
MISSING = "01_*.ipynb was not handed in"
OUTCOMES = {  # student: for each exercise None, passed, or how the message begins
    "ada": (None, None),
    "stubs": (STUB, STUB),
    "half": (None, "4 is not halved"),
    "errs": ("NameError: name 'nothing' is not defined", None),
    "hangs": ("not finished: stopped after", DOUBTFUL + "import subprocess, open("),
    "ends": (DOUBTFUL + "import os", "not finished: the notebook ended early (exit code 3)"),
    "exits": ("SystemExit: 0", None),
    "prints": (DOUBTFUL, DOUBTFUL),
    "hoards": ("MemoryError", "RuntimeError: "),
    "edits": ("4 is not doubled", "4 is not halved"),
    "deletes": (None, "4 is not halved"),
    "unmarked": (None, None),
    "forgets": ("NameError: name 'double' is not defined", "NameError: name 'halve'"),
    "asks": ("EOFError", None),
    "'=cmd()": ("ValueError: =1+1 long long", None),
    "surrogate": ("ValueError: \\ud800", None),
    "mistypes": ("SyntaxError: ", None),
    "copies": (None, None),
    "cheats": ("4 is not doubled", "4 is not halved"),
    "reads": (DOUBTFUL, "not finished: OSError: [Errno 28] No space left on device"),
    "empty": (UNREADABLE, UNREADABLE),
    "text": (UNREADABLE, UNREADABLE),
    "utf16": (UNREADABLE, UNREADABLE),
    "list": (UNREADABLE, UNREADABLE),
    "odd": (UNREADABLE, UNREADABLE),
    "loop": ("not finished: ", "not finished: "),
    "nothing": (MISSING, MISSING),
    "two": ("which one? 01_again.ipynb, 01_made_up.ipynb", "which one?"),
}


@pytest.mark.parametrize("student", OUTCOMES)
def test_each_trouble_costs_only_its_own_lines(graded, student):
    for (passed, message), expected in zip(
        graded.outcomes[student], OUTCOMES[student], strict=True
    ):
        if expected is None:
            assert (passed, message) == ("1", "")
        else:
            assert message.startswith(expected), message
            assert passed == str(int(expected.startswith(DOUBTFUL)))


def test_students_are_the_folders_that_are_not_hidden(graded):
    """Neither files beside them nor .ipynb_checkpoints."""
    assert set(graded.outcomes) == set(OUTCOMES)


def test_a_notebook_that_hangs_is_ended_with_what_it_started(graded):
    """After the cell's limit of time the others go on; at the end its processes are gone."""
    [(_, message), _] = graded.outcomes["hangs"]
    assert message == f"not finished: stopped after {graded.seconds} s"
    wait_until(lambda: has_ended(graded.pid))


def wait_until(condition):
    """Waits a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_ended(pid):
    """Whether a process has ended; nobody need have asked for its exit code yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


STUBBORN = """import time
while True:
    try:
        time.sleep(1)
    except BaseException:
        pass"""


def test_a_loop_that_no_cell_limit_ends_costs_only_what_comes_after(
    exercises, template, tmp_path, monkeypatch
):
    """The limit of the whole notebook ends it."""
    monkeypatch.setattr(tool, "IN_ALL", 1)
    students = Class(tmp_path / "all", template)
    students.notebook("ada", halve=STUBBORN)
    outcomes = students.grade(tmp_path / "grades.csv", exercises, seconds=15)
    message = "not finished: the notebook was stopped after 15 s"
    assert outcomes == {"ada": [("1", ""), ("0", message)]}


def test_who_fills_the_disk_is_stopped_and_told_so(exercises, template, tmp_path, monkeypatch):
    """A single file has a limit, and so have all together."""
    monkeypatch.setattr(tool, "DISK", 2**26)
    students = Class(tmp_path / "all", template)
    students.notebook("one file", double=FILLS.format(name="'full'"))
    students.notebook("many", double=FILLS.format(name="str(n)"))
    outcomes = students.grade(tmp_path / "grades.csv", exercises)
    stopped = ("0", "stopped: it wrote more than 0.0625 GB")  # where the watcher is the quicker
    assert outcomes["one file"][0] in (("0", "OSError: [Errno 27] File too large"), stopped)
    assert outcomes["one file"][1][0] == "1"
    assert outcomes["many"] == [("0", "stopped: it wrote more than 0.0625 GB")] * 2


GRADER = "import sys, pathlib; sys.path.insert(0, {tools!r}); import grade; "
GRADER += "grade.main([{folder!r}, '--out', {out!r}], pathlib.Path({exercises!r}))"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_grader_that_is_ended_leaves_nothing_running(exercises, template, tmp_path, name):
    """Neither an endless notebook nor what it started; its folder stays only after a KILL."""
    students = Class(tmp_path / "all", template)
    students.notebook("ada")
    students.notebook("hangs", double=HANGS.format(path=str(tmp_path / "pid")))
    out = tmp_path / "grades.csv"
    code = GRADER.format(
        tools=TOOLS, folder=str(students.folder), out=str(out), exercises=str(exercises)
    )
    (tmp_path / "temporary").mkdir()
    environment = os.environ.copy()
    environment["TMPDIR"] = str(tmp_path / "temporary")
    grader = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, encoding="utf-8"
    )
    wait_until(lambda: out.exists() and (tmp_path / "pid").exists())
    children = psutil.Process(grader.pid).children(recursive=True)
    assert len(children) == 2
    grader.send_signal(getattr(signal, name))
    _, said = grader.communicate(timeout=60)
    wait_until(lambda: all(has_ended(child.pid) for child in children))
    assert out.read_text(encoding="utf-8").count("ada,1.") == 2
    if name != "SIGKILL":
        assert said.endswith("grade: stopped; the same command goes on\n")
        assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_where_the_system_refuses_a_limit_of_memory_grading_goes_on(monkeypatch, error):
    """As macOS does."""

    def refuse(*_):
        raise error("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    run_submission.limit("RLIMIT_DATA", 2**32)


def test_what_a_notebook_patches_is_put_back():
    """Functions of any module, methods of tensors, whole modules, and Python's own functions."""
    originals = run_submission.Originals()
    before = (math.isclose, torch.manual_seed, torch.Tensor.isnan, torch.Tensor.backward, abs)
    try:
        math.isclose = lambda *_: True
        torch.manual_seed = None
        torch.Tensor.isnan = lambda _: False
        torch.Tensor.backward = lambda _: None
        tool.abs = lambda _: 0
        sys.modules["math"] = torch
    finally:
        originals.restore()
    after = (math.isclose, torch.manual_seed, torch.Tensor.isnan, torch.Tensor.backward, abs)
    assert after == before and sys.modules["math"] is math
    assert "isnan" not in vars(torch.Tensor) and not hasattr(tool, "abs")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_ends_a_program_stops_the_grader_as_ctrl_c_does(
    tmp_path, exercises, calls, name, before
):
    """Unless it is ignored, as after nohup."""
    touch(tmp_path / "all", f"ada/{NAME}")
    number = getattr(signal, name)
    handler = signal.signal(number, before)
    try:
        tool.main([str(tmp_path / "all"), "--out", str(tmp_path / "grades.csv")], exercises)
        expected = {signal.SIG_DFL: signal.default_int_handler, signal.SIG_IGN: signal.SIG_IGN}
        assert signal.getsignal(number) == expected[before]
    finally:
        signal.signal(number, handler)


SUSPECTS = {
    "import math, os": "import math, os",
    "open('x')": "open(",
    "x.__class__": "__class__",
    "torch.allclose = f": "torch.allclose =",
    "  torch.Tensor.equal=f": "torch.Tensor.equal=",
    "from check_01 import steps_by_loop": "check_01",
    "import inspect": "import inspect",
    "sys._getframe(1).f_back.f_locals": "sys._getframe, f_back, f_locals",
    "get_ipython()": "get_ipython",
    "!cat x": "!cat",
    "%%bash": "%%bash",
}


@pytest.mark.parametrize("source", SUSPECTS)
def test_what_no_exercise_needs_is_named(source):
    assert ", ".join(run_submission.suspicious_words([(source, None)], [])) == SUSPECTS[source]
    assert run_submission.suspicious_words([(f"  {source}", None)], [source.strip()]) == []


def test_a_solved_notebook_of_each_kind_is_not_suspicious():
    """Our own solutions, with a few things that students write."""
    plain = "model.eval(); re.compile('x'); assert math.pi == x; sys.path.append('x'); %time f()"
    for reference in tool.EXERCISES.glob("*.ipynb"):
        task = tool.task_of(reference)
        cells = nbformat.read(reference, as_version=4).cells
        steps = run_submission.plan([*cells, new_code_cell(plain)], task["checks"])
        assert [number for _, number in steps if number] == list(task["checks"])
        assert run_submission.suspicious_words(steps, task["known_lines"]) == []


def touch(folder, *names):
    """Writes files that hold their own names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


CLEAR = {  # file: student
    f"ada/{NAME}": "ada",
    f"ben/Copy of {NAME}": "ben",
    f"cy/12345_2024-03-01_{NAME}": "cy",
    "dan/01_made_up (1).ipynb": "dan",
    f"eve/homework/{NAME}": "eve",
    f"fay/{NAME}.txt": "fay",
    "gus/01_mine.ipynb": "gus",
    "hal/exercise 01.ipynb": "hal",
    "lee/01_attempt_02.ipynb": "lee",
    f"ida_{NAME}": "ida",
    f"jim_12345_67890_{NAME}": "jim_12345",
    "kim_01.ipynb": "kim",
}
UNCLEAR = [
    NAME,
    f"Copy of {NAME}",
    "ada/mine.ipynb",
    "ada/2024-01-02.ipynb",
    "ada/01_a.pdf",
    "a.zip",
]
NOBODYS = [
    f".ipynb_checkpoints/{NAME}",
    "ada/.ipynb_checkpoints/01_made_up-checkpoint.ipynb",
    f"__MACOSX/ada/._{NAME}",
    "ada/check_01.py",
]


def test_whose_and_which_notebook_a_file_is(tmp_path, exercises):
    """What is clear is accepted, the rest is listed; what an editor left is passed over."""
    touch(tmp_path, *CLEAR, *UNCLEAR, *NOBODYS)
    (exercises / "02_other.ipynb").write_text("", encoding="utf-8")
    try:
        jobs, unmatched = tool.submissions(tmp_path, exercises)
    finally:
        (exercises / "02_other.ipynb").unlink()
    assert {str(path.relative_to(tmp_path)) for path in unmatched} == set(UNCLEAR)
    files = {str(path.relative_to(tmp_path)): key for key, paths in jobs.items() for path in paths}
    assert files == {name: (student, exercises / NAME) for name, student in CLEAR.items()}
    assert {student for student, _ in jobs} == set(CLEAR.values())


@pytest.fixture
def calls(monkeypatch):
    """Grades without running: every exercise passes. The names of the files that were graded."""
    names = []

    def run(notebook, check_folder, task, seconds):
        names.append(notebook.parent.name)
        if notebook.read_text(encoding="utf-8") == "stop":
            raise KeyboardInterrupt
        if notebook.read_text(encoding="utf-8") == "fail":
            raise OSError("disk full")
        return {number: (1, "") for number in task["checks"]}, ""

    monkeypatch.setattr(tool, "run", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    return names


def test_a_second_call_grades_what_is_new_changed_or_unfinished(tmp_path, exercises, calls):
    """A stop keeps the rows that were finished; equal copies are one file."""
    folder, out = tmp_path / "all", tmp_path / "grades.csv"
    touch(folder, f"ada/{NAME}", f"ben/{NAME}", f"dan/{NAME}", f"eve/{NAME}")
    for name in (f"ada/copy/{NAME}", f"ada/{NAME}"):
        touch(folder, name)
        (folder / name).write_text("same", encoding="utf-8")
    (folder / "ben" / NAME).write_text("fail", encoding="utf-8")
    (folder / "dan" / NAME).write_text("stop", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        tool.grade_all(folder, out, 60, exercises)
    assert calls[:3] == ["copy", "ben", "dan"]
    assert out.read_text(encoding="utf-8").count("ada,1.") == 2

    calls.clear()
    (folder / "dan" / NAME).write_text("mended", encoding="utf-8")
    tool.grade_all(folder, out, 60, exercises)
    assert calls == ["ben", "dan", "eve"]

    calls.clear()
    (folder / "eve" / NAME).write_text("changed", encoding="utf-8")
    rows = tool.grade_all(folder, out, 60, exercises)
    assert calls == ["ben", "eve"]
    assert [row[:4] for row in rows if row[0] == "ben"] == [
        ["ben", number, "0", "not finished: OSError: disk full"] for number in ("1.1", "1.2")
    ]
    assert {(row[4], len(row[5])) for row in rows} == {(NAME, 8)}


@pytest.mark.parametrize(
    "contents, message",
    [
        (None, "a folder; allowed: a file"),
        ("", "is no table of grades; name another file"),
        ("my,notes\n", "is no table of grades; name another file"),
        ("student,exercise,passed,message,notebook,digest\nzoe,1.1,1,,,\n", "zoe's 1.1"),
    ],
)
def test_a_file_that_is_not_this_class_s_table_is_never_overwritten(
    tmp_path, exercises, calls, contents, message
):
    """Nothing is run before it is refused."""
    touch(tmp_path / "all", f"ada/{NAME}")
    out = tmp_path / "out"
    if contents is None:
        out.mkdir()
    else:
        out.write_text(contents, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        tool.grade_all(tmp_path / "all", out, 60, exercises)
    assert calls == [] and (contents is None or out.read_text(encoding="utf-8") == contents)


def test_without_a_folder_it_says_how_to_call_it():
    """The repository itself is not graded."""
    with pytest.raises(SystemExit, match="^grade: name the folder of submissions: make grade"):
        tool.main([""])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch, exercises, calls):
    """Some shells leave it to us after `OUT=`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, f"all/ada/{NAME}")
    tool.main(["~/all", "--out", "~/grades.csv"], exercises)
    exercise_tool.hand_out("~/new", solutions=False, exercises=exercises)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "grades.csv", "new"]


def test_everybodys_answer_to_a_discussion_is_printed(tmp_path, template, exercises, capsys):
    """Whatever else was handed in costs a line."""
    students = Class(tmp_path, template)

    def answered(notebook):
        numbered(notebook)["1.2"]["discussion"].source += "\n\nNo idea."
        without_marks(notebook)

    students.notebook("ada", change=answered)
    students.notebook("bob", change=without("discussion"))
    students.raw("cy", b"5")
    tool.main([str(tmp_path), "--discussion", "1.2"], exercises)
    printed = capsys.readouterr().out
    assert printed.startswith("## ada\nWhy?\n\n*Your answer here.*\n\nNo idea.\n\n## bob\n")
    assert f"## bob\n{NAME} has no such cell\n" in printed
    assert f"## cy\n{NAME} is no notebook" in printed
    for number in ("7.1", ""):
        with pytest.raises(SystemExit, match=f"^grade: nobody handed in exercise '{number}'"):
            tool.main([str(tmp_path), "--discussion", number], exercises)


def test_a_students_name_that_is_not_utf_8_is_written_with_escapes(
    tmp_path, template, exercises, calls
):
    """As a zip file from another system may leave it; a second call knows it again."""
    students = Class(tmp_path / "all", template)
    try:
        students.notebook(os.fsdecode(b"caf\xe9"))
    except OSError:
        pytest.skip("this file system refuses such names")
    for _ in range(2):
        outcomes = students.grade(tmp_path / "grades.csv", exercises)
        assert outcomes == {"caf\\udce9": [("1", ""), ("1", "")]}
    assert len(calls) == 1


@pytest.mark.parametrize("command", ["grade", "restore"])
def test_a_files_name_that_is_not_utf_8_is_printed_with_escapes(
    tmp_path, exercises, calls, capsys, command
):
    """It ends neither grading nor restoring."""
    touch(tmp_path / "all", f"ada/{NAME}")
    try:
        touch(tmp_path / "all", os.fsdecode(b"ada/\xe9.ipynb"))
    except OSError:
        pytest.skip("this file system refuses such names")
    if command == "grade":
        tool.main([str(tmp_path / "all"), "--out", str(tmp_path / "grades.csv")], exercises)
        expected = "not graded: ada/\\udce9.ipynb (whose"
    else:
        exercise_tool.main("restore", str(tmp_path / "all"))
        expected = "ada/\\udce9.ipynb: left as it is"
    assert expected in capsys.readouterr().out


def test_restoring_where_no_notebook_is_says_so(tmp_path):
    with pytest.raises(SystemExit, match=f"^exercises: {tmp_path} holds no notebook$"):
        exercise_tool.main("restore", str(tmp_path))


@pytest.mark.parametrize("seconds", ["0", "-5"])
def test_the_limit_of_time_is_a_second_or_more(template, tmp_path, seconds):
    """Nothing is run, no file is written."""
    Class(tmp_path / "all", template).notebook("ada")
    out = tmp_path / "grades.csv"
    with pytest.raises(SystemExit, match=f"^grade: --seconds is {seconds}; allowed: 1 or more$"):
        tool.main([str(tmp_path / "all"), "--out", str(out), "--seconds", seconds])
    assert not out.exists()


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@x", " =1"])
def test_no_value_of_the_table_is_a_formula(value):
    """A spreadsheet takes a value that begins so for one."""
    assert tool.harmless(value) == f"'{value.strip()}"


def test_a_value_of_the_table_is_one_line_of_200_characters():
    assert tool.harmless("a\n  b\tc") == "a b c"
    assert tool.harmless("x" * 999) == "x" * 200


def test_a_folder_without_submissions_is_refused(tmp_path, exercises, template):
    """One line, no file; a hidden folder is no submission."""
    Class(tmp_path, template).notebook(".ipynb_checkpoints")
    with pytest.raises(ValueError, match=r"holds no notebook of the form STUDENT/01_\*.ipynb"):
        tool.grade_all(tmp_path, tmp_path / "grades.csv", 60, exercises)
    assert [path.name for path in tmp_path.iterdir()] == [".ipynb_checkpoints"]


def test_an_existing_folder_is_never_overwritten(tmp_path, exercises):
    """Neither a student's work nor any other file."""
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    for path in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ValueError, match="is not empty; name a new folder"):
            hand_out(path, solutions=False, exercises=exercises)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def marks(notebook):
    """nbgrader's marks of the cells that it grades, with the cells' first lines."""
    cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    graded_cells = [cell for cell in cells if cell.metadata["nbgrader"]["grade"]]
    return [(cell.metadata["nbgrader"], cell.source.split("\n")[0]) for cell in graded_cells]


def test_lost_marks_are_restored_in_every_exercise(tmp_path, capsys):
    """On the same cells as before; a cell that is gone is named, other files stay as they are."""
    hand_out(tmp_path / "ada", solutions=False)
    paths = sorted((tmp_path / "ada").glob("*.ipynb"))
    before = [marks(nbformat.read(path, as_version=4)) for path in paths]
    assert len(before) == 6 and all(len(cells) >= 6 for cells in before)
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        without_marks(notebook)
        nbformat.write(notebook, path)
    touch(tmp_path, "ben/01_not_json.ipynb", "ben/mine.ipynb", "ben/.ipynb_checkpoints/01_a.ipynb")
    exercise_tool.main("restore", str(tmp_path))
    assert [marks(nbformat.read(path, as_version=4)) for path in paths] == before
    *lines, not_json, unclear = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        f"{len(cells)} marks restored" for cells in before
    ]
    assert "ben/01_not_json.ipynb: left as it is (" in not_json
    assert "ben/mine.ipynb: left as it is (ValueError: which notebook is it?" in unclear

    notebook = nbformat.read(paths[0], as_version=4)
    notebook.cells.remove(numbered_by_first_line(notebook)["from check_01 import exercise_1_2"])
    nbformat.write(notebook, paths[0])
    whole = paths[1].read_bytes()
    exercise_tool.main("restore", str(tmp_path / "ada"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": 0 marks restored; not found: check 1.2")
    assert paths[1].read_bytes() == whole


def numbered_by_first_line(notebook):
    return {cell.source.split("\n")[0]: cell for cell in notebook.cells}


@pytest.fixture
def nbgrader(tmp_path):
    """Runs an nbgrader command in the course folder tmp_path."""
    if importlib.util.find_spec("nbgrader") is None:
        pytest.skip("nbgrader is not installed ([teach])")
    environment = os.environ.copy()  # nbgrader calls alembic, which lies beside Python
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    return run


def test_nbgrader_generates_and_autogrades_the_same_exercises(
    tmp_path, exercises, template, nbgrader
):
    """Full points for solutions, none for stubs; editing a check gains nothing."""
    hand_out(tmp_path / "source" / "exercises", solutions=True, exercises=exercises)
    nbgrader("generate_assignment", "exercises")
    release = tmp_path / "release" / "exercises" / NAME
    checks = numbered(nbformat.read(template, as_version=4))
    for number, parts in numbered(nbformat.read(release, as_version=4)).items():
        assert "raise NotImplementedError" in parts["solution"].source
        assert "return" not in parts["solution"].source
        assert "Because it is so" not in parts["discussion"].source
        assert parts["check"].source == checks[number]["check"].source

    students = Class(tmp_path / "handed_in", release)
    students.notebook("solved")
    students.notebook("stubs", "", "")
    students.notebook("edits", "return number", "return number", with_edited_checks)
    students.notebook("colab", change=without_marks)
    students.notebook("restored", change=without_marks)
    for student in ("solved", "stubs", "edits", "colab", "restored"):
        folder = tmp_path / "submitted" / student / "exercises"
        shutil.copytree(students.folder / student, folder)
        shutil.copy(exercises / "checking.py", folder)
        shutil.copy(exercises / "check_01.py", folder)
    (tmp_path / "submitted" / "edits" / "exercises" / "check_01.py").write_text(
        "", encoding="utf-8"
    )

    exercise_tool.restore_all(tmp_path / "submitted" / "restored", exercises)
    nbgrader("autograde", "exercises", "--create")
    nbgrader("export")
    with open(tmp_path / "grades.csv", newline="", encoding="utf-8") as file:
        points = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert points == {"solved": 2, "stubs": 0, "edits": 0, "colab": 0, "restored": 2}

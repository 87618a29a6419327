"""Every exercise: its check fails on the stub, passes right answers, catches wrong ones."""

import re
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from exercises import (
    EXERCISES,
    KINDS,
    answers,
    attempt,
    catches,
    everything,
    hand_out,
    numbered,
    stub,
)

PATHS = sorted(EXERCISES.glob("*.ipynb"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
OF = everything()
TRIALS = [
    pytest.param(number, kind == "right", source, id=f"{number}-{kind}-{name}")
    for number in OF
    for kind, sources in answers(number).items()
    for name, source in sources.items()
]


@cache
def said(number, source):
    """What the check says of an answer; each is tried once."""
    return attempt(OF[number], number, source)


@pytest.mark.parametrize("number", OF)
def test_the_check_fails_on_its_own_stub_with_all_other_solutions_in_place(number):
    """The stub, not something else, is what stops it."""
    source = stub(numbered(OF[number])[number]["solution"].source, number)
    assert f"exercise {number}" in (attempt(OF[number], number, source, others=True) or "")


@pytest.mark.parametrize("number", OF)
def test_the_check_passes_with_the_worked_solution(number):
    """Alone: no exercise needs another's solution."""
    assert attempt(OF[number], number) is None


@pytest.mark.parametrize("number, right, source", TRIALS)
def test_the_check_tells_right_answers_from_wrong_ones(number, right, source):
    """A right answer passes however it is written; a wrong one gets a message of a few words."""
    message = said(number, source)
    assert (message is None) == right, message
    assert right or 15 <= len(message) <= 400


@pytest.mark.parametrize("number", OF)
def test_each_check_is_tried_enough(number):
    """One right answer written differently from ours at least, and four wrong ones."""
    tried = answers(number)
    assert len(tried["right"]) >= 1 and len(tried["wrong"]) >= 4
    ours = numbered(OF[number])[number]["solution"].source
    assert all(source.split() != ours.split() for source in tried["right"].values())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_has_all_of_its_cells_in_order(name):
    """Task, hints, solution, check, question: in this order, each once, as the tools expect."""
    notebook = NOTEBOOKS[name]
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag in KINDS]
    exercises = numbered(notebook)
    assert tags == KINDS * len(exercises)
    assert list(exercises) == [f"{int(name[:2])}.{place}" for place in range(1, len(exercises) + 1)]
    assert len(exercises) >= 3
    for number, parts in exercises.items():
        dashed = number.replace(".", "_")
        stars = r"(★☆☆ \(1|★★☆ \(2|★★★ \(3) of 3\)"
        opening = rf"## Exercise {number}: .+\n\nDifficulty {stars} · \d+ minutes\n"
        assert re.match(opening, parts["exercise"].source)
        assert re.findall("<summary>Hint (.):", parts["hints"].source) == ["1", "2", "3"]
        assert parts["solution"].source.count("### BEGIN SOLUTION\n") == 1
        assert parts["check"].source.startswith(
            f"from check_{name[:2]} import exercise_{dashed}\n\nexercise_{dashed}("
        )
        assert parts["check"].source.endswith(f'print("Exercise {number}: right")')
        assert parts["discussion"].source.startswith("**For discussion.** ")
        assert parts["discussion"].source.count("<!-- ### END SOLUTION -->") == 1


def solution_lines(cell):
    """The lines of a cell that a student must not see: all but trivial ones."""
    kept = stub(cell.source, "0.0").splitlines()
    return {
        line.strip()
        for line in cell.source.splitlines()
        if line not in kept and len(line.strip()) >= 20 and "SOLUTION" not in line
    }


def test_the_student_version_gives_no_solution_away(tmp_path):
    """No line of a solution or a model answer, no output; stubs in their places."""
    hand_out(tmp_path / "out", solutions=False)
    files = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    checks = {path.name for path in EXERCISES.glob("check*.py")}
    assert set(files) == {path.name for path in PATHS} | checks
    secrets = set()
    for name, notebook in NOTEBOOKS.items():
        given = nbformat.reads(files[f"{name}.ipynb"], as_version=4)
        nbformat.validate(given)
        for cell in given.cells:
            if cell.cell_type == "code":
                assert not cell.outputs and cell.execution_count is None
        for number, parts in numbered(notebook).items():
            for kind in ("solution", "discussion"):
                secrets |= solution_lines(parts[kind])
            mine = numbered(given)[number]
            assert f'raise NotImplementedError("exercise {number}")' in mine["solution"].source
            assert mine["discussion"].source.endswith("*Your answer here.*")
            compile(mine["solution"].source, "stub", "exec")
            for kind in ("exercise", "hints", "check"):
                assert mine[kind].source == parts[kind].source
    assert len(secrets) >= 10 * len(NOTEBOOKS)
    for name, text in files.items():
        cells = nbformat.reads(text, as_version=4).cells if name.endswith(".ipynb") else None
        lines = "\n".join(cell.source for cell in cells) if cells else text
        assert "SOLUTION" not in lines
        found = secrets & {line.strip() for line in lines.splitlines()}
        assert found == set(), name


def test_the_teachers_guide_quotes_the_catch_table():
    """As `make catches` prints it."""
    assert catches(said) in (ROOT / "TEACHING.md").read_text()

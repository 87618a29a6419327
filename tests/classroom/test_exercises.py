"""Every exercise: its check fails on the stub, passes right answers, catches wrong ones."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from exercises import (
    EXERCISES,
    KINDS,
    answers,
    attempt,
    catch_table,
    hand_out,
    notebook_of_each,
    numbered,
    setup_of,
    stub,
)

PATHS = sorted(EXERCISES.glob("*.ipynb"))
NOTEBOOK_OF = notebook_of_each()
TRIALS = [
    pytest.param(number, kind == "right", source, id=f"{number}-{kind}-{name}")
    for number in NOTEBOOK_OF
    for kind, sources in answers(number).items()
    for name, source in sources.items()
]


@cache
def verdict(number, source):
    """What the check says of an answer; each is tried once."""
    return attempt(NOTEBOOK_OF[number], number, source)


def solution_of(number):
    return numbered(NOTEBOOK_OF[number])[number]["solution"].source


@pytest.mark.parametrize("number", NOTEBOOK_OF)
def test_the_check_fails_on_its_own_stub_with_all_other_solutions_in_place(number):
    """The stub, not something else, is what stops it."""
    empty = stub(solution_of(number), number)
    message = attempt(NOTEBOOK_OF[number], number, empty, all_solutions=True)
    assert message is not None and f"exercise {number}" in message


@pytest.mark.parametrize("number", NOTEBOOK_OF)
def test_the_check_passes_with_the_worked_solution(number):
    """Alone: no exercise needs another's solution."""
    assert attempt(NOTEBOOK_OF[number], number) is None


@pytest.mark.parametrize("number, right, source", TRIALS)
def test_the_check_tells_right_answers_from_wrong_ones(number, right, source):
    """A right answer passes however it is written; a wrong one gets a message of a few words."""
    message = verdict(number, source)
    if right:
        assert message is None
    else:
        assert message is not None and 15 <= len(message) <= 400


PROPERTIES = [  # an exercise, a wrong answer, and what the message must speak of
    ("1.2", "a loop over positions", "a loop over positions"),
    ("1.2", "a loop over the strings", "a loop over strings"),
    ("1.3", "halves put side by side", "correct numbers in wrong places"),
    ("1.3", "right in float64 only", "stops with RuntimeError"),
    ("1.3", "no gradient", "no gradient"),
    ("1.4", "the place, not the verdict", "is of type int; expected: True or False"),
    ("1.4", "a tolerance of 0.003", "weakly"),
    ("2.1", "counted up to 5,000", "too small"),
    ("2.2", "three dimensions only", "stops with RuntimeError"),
    ("2.3", "the denominator cut off from the gradient", "their gradient is not"),
    ("3.3", "-0.01 at each read", "'r1' again and again"),
    ("4.2", "removed keys at -10,000", "however strict its gate"),
    ("4.3", "keep ignored", "scores above 0.75"),
    ("4.3", "a gradient through the cap", "wrong gradients"),
    ("5.1", "counted from 3", "fewer would do"),
    ("5.2", "values sorted in place", "an input was changed"),
    ("5.3", "gates cut off from the gradient", "the gradient of log_forget"),
    ("6.3", "up to five tokens, whatever longest", "longer than was allowed"),
]


@pytest.mark.parametrize("number, name, words", PROPERTIES)
def test_the_message_says_which_property_broke(number, name, words):
    assert words in verdict(number, answers(number)["wrong"][name])


@pytest.mark.parametrize("number", NOTEBOOK_OF)
def test_each_check_is_tried_enough(number):
    """On right answers written differently from ours, and on twenty wrong ones, no two alike."""
    trials = answers(number)
    assert len(trials["right"]) >= 2 and len(trials["wrong"]) >= 20
    sources = [*trials["right"].values(), *trials["wrong"].values(), solution_of(number)]
    assert len({" ".join(source.split()) for source in sources}) == len(sources)


def figure_cells(notebook):
    """{"1.2": the sources of its figure's cells, ...} of the exercises that have a figure."""
    cells = {}
    for cell in notebook.cells:
        heading = re.match(r"## Exercise (\d+\.\d+):", cell.source)
        if heading:
            number = heading[1]
        if "figure" in cell.metadata.get("tags", []):
            cells.setdefault(number, []).append(cell.source)
    return cells


FIGURES = {}
for path in PATHS:
    FIGURES.update(figure_cells(nbformat.read(path, as_version=4)))


def run_cells(sources):
    """Runs the sources of cells as one program."""
    variables = {"__name__": "__main__"}
    for source in sources:
        exec(compile(source, "<cell>", "exec"), variables)  # noqa: S102 (our own cells)


@pytest.mark.parametrize("number", sorted(set(FIGURES) - {"5.3"}))  # the figure of 5.3 trains
def test_figures_draw_every_right_answer(number, monkeypatch):
    """Up to the picture itself, which takes the longest and depends on no answer."""
    monkeypatch.setattr("tra_mini.plots.show", lambda figure, alt: None)
    check = numbered(NOTEBOOK_OF[number])[number]["check"].source
    for answer in answers(number)["right"].values():
        run_cells([setup_of(NOTEBOOK_OF[number]), answer, check, *FIGURES[number]])


@pytest.mark.parametrize("number", FIGURES)
def test_a_figure_says_that_the_check_comes_first(number):
    """Each of its cells, in one line; also after a solution that passed was written anew."""
    parts = numbered(NOTEBOOK_OF[number])[number]
    passed = [setup_of(NOTEBOOK_OF[number]), parts["solution"].source, parts["check"].source]
    empty = stub(parts["solution"].source, number)
    for before in ([passed[0], empty], [*passed, passed[1]]):
        for source in FIGURES[number]:
            with pytest.raises(AssertionError, match=r"^first pass the check of \w+$"):
                run_cells([*before, source])


def test_exercises_opened_in_another_folder_find_their_checks(tmp_path):
    """Each set-up by itself, in a process that starts far from the notebooks."""
    program = ["import sys", "start = list(sys.path)"]
    for number in ("1.1", "2.1", "3.1", "4.1", "5.1", "6.1"):
        program += ["sys.path[:] = start", "sys.modules.pop('checking', None)"]
        program += [setup_of(NOTEBOOK_OF[number]), f"import check_0{number[0]}"]
    command = [sys.executable, "-c", "\n".join(program)]
    subprocess.run(command, check=True, cwd=tmp_path)


def test_an_exercise_whose_cells_are_raw_is_skipped_by_run_all():
    """As the first cell of each notebook says; nothing is written yet."""
    for path in PATHS:
        assert "**Run All**" in nbformat.read(path, as_version=4).cells[0].source
    notebook = nbformat.read(PATHS[0], as_version=4)
    for number, parts in numbered(notebook).items():
        parts["solution"].source = stub(parts["solution"].source, number)
    for cell in notebook.cells:
        if {"check", "figure"} & set(cell.metadata.get("tags", [])):
            cell.cell_type = "raw"
            del cell["outputs"], cell["execution_count"]
    NotebookClient(notebook, resources={"metadata": {"path": str(EXERCISES)}}).execute()
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_exercise_has_all_of_its_cells_in_order(path):
    """Task, hints, solution, check, question: in this order, each once, as the tools expect."""
    notebook = nbformat.read(path, as_version=4)
    exercises = numbered(notebook)
    chapter = path.name[:2]
    count = len(exercises)
    assert count >= 3
    assert list(exercises) == [f"{int(chapter)}.{place}" for place in range(1, count + 1)]
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag in KINDS]
    assert tags == KINDS * count
    for number, parts in exercises.items():
        check_cells(chapter, number, parts)


def check_cells(chapter, number, parts):
    """What the cells of an exercise must hold."""
    stars = r"(★☆☆ \(1|★★☆ \(2|★★★ \(3) of 3\)"
    opening = rf"## Exercise {number}: .+\n\nDifficulty {stars} · \d+ minutes\n"
    assert re.match(opening, parts["exercise"].source)
    assert re.findall("<summary>Hint (.):", parts["hints"].source) == ["1", "2", "3"]
    assert parts["solution"].source.count("### BEGIN SOLUTION\n") == 1
    function = f"exercise_{number.replace('.', '_')}"
    call = f"from check_{chapter} import {function}\n\n{function}("
    assert parts["check"].source.startswith(call)
    assert f'print("Exercise {number}:' in parts["check"].source.splitlines()[-1]
    assert parts["discussion"].source.count("<!-- ### END SOLUTION -->") == 1


def secret_lines(cell):
    """The lines of a cell that a student must not see: those of its solution, but trivial ones."""
    kept = stub(cell.source, "0.0").splitlines()
    return {
        line.strip()
        for line in cell.source.splitlines()
        if line not in kept and len(line.strip()) >= 20 and "SOLUTION" not in line
    }


@pytest.fixture(scope="module")
def student_version(tmp_path_factory):
    """The folder that `make student` writes."""
    folder = tmp_path_factory.mktemp("handout") / "out"
    hand_out(folder, solutions=False)
    return folder


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_student_version_has_stubs_for_solutions_and_all_else_as_it_was(path, student_version):
    """No outputs, room for answers, and a notebook that JupyterLab opens."""
    handed_out = nbformat.read(student_version / path.name, as_version=4)
    nbformat.validate(handed_out)
    for cell in handed_out.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
    original = numbered(nbformat.read(path, as_version=4))
    for number, parts in numbered(handed_out).items():
        assert f'raise NotImplementedError("exercise {number}")' in parts["solution"].source
        assert parts["discussion"].source.endswith("*Your answer here.*")
        compile(parts["solution"].source, "stub", "exec")
        for kind in ("exercise", "hints", "check"):
            assert parts[kind].source == original[number][kind].source


def test_the_student_version_gives_no_solution_away(student_version):
    """No line of a solution or of a model answer is in any file, the checks among them."""
    secrets = set()
    for number, notebook in NOTEBOOK_OF.items():
        parts = numbered(notebook)[number]
        secrets |= secret_lines(parts["solution"]) | secret_lines(parts["discussion"])
    assert len(secrets) >= 10 * len(PATHS)

    checks = [path.name for path in EXERCISES.glob("check*.py")]
    files = sorted(student_version.iterdir())
    assert [path.name for path in files] == sorted([path.name for path in PATHS] + checks)
    for path in files:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = nbformat.reads(text, as_version=4).cells
            text = "\n".join(cell.source for cell in cells)
        assert "SOLUTION" not in text, path.name
        assert secrets & {line.strip() for line in text.splitlines()} == set(), path.name


def test_the_teachers_guide_quotes_the_catch_table():
    """As `make catches` prints it."""
    assert catch_table(verdict) in (ROOT / "TEACHING.md").read_text(encoding="utf-8")

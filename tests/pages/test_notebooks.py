"""What nbval lets pass, checked here: cells not executed, missing asserts, silent images."""

import ast
import base64
import copy
import os
import re
import runpy
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output

from experiments import results

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import notebooks as tool

CHAPTERS = sorted(tool.NOTEBOOKS.glob("*.ipynb"))
EXERCISES = sorted(tool.NOTEBOOKS.glob("exercises/*.ipynb"))
ENVIRONMENT = r"/home/|/root/|/tmp/|/Users/|0x[0-9a-f]{6}|\d\d:\d\d:\d\d"  # paths, ids, times


def name_of(path):
    return str(path.relative_to(tool.NOTEBOOKS))


@pytest.fixture(params=CHAPTERS + EXERCISES, ids=name_of)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=CHAPTERS, ids=name_of)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def pictures(notebook):
    return [output for output in outputs(notebook) if "image/png" in output.get("data", {})]


def test_chapters_are_numbered_in_reading_order_and_exercises_belong_to_chapters():
    """A notebook that is lost is noticed."""
    assert [int(path.name[:2]) for path in CHAPTERS] == list(range(len(CHAPTERS)))
    assert len(CHAPTERS) > len(EXERCISES) >= 6
    assert {path.name for path in EXERCISES} < {path.name for path in CHAPTERS}


def test_every_notebook_begins_with_the_set_up_cell(notebook):
    """Below its title. If this fails: python tools/notebooks.py setup."""
    cell = notebook.cells[1]
    assert cell.source == tool.setup_source()
    assert cell.metadata.tags == ["setup"]


@pytest.mark.parametrize("address", ["", "https://github.com/OWNER/REPOSITORY"])
def test_the_set_up_cell_is_short_and_does_nothing_at_home(address):
    source = tool.setup_source(address)
    assert len([line for line in source.splitlines() if line]) <= 5
    path = list(sys.path)
    exec(compile(source, "<cell>", "exec"), {})  # noqa: S102 (our own cell)
    assert sys.path == path


def elsewhere(source, folder):
    """What the cell and an import print where there is no package of this name yet."""
    program = source.replace("tra_mini", "not_here") + "\nimport not_here\nprint(not_here.SIZE)"
    command = [sys.executable, "-m", "IPython", "--colors=nocolor", "-c", program]
    ours = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}
    return subprocess.run(
        command, check=False, cwd=folder, env=ours, capture_output=True, encoding="utf-8"
    ).stdout


def test_elsewhere_the_set_up_cell_says_what_to_do(tmp_path):
    printed = elsewhere(tool.setup_source(""), tmp_path)
    assert "ImportError: not_here is missing" in printed
    assert "`make setup` and `make lab`" in printed


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_elsewhere_the_set_up_cell_fetches_the_project_once(tmp_path):
    """And finds it again in another kernel."""
    project = tmp_path / "project"
    (project / "not_here").mkdir(parents=True)
    (project / "not_here" / "__init__.py").write_text("SIZE = 17", encoding="utf-8")
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "First"]):
        subprocess.run(["git", "-C", project, *words], check=True)
    source = tool.setup_source(str(project))
    assert elsewhere(source, tmp_path).splitlines()[-1] == "17"
    shutil.rmtree(project)
    assert elsewhere(source, tmp_path).splitlines() == ["17"]


REPAIR = "`make notebooks` executes all notebooks and stores them as they should be"


def out_of_order(notebook):
    """The execution counts, if they are not 1, 2, 3, ..."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts == list(range(1, len(counts) + 1)):
        return []
    return counts


def test_every_cell_was_executed_in_order_and_without_error(notebook):
    assert out_of_order(notebook) == [], REPAIR
    for output in outputs(notebook):
        assert output.output_type != "error", REPAIR
        assert output.get("name") != "stderr", f"{output}; {REPAIR}"


def changed_by_saving(notebook):
    """What to do about a notebook that is not in its stored form, as after a save in JupyterLab.

    Stored are readable ids, one output for one printed text, no versions; "" if all is so.
    """
    if nbformat.writes(tool.normalised(copy.deepcopy(notebook))) == nbformat.writes(notebook):
        return ""
    return f"saved by an editor such as JupyterLab, in a form of its own; {REPAIR}"


def test_the_stored_form_is_the_one_that_executing_leaves(notebook):
    assert changed_by_saving(notebook) == ""


def claims(notebook):
    """Asserts on something computed: those in which a name is read."""
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    return [
        node for node in nodes if any(isinstance(part, ast.Name) for part in ast.walk(node.test))
    ]


def test_every_chapter_asserts_what_it_claims(chapter):
    assert claims(chapter) != []


def unexplained_markers(notebook):
    """Lines that switch nbval's checks off, without a comment on the next line that says why."""
    unexplained = []
    for cell in code_cells(notebook):
        for line, after in pairwise([*cell.source.splitlines(), ""]):
            explained = re.fullmatch(r"# NBVAL_\w+", line) and after.startswith("# ")
            if "NBVAL" in line and not explained:
                unexplained.append(line)
    return unexplained


def test_a_marker_that_switches_a_check_off_says_why(notebook):
    assert unexplained_markers(notebook) == []


def undescribed(notebook):
    """Pictures without an alternative text of twenty characters."""
    return [
        output
        for output in pictures(notebook)
        if len(output.metadata.get("image/png", {}).get("alt", "")) < 20
    ]


def unasserted_figures(notebook):
    """Cells that show a figure and claim nothing about it: nbval does not compare images."""
    cells = []
    for cell in code_cells(notebook):
        nodes = ast.walk(ast.parse(cell.source))
        asserts = any(isinstance(node, ast.Assert) for node in nodes)
        asserts = asserts or "assert_close(" in cell.source
        if pictures(new_notebook(cells=[cell])) and not asserts:
            cells.append(cell)
    return cells


def test_every_picture_says_what_it_shows_and_its_data_is_asserted(notebook):
    assert undescribed(notebook) == []
    assert unasserted_figures(notebook) == []
    for output in pictures(notebook):
        assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")


def test_outputs_hold_no_path_time_or_version(notebook):
    for output in outputs(notebook):
        text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
        assert not re.search(ENVIRONMENT, text) and str(ROOT) not in text, text


def test_every_chapter_opens_and_closes_as_the_reader_expects(chapter):
    """A title and a prediction at the start; limits, exercises and sources at the end."""
    prose = [cell.source for cell in chapter.cells if cell.cell_type == "markdown"]
    text = "\n".join(prose)
    assert prose[0].startswith("# ")
    assert text.lower().count("predict") >= 2
    assert text.count("<details>") >= 3
    headings = ["What was shown", "What was not shown", "Exercises", "Sources"]
    places = [text.find(f"\n## {heading}") for heading in headings]
    assert -1 not in places and places == sorted(places), places


FIGURE = """from matplotlib.figure import Figure

from tra_mini.plots import show

figure = Figure(figsize=(2, 2), layout="constrained")
figure.subplots().plot(shares)
assert max(shares) == 1.0
show(figure, alt="Two shares, of which the second is one")"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The path of a small notebook as tools/notebooks.py leaves it: a number, a claim, a figure."""
    path = tmp_path_factory.mktemp("stored") / "small.ipynb"
    cells = [
        new_code_cell("shares = [0.25, 1.0]\nprint(shares[0])"),
        new_code_cell("assert shares[0] < shares[1]"),
        new_code_cell(FIGURE),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    tool.execute(path)
    return path


@pytest.fixture
def small(stored):
    return nbformat.read(stored, as_version=4)


def test_executing_stores_outputs_and_nothing_else(stored, small):
    """Whole or not at all: no other file is left beside the notebook."""
    assert list(stored.parent.iterdir()) == [stored]
    assert outputs(small)[0].text == "0.25\n" and len(pictures(small)) == 1
    assert [cell.id for cell in small.cells] == [
        "00-shares-0-25-1",
        "01-assert-shares-0-shares",
        "02-from-matplotlib-figure-import",
    ]


def test_the_set_up_cell_is_written_once_and_in_order(small):
    """In place of an earlier one; the numbers of outputs follow."""
    small.cells[0].outputs.append(new_output("execute_result", {"text/plain": "1"}))
    for _ in range(2):
        small = tool.with_setup(small)
        assert [cell.metadata.get("tags", []) for cell in small.cells] == [[], ["setup"], [], []]
        assert out_of_order(small) == [] and changed_by_saving(small) == ""
    assert small.cells[0].outputs[-1].execution_count == 1
    small.cells[2].execution_count = None
    assert out_of_order(tool.with_setup(small)) == [1, 2, None, 4]
    assert outputs(small)[0].text == "0.25\n" and len(pictures(small)) == 1


ASCII = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
ASCII.pop("PYTHONIOENCODING", None)


def test_an_ascii_locale_executes_and_stores_what_no_ascii_holds(tmp_path):
    path = tmp_path / "letters.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell('print("δ ≤ 0 →")')]), path)
    command = [sys.executable, tool.__file__, str(path)]
    encoding = [sys.executable, "-c", "import sys; print(sys.stdout.encoding)"]
    shown = subprocess.run(encoding, env=ASCII, capture_output=True, check=True).stdout
    assert b"utf" not in shown.lower()  # the locale is in force

    subprocess.run(command, env=ASCII, capture_output=True, check=True)
    assert list(tmp_path.iterdir()) == [path]
    assert outputs(nbformat.read(path, as_version=4))[0].text == "δ ≤ 0 →\n"


def saved_by_jupyterlab(notebook):
    """JupyterLab adds to the metadata which Python it ran."""
    notebook.metadata.language_info = {"name": "python", "version": "3.11.2"}


def run_by_jupyterlab(notebook):
    """It also keeps when a cell ran."""
    notebook.cells[0].metadata = {"execution": {"iopub.status.busy": "2026-01-01T00:00:00"}}


def edited_by_jupyterlab(notebook):
    """A new cell has a random id."""
    notebook.cells.insert(0, new_code_cell("shares"))


@pytest.mark.parametrize("save", [saved_by_jupyterlab, run_by_jupyterlab, edited_by_jupyterlab])
def test_what_jupyterlab_saves_is_noticed_and_the_message_names_the_repair(small, save):
    assert changed_by_saving(small) == ""
    save(small)
    assert "`make notebooks`" in changed_by_saving(small)


def test_a_text_printed_in_pieces_is_stored_as_one():
    """Where a kernel cuts it depends on its load."""
    pieces = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    pieces.append(new_output("stream", name="stderr", text="c\n"))
    assert [output.text for output in tool.joined(pieces)] == ["a\nb\n", "c\n"]


def test_a_notebook_that_fails_is_left_as_it_was(tmp_path):
    path = tmp_path / "fails.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1"), new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError):
        tool.execute(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_notebook_that_cannot_be_written_is_left_as_it_was(tmp_path, monkeypatch):
    """A full disk leaves no half file beside it."""
    path = tmp_path / "runs.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        tool.execute(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def refuse_to_write(self):
    raise PermissionError(13, "Permission denied", str(self))


def test_a_folder_that_cannot_be_written_is_one_line_before_anything_is_executed(
    tmp_path, monkeypatch
):
    path = tmp_path / "runs.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("open('executed', 'x').close()")]), path)
    monkeypatch.setattr(results.Path, "touch", refuse_to_write)
    monkeypatch.setattr(sys, "argv", ["notebooks.py", str(path)])
    with pytest.raises(SystemExit) as refusal:
        runpy.run_path(tool.__file__, run_name="__main__")
    refused = rf"notebooks: folder {tmp_path} cannot be written to \(.*Permission denied: .*\)"
    assert re.fullmatch(refused, refusal.value.code)
    assert list(tmp_path.iterdir()) == [path]


def passes_nbval(notebook, folder):
    """nbval's verdict on a notebook, in a process of its own."""
    path = folder / "copy.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", str(path)]
    return subprocess.run(command, check=False, capture_output=True, cwd=folder).returncode == 0


def test_nbval_passes_the_true_copy(small, tmp_path):
    assert passes_nbval(small, tmp_path)


def with_another_number(notebook):
    outputs(notebook)[0].text = "0.26\n"


def with_the_assert_turned_round(notebook):
    notebook.cells[1].source = "assert not shares[0] < shares[1]"


def with_other_data_under_the_figure(notebook):
    notebook.cells[2].source = f"shares = [0.25, 0.5]\n{FIGURE}"


@pytest.mark.parametrize(
    "tamper", [with_another_number, with_the_assert_turned_round, with_other_data_under_the_figure]
)
def test_nbval_catches_what_was_tampered_with(small, tmp_path, tamper):
    tamper(small)
    assert not passes_nbval(small, tmp_path)


def test_the_checks_above_catch_what_nbval_lets_pass(small):
    """Each is silent on the true notebook, and not on a changed one."""
    assert claims(small) != []
    for check in (out_of_order, undescribed, unasserted_figures, unexplained_markers):
        assert check(small) == []

    small.cells[1].execution_count = None
    assert out_of_order(small) == [1, None, 3]

    del pictures(small)[0].metadata["image/png"]
    assert len(undescribed(small)) == 1

    small.cells[0].source = "# NBVAL_SKIP\nshares = [0.25, 1.0]"
    assert unexplained_markers(small) == ["# NBVAL_SKIP"]
    small.cells[0].source = "# NBVAL_SKIP\n# It takes an hour.\nshares = [0.25, 1.0]"
    assert unexplained_markers(small) == []

    small.cells[1].source = "assert True"
    small.cells[2].source = FIGURE.replace("assert max(shares) == 1.0\n", "")
    assert len(unasserted_figures(small)) == 1 and claims(small) == []

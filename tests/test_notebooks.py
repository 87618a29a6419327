"""What nbval lets pass, checked here: cells not executed, missing asserts, silent images."""

import ast
import base64
import copy
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = [
    "00_start_here",
    "01_flip_flops_and_a_tiny_gpt",
    "02_failure_one_nothing_is_ever_removed",
    "03_failure_two_distance_overrules_content",
    "04_threshold_relative_attention",
    "05_length_generalisation",
    "06_inside_the_model",
    "07_where_it_breaks",
    "08_longer_and_faster",
    "09_language_modelling",
]
EXERCISES = [f"exercises/{name}" for name in NAMES[1:7]]
MARKERS = {}  # notebook: how many NBVAL markers it holds; none so far


@pytest.fixture(params=NAMES + EXERCISES)
def notebook(request):
    return nbformat.read(NOTEBOOKS / f"{request.param}.ipynb", as_version=4)


@pytest.fixture(params=NAMES)
def chapter(request):
    return nbformat.read(NOTEBOOKS / f"{request.param}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_the_list_of_notebooks_is_written_down():
    """A notebook that is lost, or added without being listed, is noticed."""
    found = [path.relative_to(NOTEBOOKS) for path in NOTEBOOKS.glob("**/[0-9]*.ipynb")]
    assert sorted(path.with_suffix("").as_posix() for path in found) == NAMES + EXERCISES


def unexecuted(notebook):
    """The execution counts, if they are not 1, 2, 3, ..."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    return counts if counts != list(range(1, len(counts) + 1)) else None


def test_every_cell_was_executed_in_order_and_without_error(notebook):
    assert unexecuted(notebook) is None
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output
    assert "widgets" not in notebook.metadata


def test_the_stored_form_is_the_one_that_executing_leaves(notebook):
    """Readable ids, one output for one printed text, no versions: normalising changes nothing."""
    sys.path.insert(0, str(NOTEBOOKS.parent / "tools"))
    from notebooks import joined, normalised

    before = nbformat.writes(notebook)
    assert nbformat.writes(normalised(copy.deepcopy(notebook))) == before
    pieces = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    assert [output.text for output in joined(pieces)] == ["a\nb\n"]


def claims(notebook):
    """Asserts on something computed: those in which a name is read."""
    trees = [ast.parse(cell.source) for cell in code_cells(notebook)]
    found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    return [one for one in found if any(isinstance(node, ast.Name) for node in ast.walk(one.test))]


def test_every_notebook_asserts_what_it_claims(chapter):
    assert len(claims(chapter)) >= 1


def test_markers_that_switch_checks_off_are_counted_and_explained():
    for name in NAMES + EXERCISES:
        cells = code_cells(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))
        lines = [line for cell in cells for line in cell.source.splitlines()]
        marked = [number for number, line in enumerate(lines) if "NBVAL" in line]
        assert len(marked) == MARKERS.get(name, 0)
        for number in marked:
            assert re.fullmatch(r"# NBVAL_\w+", lines[number]), "a marker must stand alone"
            assert lines[number + 1].startswith("# "), "its reason stands on the next line"


def undescribed(notebook):
    """Images without alternative text of twenty characters."""
    images = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    return [
        output for output in images if len(output.metadata.get("image/png", {}).get("alt", "")) < 20
    ]


def asserts(cell):
    """Whether a cell claims anything: an assert, or torch's assert_close."""
    nodes = list(ast.walk(ast.parse(cell.source)))
    return any(isinstance(node, ast.Assert) for node in nodes) or "assert_close(" in cell.source


def unasserted_figures(notebook):
    """Figures whose own cell claims nothing: nbval does not compare images."""
    return [
        cell.source
        for cell in code_cells(notebook)
        if any("image/png" in output.get("data", {}) for output in cell.outputs)
        and not asserts(cell)
    ]


def test_every_image_says_what_it_shows_and_its_data_is_asserted(notebook):
    assert undescribed(notebook) == []
    assert unasserted_figures(notebook) == []
    for output in outputs(notebook):
        if "image/png" in output.get("data", {}):
            assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")


def test_outputs_hold_no_path_time_or_version(notebook):
    for output in outputs(notebook):
        text = output.get("text", "") + output.get("data", {}).get("text/plain", "")
        assert not re.search(r"/home/|/root/|/tmp/|/work/|0x[0-9a-f]{6}|\d\d:\d\d:\d\d", text), text


def test_every_notebook_opens_and_closes_as_the_reader_expects(chapter):
    """A title and a prediction at the start; limits, exercises and sources at the end."""
    prose = [cell.source for cell in chapter.cells if cell.cell_type == "markdown"]
    assert prose[0].startswith("# ")
    everything = "\n".join(prose)
    assert everything.lower().count("predict") >= 2
    for heading in ("What was shown", "What was not shown", "Exercises", "Sources"):
        assert f"## {heading}" in everything, heading
    assert everything.count("<details>") >= 3


def checked(notebook, folder):
    """nbval's verdict on a notebook, in a process of its own: True if it passes."""
    path = folder / "copy.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", str(path)]
    return subprocess.run(command, check=False, capture_output=True, cwd=folder).returncode == 0


def small_notebook():
    """The quickest notebook, as a base of the corruptions below."""
    return nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4)


def test_nbval_passes_the_true_copy_and_catches_what_was_tampered_with(tmp_path):
    """A changed number, an assert turned round, and other data under a figure."""
    true = small_notebook()
    assert checked(true, tmp_path)

    changed = copy.deepcopy(true)
    texts = [output for output in outputs(changed) if re.search(r"\d", output.get("text", ""))]
    texts[0].text = re.sub(
        r"\d", lambda digit: str((int(digit[0]) + 1) % 10), texts[0].text, count=1
    )
    assert not checked(changed, tmp_path)

    turned = copy.deepcopy(true)
    cell = next(
        cell for cell in code_cells(turned) if re.search(r"^assert ", cell.source, re.MULTILINE)
    )
    cell.source = re.sub(
        r"^assert (.*)$", r"assert not (\1)", cell.source, count=1, flags=re.MULTILINE
    )
    assert not checked(turned, tmp_path)

    redrawn = copy.deepcopy(true)
    cell = next(cell for cell in code_cells(redrawn) if "plots.show(" in cell.source)
    other = 'for run in runs:\n    run["rows"][-1]["exact_match"] = 0.5\n'
    cell.source = other + cell.source
    assert not checked(redrawn, tmp_path)


def test_the_checks_above_catch_what_nbval_lets_pass():
    """An execution count taken away, an alternative text taken away, an assert under a figure."""
    true = small_notebook()
    assert unexecuted(true) is None and not undescribed(true) and not unasserted_figures(true)

    skipped = copy.deepcopy(true)
    code_cells(skipped)[1].execution_count = None
    assert unexecuted(skipped)

    silent = copy.deepcopy(true)
    for output in outputs(silent):
        output.get("metadata", {}).pop("image/png", None)
    assert undescribed(silent)

    careless = copy.deepcopy(true)
    for cell in code_cells(careless):
        cell.source = re.sub(r"^( *)assert .*$", r"\1pass", cell.source, flags=re.MULTILINE)
    assert unasserted_figures(careless) and not claims(careless)

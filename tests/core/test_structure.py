"""The house itself: what tra_mini holds, who imports whom, nothing unfinished."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import oracles
import pytest

ROOT = Path(__file__).parents[2]
LEARNERS_NOTEBOOKS = ("01", "02", "03", "04", "06")
FILES = {  # of tra_mini, and the modules of tra_mini that each may import
    "attention": [],
    "mechanisms": ["attention"],
    "model": ["attention", "mechanisms"],
    "tasks": [],
    "evaluation": [],
    "training": ["attention", "mechanisms", "model", "tasks", "evaluation"],
    "plots": [],
    "__init__": ["attention", "mechanisms", "model", "tasks", "evaluation", "training"],
    "__main__": ["", "training"],  # "": the public names
}


def code_of(path):
    """The text of a Python file, or of a notebook's code cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def imports_of(path):
    """The full names of all that a file imports, wherever in it: {"torch", "tra_mini.plots", ...}.

    `from a import b` counts as a.b if that is a file of the project, else as a.
    """
    names = set()
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:  # a relative import
                module = f"{path.parent.name}.{module}".strip(".")
            for alias in node.names:
                full_name = f"{module}.{alias.name}"
                is_file = (ROOT / full_name.replace(".", "/")).with_suffix(".py").exists()
                if is_file:
                    names.add(full_name)
                else:
                    names.add(module)
    return names


def wrong_imports(paths, packages):
    """["model.py imports experiments.runs", ...]: every import of these packages."""
    faults = []
    for path in sorted(paths):
        for name in sorted(imports_of(path)):
            if name.split(".")[0] in packages:
                faults.append(f"{path.name} imports {name}")
    return faults


def wrong_directions(package):
    """["plots.py imports tra_mini.model", ...]: every import in tra_mini that FILES excludes."""
    faults = []
    for module, allowed in FILES.items():
        path = package / f"{module}.py"
        for name in sorted(imports_of(path)):
            top, _, rest = name.partition(".")
            if top == "tra_mini" and rest not in allowed:
                faults.append(f"{path.name} imports {name}")
    return faults


def sizes(package):
    """{file name: its number of lines}, of all files that are not Python's own cache."""
    lines = {}
    for path in package.rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            name = str(path.relative_to(package))
            lines[name] = len(path.read_text(encoding="utf-8").splitlines())
    return lines


def size_faults(package):
    """What design.md excludes: a file too many or too few, more than 130 or 575 lines."""
    lines = sizes(package)
    faults = []
    if set(lines) != {f"{module}.py" for module in FILES}:
        faults.append(f"files: {sorted(lines)}")
    for name in sorted(lines):
        if lines[name] > 130:
            faults.append(f"{name} has {lines[name]} lines")
    if sum(lines.values()) > 575:
        faults.append(f"all files have {sum(lines.values())} lines")
    return faults


def notebook(number):
    """The path of the notebook with this number."""
    [path] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return path


# The size of tra_mini


def test_tra_mini_is_nine_files_of_at_most_575_lines():
    assert len(FILES) == 9
    assert size_faults(ROOT / "tra_mini") == []


# Imports run one way


def test_tra_mini_imports_neither_experiments_nor_tools():
    tools = [path.stem for path in (ROOT / "tools").glob("*.py")]
    paths = (ROOT / "tra_mini").glob("*.py")
    assert wrong_imports(paths, ["experiments", "tools", *tools]) == []


def test_experiments_import_nothing_from_tools():
    """Tools import each other by their file names, so these are excluded too."""
    tools = [path.stem for path in (ROOT / "tools").glob("*.py")]
    paths = list((ROOT / "experiments").rglob("*.py"))
    assert len(paths) > 9
    assert wrong_imports(paths, ["tools", *tools]) == []


def test_inside_tra_mini_imports_run_one_way():
    """attention, mechanisms, model, training; tasks and evaluation; plots alone."""
    assert wrong_directions(ROOT / "tra_mini") == []


def test_these_tests_need_nothing_from_experiments():
    assert wrong_imports(Path(__file__).parent.glob("*.py"), ["experiments"]) == []


@pytest.mark.parametrize("number", LEARNERS_NOTEBOOKS)
def test_the_learners_notebooks_need_only_tra_mini(number):
    assert any(name.startswith("tra_mini") for name in imports_of(notebook(number)))
    assert wrong_imports([notebook(number)], ["experiments", "tools"]) == []


def test_importing_tra_mini_prints_nothing_and_leaves_experiments_alone():
    """And MECHANISMS and STYLE then hold the learner's mechanisms alone."""
    script = f"""
import sys
import tra_mini
from tra_mini.plots import STYLE

assert not any(name.split(".")[0] == "experiments" for name in sys.modules)
assert set(tra_mini.MECHANISMS) == set(STYLE) == set({oracles.CORE})
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Nothing unfinished


@pytest.mark.parametrize("folder", ["tra_mini", "experiments", "tools"])
def test_no_code_is_marked_as_unfinished(folder):
    for path in (ROOT / folder).glob("*.py"):
        marks = re.findall(r"\b(?:TODO|FIXME|XXX)\b", path.read_text(encoding="utf-8"))
        assert marks == [], path


# The checks themselves: each reports a fault that is planted in a copy


@pytest.fixture
def copy(tmp_path):
    """A copy of tra_mini to spoil."""
    return shutil.copytree(ROOT / "tra_mini", tmp_path / "tra_mini")


def append(path, code):
    path.write_text(path.read_text(encoding="utf-8") + code, encoding="utf-8")


def test_a_planted_import_is_reported(copy):
    """At the top of a file or inside a function, of a package or of a name in it."""
    append(copy / "model.py", "\ndef later():\n    from experiments.runs import run\n")
    append(copy / "tasks.py", "\nimport experiments.grids as grids, tools\n")
    append(copy / "plots.py", "\nfrom tra_mini import model\n")
    append(copy / "attention.py", "\nfrom .training import train\n")
    append(copy / "evaluation.py", "\nfrom . import tasks\nfrom tra_mini import train\n")
    assert wrong_imports(copy.glob("*.py"), ["experiments", "tools"]) == [
        "model.py imports experiments.runs",
        "tasks.py imports experiments.grids",
        "tasks.py imports tools",
    ]
    assert wrong_directions(copy) == [
        "attention.py imports tra_mini.training",
        "evaluation.py imports tra_mini",
        "evaluation.py imports tra_mini.tasks",
        "plots.py imports tra_mini.model",
    ]


def test_a_planted_import_in_a_notebook_is_reported(tmp_path):
    """In a code cell; prose may speak of it."""
    prose = {"cell_type": "markdown", "source": ["import experiments.text"]}
    code = {"cell_type": "code", "source": ["import torch\n", "from experiments import stored"]}
    path = tmp_path / "01_planted.ipynb"
    path.write_text(json.dumps({"cells": [prose, code]}), encoding="utf-8")
    assert wrong_imports([path], ["experiments"]) == ["01_planted.ipynb imports experiments"]


def test_planted_lines_and_files_are_reported(copy):
    longer = 131 - sizes(copy)["model.py"]
    append(copy / "model.py", longer * "# more\n")
    (copy / "more").mkdir()
    (copy / "more" / "extra.py").write_text("", encoding="utf-8")
    [files, length, total] = size_faults(copy)
    assert "more/extra.py" in files
    assert length == "model.py has 131 lines"
    assert total.startswith("all files have ")

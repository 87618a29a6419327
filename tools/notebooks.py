"""Executes the notebooks in reading order and stores them normalised: twice leaves no difference.

python tools/notebooks.py [NOTEBOOK ...]   without names, all of them, the exercises last
python tools/notebooks.py setup            only writes the set-up cell below each title
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from tqdm import tqdm

from experiments.results import check_writable, write

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS_A_CELL = 300
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("tags", "slideshow")  # of a cell's metadata

# Where git can fetch this project, such as "https://github.com/OWNER/REPOSITORY". Once there is an
# address, write it here and run: python tools/notebooks.py setup
ADDRESS = ""
MISSING = """from importlib.util import find_spec

if not find_spec("tra_mini"):  # as on Colab; at home this cell does nothing
    advice = "get the whole project, then run `make setup` and `make lab` in its folder"
    raise ImportError(f"tra_mini is missing here: {advice}")"""
FETCHED = """import sys
from importlib.util import find_spec

if not find_spec("tra_mini"):  # as on Colab; at home this cell does nothing
    get_ipython().system("[ -d tra ] || git clone {address} tra")
    sys.path.append("tra")"""


def execute(path):
    """Runs a notebook in its own folder, in a fresh kernel; replaces it only if all succeed."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    store(normalised(notebook), path)


def store(notebook, path):
    """Writes a notebook, whole or not at all."""
    text = nbformat.writes(notebook) + "\n"
    write(path, lambda file: file.write(text.encode()))


def normalised(notebook):
    """Readable cell ids in place of random ones; no versions, timings or widgets."""
    notebook.metadata = METADATA
    notebook.nbformat = 4
    notebook.nbformat_minor = 5
    for number, cell in enumerate(notebook.cells):
        words = re.findall(r"[a-z0-9]+", cell.source.lower())[:4]
        cell.id = "-".join([f"{number:02}", *words])[:60]
        for name in list(cell.metadata):
            if name not in KEPT:
                del cell.metadata[name]
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def setup_source(address=ADDRESS):
    """The code of the set-up cell: where tra_mini is missing it fetches it, or says what to do."""
    if address:
        return FETCHED.format(address=address)
    return MISSING


def with_setup(notebook):
    """The notebook with its set-up cell below the title; what was executed is numbered anew."""
    cells = [cell for cell in notebook.cells if "setup" not in cell.metadata.get("tags", [])]
    metadata = {"tags": ["setup"], "slideshow": {"slide_type": "skip"}}
    cells.insert(1, new_code_cell(setup_source(), metadata=metadata, execution_count=1))
    code_cells = [cell for cell in cells if cell.cell_type == "code"]
    for number, cell in enumerate(code_cells, 1):
        if cell.execution_count is None:
            continue
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    notebook.cells = cells
    return normalised(notebook)


def joined(outputs):
    """Pieces of one printed text as one: where a kernel cuts it depends on its load."""
    whole = []
    for output in outputs:
        output.get("metadata", {}).pop("needs_background", None)
        if whole and output.output_type == "stream" and output.name == whole[-1].get("name"):
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def main(*arguments):
    """The command line."""
    every = sorted(NOTEBOOKS.glob("*.ipynb")) + sorted(NOTEBOOKS.glob("exercises/*.ipynb"))
    if arguments == ("setup",):
        for path in every:
            store(with_setup(nbformat.read(path, as_version=4)), path)
        return
    named = [Path(name).resolve() for name in arguments]
    for path in tqdm(named or every, unit="notebook", disable=None):
        check_writable(path.parent)
        execute(path)
        print("executed:", "/".join(path.parts[-2:]))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"notebooks: {error}")

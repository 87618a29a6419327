"""Executes the notebooks in reading order and stores them normalised: twice leaves no difference.

python tools/notebooks.py [NOTEBOOK ...]; without names, all of them, the exercises last.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from experiments.results import write

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS_A_CELL = 300
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT = ("tags", "slideshow")  # of a cell's metadata


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
    text = nbformat.writes(normalised(notebook)) + "\n"
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


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]]
    if not paths:
        paths = sorted(NOTEBOOKS.glob("*.ipynb")) + sorted(NOTEBOOKS.glob("exercises/*.ipynb"))
    for path in tqdm(paths, unit="notebook", disable=None):
        execute(path)
        print("executed:", "/".join(path.parts[-2:]))

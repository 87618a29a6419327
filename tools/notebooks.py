"""Executes the notebooks in reading order and stores them normalised: twice leaves no difference.

python tools/notebooks.py [NOTEBOOK ...]; without names, all of them, the exercises last.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS_A_CELL = 300


def execute(path):
    """Runs a notebook in its own folder, in a fresh kernel; replaces it only if all succeed."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    beside = path.with_suffix(".executed")
    beside.write_text(nbformat.writes(normalised(notebook)) + "\n")
    beside.replace(path)


def normalised(notebook):
    """Readable cell ids in place of random ones; no versions, timings or widgets."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        words = re.findall(r"[a-z0-9]+", cell.source.lower())[:4]
        cell.id = "-".join([f"{number:02}", *words])[:60]
        cell.metadata = {
            name: cell.metadata[name] for name in ("tags", "slideshow") if name in cell.metadata
        }
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
    ours = sorted(NOTEBOOKS.glob("*.ipynb")) + sorted(NOTEBOOKS.glob("exercises/*.ipynb"))
    chosen = [Path(name).resolve() for name in sys.argv[1:]] or ours
    for path in tqdm(chosen, unit="notebook", disable=None):
        execute(path)
        print(f"executed: {path.relative_to(NOTEBOOKS.parent)}")

"""The check of the notebooks with other seeds and on other processors: what it notices."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import tra_mini
from experiments import runs
from tra_mini import GPT, GPTConfig, training

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import robust


def test_every_seed_set_by_a_number_is_moved_and_nothing_else():
    source = 'torch.manual_seed(0)\nmodel = trained("tra", seed=3)\nfor seed in range(3):\n'
    moved = 'torch.manual_seed(4)\nmodel = trained("tra", seed=7)\nfor seed in range(3):\n'
    assert robust.with_seeds(source, 4) == moved
    for kept in ("n_seed=3", "manual_seed(length)", 'run["seed"] == 5', "seed = 5"):
        assert robust.with_seeds(kept, 4) == kept


def test_a_model_that_did_not_learn_is_told_apart(monkeypatch):
    monkeypatch.setattr(training, "trained", lambda mechanism, seed: GPT(GPTConfig()))
    with pytest.raises(robust.NotLearned, match="tra with seed 8 did not learn at 64 tokens"):
        robust.trained("tra", seed=8)


def test_a_model_that_learned_is_handed_on(monkeypatch):
    model = object()
    monkeypatch.setattr(training, "trained", lambda mechanism, seed: model)
    monkeypatch.setattr(robust, "accuracy_by_length", lambda *given, **more: [{"loss": 0.01}])
    assert robust.trained("rope", seed=1) is model


def test_each_processor_has_models_of_its_own(monkeypatch):
    monkeypatch.setattr(tra_mini, "trained", tra_mini.trained)
    for module in (training, runs):
        monkeypatch.setattr(module, "MODELS", robust.MODELS)
    robust.prepare(None)
    assert training.MODELS == robust.MODELS and tra_mini.trained is robust.trained
    robust.prepare("default")
    assert training.MODELS == runs.MODELS == robust.MODELS / "default"


def error(name, line):
    """An error as a kernel reports it: with colours, and an arrow before the line."""
    traceback = [f"\x1b[31m{name}\x1b[39m", f"----> 2 \x1b[33m{line}\x1b[39m"]
    return new_output("error", ename=name, evalue="", traceback=traceback)


def cell(source, *outputs):
    return new_code_cell(source, outputs=list(outputs))


def prints(text):
    return new_output("stream", name="stdout", text=text)


def test_what_fails_is_named_by_its_line_and_a_text_only_if_it_is_compared():
    cells = [
        (cell("print(a)", prints("0.25\n")), cell("print(a)", prints("0.26\n"))),
        (cell("# NBVAL_IGNORE_OUTPUT", prints("1\n")), cell("", prints("2\n"))),
        (cell("assert a < 1"), cell("assert a < 1", error("AssertionError", "assert a < 1"))),
    ]
    failed = (3, "AssertionError: assert a < 1")
    assert robust.faults(cells, compare_text=False) == [failed]
    assert robust.faults(cells, compare_text=True) == [(1, "prints '0.26\\n'"), failed]

    cells.append((cell(""), cell("", error("NotLearned", "model = trained()"))))
    with pytest.raises(robust.NotLearned):
        robust.faults(cells, compare_text=True)


@pytest.fixture
def notebook(tmp_path):
    """A notebook whose claim holds for seeds 0 and 1, and whose text depends on the processor."""
    path = tmp_path / "01_small.ipynb"
    capability = "import torch\nprint(torch.backends.cpu.get_cpu_capability())"
    cells = [
        new_markdown_cell("seed=0"),
        new_code_cell("number = dict(seed=0)['seed']"),
        new_code_cell("assert number < 2\nprint('small')", outputs=[prints("small\n")]),
        new_code_cell(capability, outputs=[prints("another\n")]),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_a_notebook_is_checked_with_each_seed_and_processor(notebook, monkeypatch, capsys):
    """The stored notebook is not touched."""
    before = notebook.read_bytes()
    monkeypatch.setattr(robust, "PROCESSORS", ("default",))
    assert not robust.main([notebook], seeds=2)
    assert notebook.read_bytes() == before

    printed = capsys.readouterr().out
    assert "01_small.ipynb, default: code cell 3: prints 'DEFAULT\\n'" in printed
    assert "01_small.ipynb, seeds + 1: ok" in printed
    assert "01_small.ipynb, seeds + 2: code cell 2: AssertionError: assert number < 2" in printed
    heads, row = printed.splitlines()[-2:]
    assert heads.split() == ["default", "1", "2"]
    assert row.split()[1:] == ["cell", "3", "ok", "cell", "2"]


def test_all_is_well_if_only_seeds_that_did_not_learn_are_skipped(notebook, monkeypatch):
    words = iter(["ok", "skipped"])
    monkeypatch.setattr(robust, "PROCESSORS", ())
    monkeypatch.setattr(robust, "check", lambda path, **column: next(words))
    assert robust.main([notebook], seeds=2)

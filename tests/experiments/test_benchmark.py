"""The benchmark: its three forms of TRA compute the same, so that their times can be compared."""

import re
import runpy
import sys

import pytest
import torch
import torch.nn.functional as F

from experiments import benchmark, results
from experiments.benchmark import FORMS, inputs


@torch.no_grad()
def test_all_forms_of_tra_agree():
    """On the shape of the ratios' table, cut to 200 tokens."""
    tensors = inputs((2, 4, 200, 16))
    for name in ("blocked", "early"):
        torch.testing.assert_close(
            FORMS[name](*tensors), FORMS["naive"](*tensors), atol=1e-5, rtol=1e-4
        )


def test_inputs_are_as_a_model_has_them():
    """Unit root mean squares of q and k, gates at most 0, the same on every call."""
    q, k, v, log_forget = inputs((2, 4, 64, 16))
    for vectors in (q, k):
        torch.testing.assert_close(vectors, F.rms_norm(vectors, (16,)))
    assert v.shape == q.shape
    assert (log_forget <= 0).all()
    assert torch.equal(q, inputs((2, 4, 64, 16))[0])


@pytest.mark.parametrize(
    ("backward", "forms"),
    [(False, ["naive", "blocked", "early", "fused"]), (True, ["naive", "blocked", "fused"])],
)
def test_every_form_is_timed_that_can_be(backward, forms):
    """Stopping early has no gradients."""
    times = benchmark.milliseconds((1, 1, 8, 4), backward, 2)
    assert list(times) == forms
    assert all(time > 0 for time in times.values())


def refuse_to_write(self):
    raise PermissionError(13, "Permission denied", str(self))


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_results_that_cannot_be_written_are_one_line_before_anything_is_timed(monkeypatch):
    monkeypatch.setattr(results.Path, "touch", refuse_to_write)
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    with pytest.raises(SystemExit) as refusal:
        runpy.run_module("experiments.benchmark", run_name="__main__")
    refused = rf"benchmark: folder {results.RESULTS} cannot be written to \(.*\)"
    assert re.fullmatch(refused, refusal.value.code)

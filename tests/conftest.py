"""Settings for every test: the same examples each time, so that a failure repeats anywhere."""

import random

import hypothesis
import pytest
import torch

torch.set_num_threads(1)  # the tests run in two processes side by side
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=25
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def repeatable(monkeypatch):
    """The same random numbers in each test, whatever ran before it in the same process."""
    torch.manual_seed(0)
    monkeypatch.setattr(random, "SystemRandom", lambda: random.Random(0))  # of exercises' checks

"""Settings for every test: the same examples each time, so that a failure repeats anywhere."""

import hypothesis
import torch

torch.set_num_threads(1)  # the tests run in two processes side by side
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=25
)
hypothesis.settings.load_profile("repeatable")

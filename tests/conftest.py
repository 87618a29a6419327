"""Settings for every test: the same examples each time, so that a failure repeats anywhere."""

import hypothesis

hypothesis.settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=25
)
hypothesis.settings.load_profile("repeatable")

"""Workers of `pytest -n` share the cores: one thread each, for torch and for the commands that tests start."""

import os

from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# Generated cases are the same in every run; the profile "fuzz" takes more of them, and others each time.
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=200)
settings.register_profile("fuzz", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile("suite")

"""Workers of `pytest -n` share the cores: one thread each, for torch and for the commands that tests start."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

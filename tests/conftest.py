"""Imported before any test, at the top of the stack.

`hypothesis` is imported here, and not first by some test module: pytest rewrites its modules as they are imported, and
in the middle of a deep chain of imports CPython 3.11 now and then fails at it ("AST constructor recursion depth
mismatch", python/cpython#106905).
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a process for each core already, or they all wait

import hypothesis

from tests.s3 import server as server  # a fixture

hypothesis.settings.register_profile("fda", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fda")

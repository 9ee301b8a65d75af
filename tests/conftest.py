"""One thread for all that the tests compute: on tiny models more of them only wait for each other."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

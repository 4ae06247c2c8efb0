"""Under pytest the tests here find core_helpers just as under MicroPython (tests/upy/run.py)."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

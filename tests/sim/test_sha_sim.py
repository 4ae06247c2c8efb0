"""The simulated accelerator for SHA-256 (boards/SIM/sim_sha.py), in the MicroPython that has it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from gapcast_tools.upy import search

SIM = Path(__file__).parents[2] / "boards" / "SIM"
SECONDS = 30
SCRIPT = """
import sys
sys.path.append("%s")
try:
    import sim_sha
except OSError:
    print("null")
else:
    import json
    data = bytes(range(256)) * 9
    by_parts = sim_sha.sha256(data[:1])
    for at in range(1, len(data), 500):
        by_parts.update(memoryview(data)[at : at + 500])
    found = [sim_sha.sha256(), sim_sha.sha256(data), by_parts]
    print(json.dumps([one.digest().hex() for one in found]))
"""


def test_it_gives_what_hashlib_does(tmp_path: Path) -> None:
    quick, reasons = search(fetch=True, progress=lambda _text: None, quick=True)
    if quick is None:
        pytest.skip(f"no MicroPython: {'; '.join(reasons)}")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT % SIM)
    done = subprocess.run(
        [*quick.argv, str(script)], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    digests = json.loads(done.stdout)
    if digests is None:
        pytest.skip("no OpenSSL for this MicroPython")
    data = bytes(range(256)) * 9
    assert digests == [hashlib.sha256(each).hexdigest() for each in (b"", data, data)]

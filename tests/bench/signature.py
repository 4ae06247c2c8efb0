"""What a signature check costs in MicroPython, as a multiple of one 3072-bit pow(s, 65537, n) there.

    python tests/bench/signature.py [--rounds 300] [--json]

One process, alternating; medians. The ratio is what carries over to a board; the times are this machine's.
Exit code 1 when checking a header costs more than MAX_RATIO.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from gapcast_tools.upy import search

HERE = Path(__file__).resolve().parent
LIB = HERE.parents[1] / "firmware" / "lib"
VECTORS = HERE.parent / "vectors" / "pss.json"
MAX_RATIO = 1.5
LABELS = {
    "pow": "pow(s, 65537, n)",
    "verify_pss": "verify_pss: RSA-PSS alone",
    "check_header": "check_header: key, SHA-256, RSA-PSS",
    "parse_and_check": "parse_header and check_header",
}
Result = dict[str, dict[str, float]]


def measure(command: list[str], rounds: int) -> Result:
    """For each of LABELS: `us`, `ratio` to pow, `allocated_bytes`; all for one call."""
    script = str(HERE / "upy_signature.py")
    done = subprocess.run(
        [*command, script, str(LIB), str(VECTORS), str(rounds)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"the measurement failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found, reasons = search(fetch=False, progress=lambda _text: None)
    if found is None:
        sys.exit(f"no MicroPython: {'; '.join(reasons)}; `make setup` fetches it")
    result = measure([*found.argv], options.rounds)
    if options.json:
        print(json.dumps({"micropython": found.version, "rounds": options.rounds, **result}))
    else:
        version = ".".join(map(str, found.version))
        print(f"MicroPython {version} ({found.arch}), median of {options.rounds} rounds")
        for name, label in LABELS.items():
            row = result[name]
            print(
                f"{label:<38} {row['us']:>7.0f} us {row['ratio']:>6.3f} x {row['allocated_bytes']:>7} bytes"
            )
    return 0 if result["check_header"]["ratio"] <= MAX_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run the fuzzers at length:

    python tests/fuzz/run.py [--kind headers] [--count 1000000] [--seed 1]

A kind is a module beside this one: `cases(seed)` gives forged inputs without end, `judge(case)` says why
one is refused, or None when it would be accepted. A case that is accepted, an exception out of judge(), or
memory that grows by more than 16 MiB ends the run with exit code 1; the case is written to a file.
`tests/fuzz/test_*.py` run a few thousand in CI; GAPCAST_FUZZ=1000000 makes those as long.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = sorted(path.stem for path in HERE.glob("*.py") if "\ndef cases(" in path.read_text())
WARM_UP = 2000  # cases before memory is looked at
MAX_GROWTH_KIB = 16 << 10


class Found(Exception):
    """A case that was accepted, or crashed the judge."""


def fuzz(kind: str, count: int, seed: int) -> Counter[str]:
    """How often each reason was given.

    Raises:
        Found: With the case in a file.
    """
    sys.path.insert(0, str(HERE.parent))
    module = importlib.import_module(f"fuzz.{kind}")
    reasons: Counter[str] = Counter()
    for number, case in enumerate(islice(module.cases(seed), count)):
        try:
            reason = module.judge(case)
        except Exception as error:
            raise Found(f"case {number} crashed: {error!r}; {keep(kind, case)}") from error
        if reason is None:
            raise Found(f"case {number} was accepted; {keep(kind, case)}")
        reasons[reason] += 1
        if number == WARM_UP:
            before_kib = peak_kib()
    if count > WARM_UP and peak_kib() - before_kib > MAX_GROWTH_KIB:
        raise Found(f"memory grew by {peak_kib() - before_kib} KiB")
    return reasons


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def keep(kind: str, case: bytes) -> str:
    path = Path(f"fuzz-{kind}.bin")
    path.write_bytes(case)
    return f"it is in {path}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Forge inputs and see that all are refused.")
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--count", type=int, default=1_000_000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for kind in options.kind or KINDS:
        start = time.monotonic()
        try:
            reasons = fuzz(kind, options.count, options.seed)
        except Found as error:
            print(f"{kind}: {error}")
            return 1
        seconds = time.monotonic() - start
        print(f"{kind}: {options.count} cases refused in {seconds:.0f} s, peak {peak_kib()} KiB")
        print("   ", ", ".join(f"{reason} {number}" for reason, number in reasons.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

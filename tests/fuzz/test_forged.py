"""Forged headers and containers: none accepted, no other exception than the right ones, little memory each.

GAPCAST_FUZZ=1000000 runs as many of each kind as the issue asks for; so does tests/fuzz/run.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from fuzz import containers, headers, run
from gapcast_core.signature import check_header
from gapcast_tools.upy import Micropython

COUNT = int(os.environ.get("GAPCAST_FUZZ", "12000"))
SEED = 20261122
FOLDER = Path(__file__).parent
LIB = FOLDER.parents[1] / "firmware" / "lib"
KIB = 1 << 10


@pytest.mark.timeout(120 + COUNT // 500)
@pytest.mark.parametrize("kind", ["headers", "containers"])
def test_none_is_accepted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reasons = run.fuzz(kind, COUNT, SEED)
    assert reasons.total() == COUNT
    # The forger came as far as each of the hurdles.
    hurdles = {
        "bad_format",
        "bad_signature_place",
        "unsigned",
        "unknown_key",
        "bad_signature",
        "header_damaged",
    }
    assert hurdles <= set(reasons)
    assert reasons["bad_signature"] > COUNT / 5


def test_what_is_valid_is_accepted() -> None:
    for good in headers.SIGNED:
        assert headers.judge(good) is None
    for good in containers.SIGNED:
        assert containers.judge(good) is None


@pytest.mark.parametrize(("kind", "kib"), [("headers", 24), ("containers", 100)])
def test_memory_for_one_is_bounded(kind: str, kib: int) -> None:
    module = {"headers": headers, "containers": containers}[kind]
    worst = 0
    for case in islice(module.cases(SEED), 1000):
        tracemalloc.start()
        module.judge(case)
        worst = max(worst, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 1 * KIB < worst < kib * KIB


def test_both_pythons_give_the_same_reasons(micropython: Micropython, tmp_path: Path) -> None:
    cases = [*headers.SIGNED, *islice(headers.cases(SEED), 1500)]
    file = tmp_path / "cases"
    parts = [headers.KEYS[0].modulus.to_bytes(384, "big")]
    parts += [len(case).to_bytes(2, "big") + case for case in cases]
    file.write_bytes(b"".join(parts))
    command = [str(FOLDER / "upy_judge.py"), str(LIB), str(file)]
    lines = []
    for python in ([sys.executable], [*micropython.argv]):
        done = subprocess.run([*python, *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.splitlines())
    assert len(lines[0]) == len(cases)
    assert lines[0][0].endswith("taken taken")
    assert lines[0] == lines[1]


def careless(raw: bytes, keys: object, allow_unsigned: bool = False) -> bytes:
    return headers.KEYS[0].key_id


def absent_minded(raw: bytes, keys: list[object], allow_unsigned: bool = False) -> bytes | None:
    return check_header(raw, keys, allow_unsigned=True)  # type: ignore[no-any-return]


def crashing(raw: bytes, keys: object, allow_unsigned: bool = False) -> bytes:
    raise IndexError


@pytest.mark.parametrize("wrong", [careless, absent_minded, crashing])
@pytest.mark.parametrize("kind", ["headers", "containers"])
def test_a_wrong_check_is_found(
    kind: str, wrong: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr({"headers": headers, "containers": containers}[kind], "check_header", wrong)
    with pytest.raises(run.Found, match=r"crashed|accepted"):
        run.fuzz(kind, 1000, SEED)
    assert (tmp_path / f"fuzz-{kind}.bin").stat().st_size


def test_a_leak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = iter([50_000, 90_000, 90_000])
    monkeypatch.setattr(run, "peak_kib", lambda: next(peaks))
    monkeypatch.setattr(headers, "judge", lambda case: "refused")
    with pytest.raises(run.Found, match="grew by 40000 KiB"):
        run.fuzz("headers", run.WARM_UP + 2, SEED)

"""Forged reports: none is stored, none ends in another exception, and the history stays as it was.

GAPCAST_FUZZ=1000000 runs as many as the issue asks for; so does tests/fuzz/run.py --kind reports.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz import reports, run

COUNT = int(os.environ.get("GAPCAST_FUZZ", "20000"))


@pytest.mark.timeout(120 + COUNT // 500)
def test_none_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = [reports.FLEET.history(board_id) for board_id in reports.KEYS]
    reasons = run.fuzz("reports", COUNT, 20261122)
    assert reasons.total() == COUNT
    # The forger came as far as each of the hurdles.
    assert {
        "write_request",
        "two_blocks",
        "bad_length",
        "bad_magic",
        "bad_format",
        "bad_text",
        "unknown_board",
        "wrong_mac",
        "old_sequence",
    } <= set(reasons)
    assert reasons["wrong_mac"] > COUNT / 5
    assert [reports.FLEET.history(board_id) for board_id in reports.KEYS] == before


def test_the_judge_takes_what_is_true() -> None:
    """Else the fuzzer could not find anything."""
    fleet = reports.FLEET
    key = bytes(reversed(range(32)))
    fleet.add("true", key)
    try:
        assert reports.judge(b"report/true\0" + reports.told(key, "true", 1)) is None
        assert reports.judge(b"report/true\0" + reports.told(key, "true", 1, "other")) == "old_sequence"
    finally:
        fleet.remove("true")

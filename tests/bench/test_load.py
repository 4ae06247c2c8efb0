"""The server's cost, measured with as little as can be mended; and the sections of the report."""

from __future__ import annotations

import json
from pathlib import Path

from bench import load, report
from bench.case import Trial


def test_a_few_light_boards_get_their_file() -> None:
    found = load.measure(3, 512, "8M", 0.05)
    assert found["complete"]
    assert found["cpu_s"] >= 0
    assert found["memory_kib"] > 1000


def test_other_programs_have_their_sections(tmp_path: Path) -> None:
    section = {"title": "Flash", "why": "Because.", "header": ["a", "b"], "table": [["1", "2"]]}
    (tmp_path / "flash.json").write_text(json.dumps(section))
    board = {
        "micropython": "1.25.0 i386",
        "mul_us_per_kib": {"plain": 47.0},
        "decode_us": {},
        "per_s": {},
        "heap_bytes": {"client": 47648},
        "code_bytes": {},
        "update": {},
    }
    (tmp_path / "board.json").write_text(json.dumps(board))
    results = report.Results({}, [Trial("gapcast", "3x0", 1024, elapsed_s=1.0, air_bytes=1100)])
    results.sections = [report.extra(tmp_path / name) for name in ("flash.json", "board.json")]
    page = report.text(results)
    assert "## Flash\n\nBecause.\n\n| a | b |" in page
    assert "| heap: client | 47,648 | bytes |" in page

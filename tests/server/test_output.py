"""What the operator sees must never stop the server."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from gapcast.net import output
from gapcast.net.report import MAX_REFUSED_PER_S, Report


def test_a_full_pipe_costs_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_LINES", 10)
    monkeypatch.setattr(output, "CLOSE_S", 0.05)
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "w") as out:
        report = Report(True, out)
        for number in range(3000):
            report.line("event", {"number": number, "text": "x" * 100})
        report.tick()
        assert report.drops["output_lost"] > 100
        report.stopped()


def test_a_full_disk_is_counted() -> None:
    with open("/dev/full", "w") as out:
        report = Report(False, out)
        report.line("event", {"name": "x"})
        report.stopped()
        report.tick()
    assert report.drops["output_lost"] == 2


def test_any_name_goes_through_any_encoding_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w", encoding="ascii") as out:
        report = Report(False, out)
        for number in range(100):
            report.line("event", {"name": f"ä{number}"})
        report.stopped()
    lines = path.read_bytes().splitlines()
    assert [line.split()[2] for line in lines[:100]] == [b"name=\\xe4%d" % number for number in range(100)]


def test_a_reader_that_left_is_forgotten() -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as out:
        os.close(reader)
        report = Report(True, out)
        report.line("event", {})
        report.stopped()
    assert report.drops == {}


def test_a_closed_stream_in_memory_is_counted() -> None:
    out = io.StringIO()
    report = Report(True, out)
    out.close()
    report.line("event", {})
    report.tick()
    assert report.drops["output_lost"] == 1


def test_a_flood_of_refusals_is_counted() -> None:
    out = io.StringIO()
    report = Report(True, out)
    for _ in range(MAX_REFUSED_PER_S * 20):
        report.refused(("10.0.0.2", 1), "x" * 400, "not_found")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert MAX_REFUSED_PER_S <= len(lines) <= 3 * MAX_REFUSED_PER_S
    assert len(lines) + report.drops["refused_untold"] == MAX_REFUSED_PER_S * 20
    assert {len(line["name"]) for line in lines} == {100}

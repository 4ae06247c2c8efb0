"""Whether an update was one: the outcome, `ok` and the exit code never contradict each other."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, World
from sim_help import gapcast, one_line, read_json, serving

from gapcast.image.build import build_container
from gapcast.image.sample import build_sample
from gapcast_core import receiver
from gapcast_core.gaps import GapList
from gapcast_sim import board as board_module
from gapcast_sim.board import MAX_RESETS, SimBoard
from gapcast_sim.display import air_lines, problem_lines, result_table, status_line
from gapcast_sim.fleet import Fleet, FleetSpec
from gapcast_sim.image import BenchImage
from gapcast_sim.picture import write_picture
from gapcast_sim.provision import BoardSpec
from gapcast_sim.result import BoardResult, Recorder
from gapcast_sim.runtime import Runtime, find_runtime
from gapcast_sim.server import ServerProcess

# A board that says what a board says; {tail} is its application.
STORY = """
import json, sys, time
def tell(event, **fields):
    print(json.dumps({{"event": event, "ms": 1, **fields}}), flush=True)
tell("boot", slot=0)
tell("header", version="2.0.0", container_bytes=21024)
tell("result", outcome={outcome!r}, detail="because", heap_peak_bytes=7, slot_bytes=0)
tell("application", preboot_us=1)
{tail}
"""
REPORT = 'tell("app", version="2.0.0", heap_peak_bytes=5, slot=0)\n'


def run_story(
    tmp_path: Path, tail: str, outcome: str = "up_to_date", **more: Any
) -> tuple[SimBoard, list[dict[str, Any]]]:
    """A board whose process is a Python script."""
    seen: list[dict[str, Any]] = []
    code = STORY.format(tail=tail, outcome=outcome)
    spec = BoardSpec("b", tmp_path, "127.0.0.1", 6969, "image", "127.0.0.1", limit_s=20)
    board = SimBoard(
        replace(spec, **more),
        Runtime("story", (sys.executable, "-c", code), is_micropython=False),
        lambda _board, event: seen.append(event),
    )
    asyncio.run(board.run())
    return board, seen


def test_an_application_that_reports_and_ends(tmp_path: Path) -> None:
    board, _events = run_story(tmp_path, REPORT)
    assert (board.ok, board.result.outcome, board.result.heap_peak_bytes) == (True, "up_to_date", 7)


def test_an_application_that_raises_after_its_report_failed(tmp_path: Path) -> None:
    board, _events = run_story(tmp_path, REPORT + "raise ValueError('boom')")
    assert (board.ok, board.result.outcome) == (False, "failed")
    assert board.result.detail == "its process ended with code 1: ValueError: boom"
    assert any("Traceback" in text for text in board.result.notes)


def test_firmware_that_runs_on_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "APP_GRACE_S", 0.1)
    started = time.monotonic()
    board, _events = run_story(tmp_path, REPORT + "time.sleep(60)")
    assert time.monotonic() - started < 10
    assert (board.ok, board.result.outcome) == (True, "up_to_date")


def test_an_application_that_fails_within_the_grace_failed(tmp_path: Path) -> None:
    board, _events = run_story(tmp_path, REPORT + "sys.exit(9)")
    assert (board.ok, board.result.outcome) == (False, "failed")
    assert "code 9" in board.result.detail


def test_a_limit_within_the_grace_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "APP_GRACE_S", 60)
    board, _events = run_story(tmp_path, REPORT + "time.sleep(60)", limit_s=2.0)
    assert (board.ok, board.result.outcome) == (True, "up_to_date")


def test_an_application_that_never_reports_failed(tmp_path: Path) -> None:
    board, _events = run_story(tmp_path, "")
    assert (board.ok, board.result.outcome) == (False, "failed")
    assert "2.0.0" in board.result.detail


def test_another_version_than_the_offered_one_failed(tmp_path: Path) -> None:
    board, _events = run_story(tmp_path, REPORT.replace("2.0.0", "1.0.0"), "updated")
    assert (board.ok, board.result.outcome) == (False, "failed")
    assert board.result.detail == "runs 1.0.0, was offered 2.0.0"


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_why_it_failed_stays_whatever_the_application_does(tmp_path: Path, outcome: str) -> None:
    board, _events = run_story(tmp_path, REPORT + "sys.exit(1)", outcome)
    assert (board.ok, board.result.outcome, board.result.detail) == (False, outcome, "because")
    assert any("code 1" in text for text in board.result.notes)


def test_a_board_that_resets_for_ever_failed(tmp_path: Path) -> None:
    board, events = run_story(tmp_path, "sys.exit(3)", "updated")
    assert sum(event["event"] == "boot" for event in events) == MAX_RESETS + 1
    assert (board.ok, board.result.outcome) == (False, "failed")
    assert f"reset {MAX_RESETS} times" in board.result.detail


def test_a_process_that_cannot_be_started_failed(tmp_path: Path) -> None:
    spec = BoardSpec("b", tmp_path, "127.0.0.1", 6969, "image", "127.0.0.1")
    board = SimBoard(spec, Runtime("none", (str(tmp_path / "none"),)), lambda _board, _event: None)
    asyncio.run(board.run())
    assert (board.ok, board.result.outcome) == (False, "failed")
    assert "cannot be started" in board.result.detail


def test_output_of_any_kind_is_notes(tmp_path: Path) -> None:
    junk = """
print("x" * 200000)
print('{"event": "boot"}')
print('{"event": "boot", "slot": 1}')
print('{"event": "result", "outcome": "refused", "detail": "forged"}')
print("[" * 60000)
sys.stdout.buffer.write(bytes(range(256)) + b"\\n")
"""
    board, events = run_story(tmp_path, junk + "sys.stdout.flush()\n" + REPORT)
    assert (board.ok, board.result.outcome, board.result.boots) == (True, "up_to_date", 1)
    assert [event["event"] for event in events[-2:]] == ["note", "app"]
    assert len(board.result.notes) >= 6


def test_the_hold_is_not_part_of_the_limit(tmp_path: Path) -> None:
    hold = "time.sleep(max(0, {at} - time.time()))\n"
    at = time.time() + 1.5
    board, _events = run_story(tmp_path, hold.format(at=at) + REPORT, limit_s=1.0, at_s=at)
    assert board.ok, board.result.detail


# -- real boards ----------------------------------------------------------------------------------

ENDLESS = """
import time
from gapcast_boot import health
def main(board):
    for _ in range(1000):
        print("x" * 100, end="")
    print()
    print('{"event": "boot"}')
    board.report(version="2.0.0")
    while True:
        health.alive()
        time.sleep(1)
"""
RAISING = """
from gapcast_boot import health
def main(board):
    board.report(version="2.0.0")
    health.alive()
    raise ValueError("boom")
"""


def update(tmp_path: Path, source: str) -> tuple[Any, Any]:
    """`gapcast board` with an application of our own: (the finished process, its JSON)."""
    root = tmp_path / "root"
    root.mkdir()
    data = build_sample(20000, "2.0.0", CHIP, source=source)
    (root / "lab.gap").write_bytes(build_container(data, "lab", "SIM", CHIP).data)
    with serving(root) as port:
        done = gapcast(
            "board", "--server", f"127.0.0.1:{port}", "--image", "lab", "--flash", tmp_path / "fl",
            "--limit", "30", "--json", tmp_path / "r.json",
        )  # fmt: skip
    return done, read_json(tmp_path / "r.json")


def test_an_endless_application_is_an_update(runtime: Runtime, tmp_path: Path) -> None:
    started = time.monotonic()
    done, result = update(tmp_path, ENDLESS)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 20
    assert (result["outcome"], result["version"], result["boots"]) == ("updated", "2.0.0", 2)
    assert 30_000 < result["heap_peak_bytes"] < runtime.heaps.default


def test_an_application_that_raises_is_no_update(runtime: Runtime, tmp_path: Path) -> None:
    done, result = update(tmp_path, RAISING)
    assert done.returncode == 1
    assert "ValueError: boom" in one_line(done)
    assert result["outcome"] == "failed"


# -- lost blocks ----------------------------------------------------------------------------------


class Heard:
    """A receiver whose stream is over."""

    was_master = False
    duplicates = 0
    drops: dict[str, int] = {}  # noqa: RUF012
    window = 8
    mends = 0

    @property
    def offer(self) -> Heard:
        return self

    def __init__(self, end: int) -> None:
        self.end = end


@pytest.mark.parametrize(
    ("end", "unsent", "gaps", "largest"),
    [
        (receiver.SILENCE, 80, 2, 3),
        (receiver.REFUSED, 80, 2, 3),
        (receiver.GAPS_LEFT, 0, 3, 80),
        (receiver.COMPLETE, 0, 3, 80),
    ],
)
def test_what_was_never_sent_is_not_lost(
    world: World, end: int, unsent: int, gaps: int, largest: int
) -> None:
    report = importlib.import_module("sim_report")
    told: dict[str, Any] = {}

    class Reporter(report.Reporter):  # type: ignore[misc]
        def emit(self, event: str, **fields: Any) -> None:
            told.update(fields, event=event)

    missing = GapList(100)
    for block in range(1, 21):
        if block not in (4, 9, 10, 11):
            missing.add(block)
    report.SimProgress(Reporter()).stream_over(missing, Heard(end))
    assert (told["missing"], told["unsent"], told["gaps"], told["largest"]) == (84, unsent, gaps, largest)


def test_a_tail_that_the_last_window_held_is_lost(world: World) -> None:
    report = importlib.import_module("sim_report")
    told: list[int] = []

    class Reporter(report.Reporter):  # type: ignore[misc]
        def emit(self, _event: str, **fields: Any) -> None:
            told.append(fields["unsent"])

    for tail in (1, 8, 9):
        missing = GapList(100)
        missing.add_range(1, 100 - tail)
        report.SimProgress(Reporter()).stream_over(missing, Heard(receiver.SILENCE))
    assert told == [0, 0, 9]


def test_a_tail_is_lost_when_the_server_was_there_all_the_time() -> None:
    over = {
        "event": "stream_over", "total": 100, "missing": 84, "unsent": 80, "gaps": 2, "largest": 3,
        "was_master": False, "map": "0" * 64, "symbols": 0,
    }  # fmt: skip
    verified = {"event": "verified", "ms": 9, "repaired_blocks": 84, "repaired_bytes": 1}
    for streams, expected in ((1, (84, 3, 80)), (2, (4, 2, 3))):
        recorder = Recorder(BoardResult("b"))
        for event in [over] * streams:
            recorder.take(event)
        assert (recorder.result.lost_blocks, recorder.result.gaps) == (4, 2)
        recorder.take(verified)
        result = recorder.result
        assert (result.lost_blocks, result.gaps, result.largest_gap_blocks) == expected


class Seen(Exception):
    """Enough of this simulation."""


def test_a_server_that_dies_is_told_and_its_blocks_are_not_lost(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    container = build_container(build_sample(256 * 1024, "2.0.0", CHIP), "image", "SIM", CHIP)
    (root / "image.gap").write_bytes(container.data)
    image = BenchImage(len(container.data), (), allow_unsigned=True)
    spec = FleetSpec(image, root, tmp_path / "boards", 2, 0.0, 1, "2M", 1 << 17, 64)
    fleet = Fleet(spec, find_runtime(lambda _text: None, micropython=False))
    fleet.build()
    killed: list[int] = []

    def tick(_fleet: Fleet) -> None:
        assert fleet.server
        status_line(fleet)
        if not killed and fleet.server.air_bytes["multicast"] > spec.image_bytes / 5:
            assert fleet.server._process
            killed.append(fleet.server._process.pid)
            os.kill(killed[0], signal.SIGKILL)
        if all(board.recorder._streams for board in fleet.boards):
            raise Seen

    with pytest.raises(Seen):
        asyncio.run(asyncio.wait_for(fleet.run(tick, 0.02), 30))
    assert [board.result.lost_blocks for board in fleet.boards] == [0, 0]
    assert [board.result.gaps for board in fleet.boards] == [0, 0]
    assert fleet.server
    assert fleet.server.failure == f"the server (process {killed[0]}) was killed by signal 9"
    assert problem_lines(fleet)[0] == fleet.server.failure
    assert fleet.summary()["server_failure"] == fleet.server.failure
    assert "THE SERVER" in status_line(fleet)
    assert not fleet.ok


# -- what a person reads --------------------------------------------------------------------------


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    spec = FleetSpec(BenchImage(100000, (), allow_unsigned=True), tmp_path, tmp_path, 2, 0.1, 1, "6M", 65536)
    fleet = Fleet(spec, Runtime("none", ("none",)))
    fleet.server = ServerProcess(tmp_path, "127.0.0.1", 6969)
    for number in (1, 2):
        one = BoardSpec(f"board-{number}", tmp_path, "127.0.0.1", 6969, "image", "127.0.1.1")
        board = SimBoard(one, fleet.runtime, lambda _board, _event: None)
        board.result.version = board.result.offered_version = "2"
        board.result.outcome, board.result.confirmed = "updated", True
        fleet.boards.append(board)
        fleet.snapshots[one.id] = []
    return fleet


def test_a_comparison_only_when_everything_was_sent(fleet: Fleet, tmp_path: Path) -> None:
    assert "times as much" in air_lines(fleet)[-1]
    fleet.boards[0].result.outcome = "up_to_date"
    assert (fleet.completed, fleet.untouched, fleet.ok) == (2, 1, True)
    assert "1 of 2 boards ran this image already" in air_lines(fleet)[-1]
    assert "times as much" not in "".join(air_lines(fleet))
    write_picture(fleet, tmp_path / "p.html")
    assert "plain unicast" not in (tmp_path / "p.html").read_text()
    fleet.boards[0].result.outcome = "failed"
    assert "times as much" not in "".join(air_lines(fleet))


def test_why_boards_failed_is_told(fleet: Fleet) -> None:
    result = fleet.boards[1].result
    result.outcome, result.detail = "failed", "[/red] no answer"
    result.version = "[bold]"
    result.notes = [f"[/x] try {number}" for number in range(9)]
    fleet.boards[0].result.notes = ["all is well"]
    assert problem_lines(fleet) == [f"board-2: [/x] try {number}" for number in (6, 7, 8)]
    assert result_table(fleet).row_count == 2

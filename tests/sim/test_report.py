"""What boards tell, and what becomes of it: gap maps, results, pictures."""

from __future__ import annotations

import base64
import importlib
import random
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from boot_world import World

from gapcast_core.gaps import GapList
from gapcast_sim import picture
from gapcast_sim.board import SimBoard
from gapcast_sim.display import map_text
from gapcast_sim.fleet import Fleet, FleetSpec
from gapcast_sim.image import BenchImage
from gapcast_sim.picture import png, timeline, write_picture
from gapcast_sim.provision import BoardSpec
from gapcast_sim.result import BoardResult, Recorder
from gapcast_sim.runtime import Runtime
from gapcast_sim.server import ServerProcess


@pytest.fixture
def gap_map(world: World) -> Any:
    return importlib.import_module("sim_report").gap_map


def test_an_empty_and_a_full_map(gap_map: Any) -> None:
    gaps = GapList(640)
    assert gap_map(gaps) == "0" * 64
    gaps.add_range(1, 640)
    assert gap_map(gaps) == "f" * 64
    assert gap_map(GapList(0)) == "f" * 64


def test_a_cell_is_f_only_when_nothing_of_it_is_missing(gap_map: Any) -> None:
    gaps = GapList(6400)
    gaps.add_range(1, 6400)
    gaps.mark_missing(101, 1)
    assert gap_map(gaps) == "fe" + "f" * 62
    gaps.mark_missing(101, 100)
    assert gap_map(gaps) == "f0" + "f" * 62


def test_a_map_agrees_with_counting(gap_map: Any) -> None:
    dice = random.Random(5)
    for total in (1, 5, 63, 64, 65, 100, 1537, 4000):
        gaps = GapList(total)
        missing = set(range(1, total + 1))
        for _block in range(total // 2):
            block = dice.randint(1, total)
            gaps.add(block)
            missing.discard(block)
        if gaps.merges:
            continue
        text = gap_map(gaps)
        assert len(text) == 64
        for cell, digit in enumerate(text):
            blocks = range(cell * total // 64 + 1, (cell + 1) * total // 64 + 1)
            have = sum(block not in missing for block in blocks)
            assert digit == "0123456789abcdef"[15 * have // len(blocks) if blocks else 15]


def test_an_unknown_length_has_a_map(gap_map: Any) -> None:
    gaps = GapList(None)
    gaps.add_range(1, 1000)
    assert gap_map(gaps) == "0" * 64


# -- results --------------------------------------------------------------------------------------


def play(*events: dict[str, Any]) -> Recorder:
    recorder = Recorder(BoardResult("b"))
    for event in events:
        recorder.take(event)
    return recorder


def over(missing: int, gaps: int = 1, largest: int = 1, was_master: bool = False) -> dict[str, Any]:
    return {
        "event": "stream_over",
        "total": 100,
        "missing": missing,
        "gaps": gaps,
        "largest": largest,
        "was_master": was_master,
        "symbols": 20,
        "map": "f" * 64,
        "ms": 5,
    }


def test_the_story_of_a_board() -> None:
    recorder = play(
        {"event": "boot", "slot": 0, "ms": 1},
        {"event": "started", "ms": 1000},
        {"event": "header", "version": "2.0.0", "container_bytes": 102400, "ms": 1100},
        {"event": "phase", "phase": "listener", "total": 100, "missing": 100, "ms": 1200},
        {"event": "blocks", "total": 100, "missing": 50, "gaps": 2, "map": "f" * 32 + "0" * 32, "ms": 1300},
        over(9, 4, 3),
        {"event": "phase", "phase": "repair", "total": 100, "missing": 9, "ms": 1500},
        {"event": "verified", "repaired_blocks": 9, "repaired_bytes": 9216, "ms": 2500},
        {"event": "result", "outcome": "updated", "detail": "2.0.0", "ms": 2600},
        {"event": "boot", "slot": 1, "ms": 1},
        {"event": "started", "ms": 10},
        {"event": "result", "outcome": "on_trial", "detail": "2.0.0", "ms": 20},
        {"event": "confirmed", "version": "2.0.0", "ms": 25},
        {"event": "app", "version": "2.0.0", "slot": 1, "heap_peak_bytes": 60000, "ms": 30},
    )
    result = recorder.result
    assert (result.role, result.lost_blocks, result.gaps, result.largest_gap_blocks) == ("listener", 9, 4, 3)
    assert (result.repaired_blocks, result.repaired_bytes, result.symbols) == (9, 9216, 20)
    assert result.elapsed_s == 1.5
    assert result.digest_ok
    assert (result.version, result.slot, result.boots) == ("2.0.0", 1, 2)
    assert (result.outcome, result.rejoins, result.heap_peak_bytes) == ("updated", 0, 60000)
    assert result.confirmed
    assert recorder.stored_bytes == 102400 - 1024
    assert recorder.phase == "running"
    assert recorder.gap_map == "f" * 64


def test_what_was_kept_looks_different_in_the_picture() -> None:
    kept = "f" * 32 + "0" * 31 + "7"
    recorder = play(
        {"event": "boot", "slot": 0},
        {"event": "kept", "blocks": 50, "total": 100},
        {"event": "phase", "phase": "repair", "total": 100, "missing": 50, "map": kept},
        {"event": "blocks", "total": 100, "missing": 10, "map": "f" * 60 + "0" * 4},
    )
    assert recorder.picture_map == "k" * 32 + "f" * 28 + "0" * 4
    assert recorder.result.kept_blocks == 50
    assert recorder.gap_map == "f" * 60 + "0" * 4
    assert play({"event": "kept", "blocks": 1, "total": 2}).picture_map == ""


def test_a_handed_over_listener_was_a_master_and_a_second_stream_is_a_rejoin() -> None:
    recorder = play(
        {"event": "phase", "phase": "listener", "total": 9, "missing": 9}, over(60), over(2, 1, 1, True)
    )
    assert (recorder.result.role, recorder.result.rejoins, recorder.result.lost_blocks) == ("master", 1, 60)


def test_notes_are_capped_and_unknown_events_ignored() -> None:
    recorder = play(*[{"event": "note", "text": str(i)} for i in range(99)], {"event": "to_json"}, {})
    assert len(recorder.result.notes) == BoardResult.MAX_NOTES


def test_a_result_has_the_documented_fields() -> None:
    assert {
        "id",
        "role",
        "lost_blocks",
        "gaps",
        "repaired_bytes",
        "elapsed_s",
        "version",
        "digest_ok",
    } <= set(BoardResult("x").to_json())


# -- the picture ----------------------------------------------------------------------------------


def decode(data: bytes) -> tuple[list[list[int]], list[tuple[int, ...]]]:
    """Rows of palette indices, and the palette, of a PNG."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    offset = 8
    while offset < len(data):
        (size,) = struct.unpack_from(">I", data, offset)
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + size]
        assert struct.unpack_from(">I", data, offset + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        offset += 12 + size
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    rows = [raw[row * (width + 1) : (row + 1) * (width + 1)] for row in range(height)]
    assert all(row[0] == 0 for row in rows)
    palette = chunks[b"PLTE"]
    assert len(palette) == 3 * 17
    return [list(row[1:]) for row in rows], [tuple(palette[i : i + 3]) for i in range(0, 51, 3)]


def test_a_png_has_the_pixels_of_its_maps() -> None:
    rows, palette = decode(png(["0123456789abcdef" * 4, "f" * 64, "0" * 64, "k" * 64]))
    assert rows == [list(range(16)) * 4, [15] * 64, [0] * 64, [16] * 64]
    assert palette[0] == picture.EMPTY_RGB
    assert palette[15] == picture.FULL_RGB
    assert palette[16] == picture.KEPT_RGB
    assert len(set(palette)) == 17


def test_a_timeline_shows_the_latest_map_of_each_moment() -> None:
    early, late = "8" * 64, "f" * 64
    rows = timeline([(10.2, early), (15.0, late)], 10.0, 20.0, 10)
    assert rows == [early] * 4 + [late] * 6
    assert timeline([], 0.0, 1.0, 3) == ["0" * 64] * 3
    assert len(timeline([(5.0, late)], 3.0, 3.0)) == picture.ROWS


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    spec = FleetSpec(BenchImage(100000, (), allow_unsigned=True), tmp_path, tmp_path, 2, 0.1, 1, "6M", 65536)
    fleet = Fleet(spec, Runtime("none", ("none",)))
    fleet.server = ServerProcess(tmp_path, "127.0.0.1", 6969)
    fleet.server.air_bytes = {"multicast": 110000, "unicast": 20000}
    for name in ("board-1", "board<2>"):
        board = SimBoard(
            BoardSpec(name, tmp_path, "127.0.0.1", 6969, "image", "127.0.1.1"),
            fleet.runtime,
            lambda _b, _e: None,
        )
        fleet.boards.append(board)
        fleet.snapshots[name] = [(1.5, "8" * 64), (2.0, "f" * 64)]
    fleet.first_request, fleet.last_verified = 1.0, 2.0
    return fleet


def test_the_page_shows_every_board_and_escapes_names(fleet: Fleet, tmp_path: Path) -> None:
    result = fleet.boards[0].result
    result.version = result.offered_version = "2"
    result.outcome, result.confirmed = "updated", True
    path = tmp_path / "new" / "picture.html"
    write_picture(fleet, path)
    page = path.read_text()
    images = re.findall(r"base64,([^\"]+)\"", page)
    assert len(images) == 2
    for image in images:
        rows, _palette = decode(base64.b64decode(image))
        assert len(rows) == picture.ROWS
        assert rows[0] == [0] * 64
        assert rows[-1] == [15] * 64
    assert "1 of 2 boards" in page
    assert "board&lt;2&gt;" in page
    assert "board<2>" not in page


def test_a_page_of_a_bench_that_never_came_up(fleet: Fleet, tmp_path: Path) -> None:
    fleet.first_request = fleet.last_verified = 0.0
    fleet.snapshots = {name: [] for name in fleet.snapshots}
    assert fleet.server
    fleet.server.air_bytes = {"multicast": 0, "unicast": 0}
    write_picture(fleet, tmp_path / "p.html")
    assert fleet.elapsed_s is None
    assert fleet.summary()["completed"] == 0


def test_shades_say_blank_only_for_nothing_and_full_only_for_all() -> None:
    assert map_text("", 8) == " " * 8
    assert map_text("f" * 64, 8) == "█" * 8
    assert map_text("0" * 64, 8) == " " * 8
    assert "█" not in map_text("e" * 64, 8)

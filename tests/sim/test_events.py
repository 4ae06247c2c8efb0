"""What processes print, whatever it is (tools/gapcast_sim/events.py, process.py)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gapcast_sim.events import MAX_TEXT, parse
from gapcast_sim.process import MAX_LINE_BYTES, TAIL_BYTES, Tail, read_lines


def lines_of(*parts: bytes) -> list[bytes]:
    async def read() -> list[bytes]:
        stream = asyncio.StreamReader()
        for part in parts:
            stream.feed_data(part)
        stream.feed_eof()
        return [line async for line in read_lines(stream)]

    return asyncio.run(read())


def test_lines_come_whole_however_they_arrive() -> None:
    assert lines_of(b"on", b"e\ntw", b"o\n\nthree") == [b"one", b"two", b"", b"three"]
    assert lines_of() == []


@pytest.mark.parametrize("size", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 5_000_000])
def test_a_long_line_is_cut_and_the_next_one_is_whole(size: int) -> None:
    first, second, *more = lines_of(b"x" * size + b"\nnext\n")
    assert len(first) == min(size, MAX_LINE_BYTES)
    assert (second, more) == (b"next", [])


def test_of_standard_error_the_end_is_kept() -> None:
    async def drain() -> Tail:
        stream = asyncio.StreamReader()
        stream.feed_data(b"y" * 100_000 + b"\nthe reason\n")
        stream.feed_eof()
        tail = Tail()
        await tail.drain(stream)
        return tail

    tail = asyncio.run(drain())
    assert tail.last_line == "the reason"
    assert len(tail.text) < TAIL_BYTES


APP = {"event": "app", "version": "2.0.0", "heap_peak_bytes": 1, "slot": 1, "ms": 1}
BOOT = {"event": "boot", "slot": 0, "ms": 1}
WRONG: list[Any] = [
    {"event": "boot"},
    {"event": "boot", "slot": True},
    {"event": "boot", "slot": -1},
    {"event": "boot", "slot": 10**40},
    {"event": "note", "text": 5},
    {"event": "app", "version": None, "heap_peak_bytes": 1},
    {"event": "blocks", "total": 9, "missing": 1, "map": "f" * 63},
    {"event": "blocks", "total": 9, "missing": 1, "map": "F" * 64},
    {"event": "stream_over", "total": 9, "missing": 1, "map": "f" * 64},
    {"event": "verified", "ms": "1", "repaired_blocks": 0, "repaired_bytes": 0},
    {"event": "take"},
    {"event": ["boot"]},
    {"event": None},
    {},
    [],
    5,
    None,
    "boot",
]


@pytest.mark.parametrize("value", WRONG, ids=json.dumps)
def test_what_is_no_event_is_a_note(value: Any) -> None:
    line = json.dumps(value)
    assert parse(line.encode()) == {"event": "note", "text": line}


@pytest.mark.parametrize(
    "line", [b"", b"\xff\xfe", b"[" * 60000, b'{"a":' * 9000, b"NaN", b"9" * 9999, b"\0"]
)
def test_what_is_no_json_is_a_short_note(line: bytes) -> None:
    event = parse(line)
    assert event["event"] == "note"
    assert len(event["text"]) <= MAX_TEXT
    assert event["text"].isprintable()


def test_an_application_can_only_tell_who_it_is() -> None:
    for event in (APP, BOOT):
        assert parse(json.dumps(event).encode()) == event
    assert parse(json.dumps(APP).encode(), in_application=True) == APP
    assert parse(json.dumps(BOOT).encode(), in_application=True)["event"] == "note"


def test_a_note_has_no_terminal_escapes() -> None:
    event = parse(json.dumps({"event": "note", "text": "\x1b[2Jred\n"}).encode())
    assert event == {"event": "note", "text": "[2Jred"}

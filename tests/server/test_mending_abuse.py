"""What a peer may cause by what it says it lacks."""

from __future__ import annotations

import pytest

from gapcast.protocol.again import MAX_TIMES
from gapcast.protocol.mending import PROBE_EVENLY, PROBE_S, SILENT_S, Mending
from gapcast.protocol.unit_blocks import plan_for
from gapcast_core import generations, wire

from .mended_bench import REPAIR, Bench, content, outcomes
from .mended_board import NAME
from .virtual import MAIN, Bytes, Net, VirtualServer


def report(text: str) -> bytes:
    packed: bytes = wire.pack_request(wire.OP_RRQ, NAME, [(generations.LACKS, text)])
    return packed


def test_a_board_that_always_wants_more_gets_each_symbol_once() -> None:
    plan = plan_for(Bytes(content(128)), 1024)
    assert plan is not None
    mending = Mending(plan, Bytes(content(128)), 1024, 0.0)
    liars = [(f"10.0.0.{number}", 5000) for number in range(1, 5)]
    mending.report(liars[0], [], [], None, 0.0)
    mending.stream_at(64, False, 0.0)
    now = 0.0
    sent: list[int] = []
    for _ in range(9000):
        now += 0.001
        for liar in liars:
            mending.report(liar, [127, 127], list(range(1, 17)), None, now)
        mending.stream_at(128, True, 0.0)
        mending.on_time(now)
        if mending.wants_data():
            sent.append(mending.next_data(now)[0])
    symbols = [number for number in sent if number & 0x8000]
    assert len(symbols) == len(set(symbols)) == 128
    blocks = [number for number in sent if not number & 0x8000]
    assert sorted(set(blocks)) == list(range(1, 17))
    assert len(blocks) == 16 * MAX_TIMES
    assert not mending.wants_data()
    assert mending.on_time(now + 1) == liars, "they get their turns"


def test_a_board_that_is_silent_is_asked_less_and_less_often() -> None:
    plan = plan_for(Bytes(content(128)), 1024)
    assert plan is not None
    mending = Mending(plan, Bytes(content(128)), 1024, 0.0)
    boards = [(f"10.0.0.{number}", 5000) for number in range(1, 5)]
    for block in range(1, 65):
        mending.streamed(block, block, 0.0)
    for board in boards:
        mending.report(board, [12], [], (64, 52, False), 0.0)
    mending.stream_at(128, True, 0.0)
    now = 0.0
    asked: list[float] = []
    while now < SILENT_S:
        if mending.wants_data():
            mending.next_data(now)
            asked.append(now)
            continue
        due = mending.deadline()
        assert due is not None
        now = due
        left = mending.on_time(now)
    assert left == boards, "they get their turns"
    asked = [when for when in asked if when > 0]
    apart = [round((later - earlier) / PROBE_S) for earlier, later in zip([0.0, *asked], asked, strict=False)]
    assert apart[: PROBE_EVENLY + 5] == [1] * (PROBE_EVENLY + 1) + [2, 4, 8, 16]


def test_a_silent_board_costs_a_few_symbols() -> None:
    bench = Bench(200)
    boards = bench.boards(4, 0.1)
    bench.net.at(bench.net.now + 0.35, boards[1].die)
    bench.play()
    before = bench.symbols
    bench.over()
    assert bench.symbols - before < 12


@pytest.mark.parametrize("text", ["x", "1,", "129", "0*500", "1*999,2", "5,5,5,5,5,5", "\u00e9"])
def test_a_malformed_report_changes_nothing(text: str) -> None:
    bench = Bench(200)
    boards = bench.boards(4, 0.1)

    def say() -> None:
        assert boards[1].server is not None
        boards[1]._transmit(report(text), boards[1].server)

    for tenths in range(1, 8):
        bench.net.at(bench.net.now + tenths / 10, say)
    bench.play()
    bench.over()
    assert outcomes(bench) == {"complete"}


def test_reports_of_strangers_are_not_believed() -> None:
    bench = Bench(200)
    boards = bench.boards(4, 0.0)
    outsider = ("10.9.9.9", 5000)
    heard: list[bytes] = []
    bench.net.attach(outsider, lambda data, _source: heard.append(data))

    def say() -> None:
        assert boards[1].server is not None
        bench.net.send(report("64,64,64,8"), outsider, boards[1].server)

    for tenths in range(1, 8):
        bench.net.at(bench.net.now + tenths / 10, say)
    bench.play()
    bench.over()
    assert bench.symbols == 0
    assert heard == []


def test_a_short_request_gets_its_answer_without_lacks() -> None:
    """It has not paid for more: the board is served as boards were before."""
    net = Net()
    data = content(100)
    server = VirtualServer(net, data)
    heard: list[bytes] = []
    net.attach(("10.9.9.9", 5000), lambda answer, _source: heard.append(answer))
    pairs = [("blksize", "1024"), ("tsize", "0"), ("multicast", ""), ("ranges", ""), ("lacks", "")]
    net.send(wire.pack_request(wire.OP_RRQ, "f", pairs), ("10.9.9.9", 5000), MAIN)
    net.run(0.1)
    options = wire.parse_oack(heard[0])
    assert wire.option(options, "ranges") == ""
    assert wire.option(options, "lacks") is None
    assert server.session is not None


def test_lacks_is_offered_within_what_a_request_has_paid_for() -> None:
    bench = Bench(100)
    boards = bench.boards(2, 0.0)
    bench.play()
    assert boards[0].offer.repair_group == REPAIR[0]
    first = next(data for _w, _source, to, data in bench.net.sent if to == boards[1].address)
    asked = next(data for _w, source, _to, data in bench.net.sent if source == boards[1].address)
    assert len(first) <= 1.5 * len(asked)

"""Any repair DATA in any order: nothing raises, and what true symbols solve is right."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.protocol.erasure import repair_symbols
from gapcast_core import generations, mender
from gapcast_core.errors import PeerError
from gapcast_core.fec import Pool
from gapcast_core.gaps import GapList
from gapcast_core.options import parse_ranges

K = 8
BLKSIZE = 8
TOTAL = 29  # four generations, the last one short
DATA = bytes(range(TOTAL * BLKSIZE))
PLAN = generations.Plan(TOTAL, K)
MIXED = generations.Plan(TOTAL, K)
MIXED.mix()

steps = st.lists(
    st.one_of(
        st.tuples(st.just("block"), st.integers(1, TOTAL), st.none()),
        st.tuples(st.just("symbol"), st.sampled_from([0, 1, 2, 3, 4, 5]), st.integers(0, 12)),
        st.tuples(st.just("mixed"), st.sampled_from([0, 1, 2, 3, 4, 5]), st.integers(0, 12)),
        st.tuples(st.just("report"), st.integers(1, TOTAL + 1), st.booleans()),
        st.tuples(st.just("forged"), st.integers(0, 0xFFFF), st.binary(max_size=12)),
    ),
    max_size=120,
)


def block_of(number: int) -> bytes:
    return DATA[(number - 1) * BLKSIZE : number * BLKSIZE]


def blocks_of(plan: generations.Plan, unit: int) -> list[int]:
    return [plan.block(unit, j) for j in range(plan.size(unit))]


def solve(one: mender.Mender, generation: int) -> dict[int, bytes]:
    """As the shell does."""
    found: dict[int, bytes] = {}
    while generation >= 0:
        missing = one.begin(generation)
        if not missing:
            break
        blocks = blocks_of(one.plan, generation)
        while (known := one.pool.next_known()) >= 0:
            one.pool.feed(known, block_of(blocks[known]))
        one.pool.solve()
        for i, symbol in enumerate(missing):
            found[blocks[symbol]] = bytes(one.pool.block(i))
            one.gaps.add(blocks[symbol])
            one.stored(blocks[symbol])
        generation = one.done()
    return found


def play(script: list[tuple[str, int, object]], capacity: int, forged: bool) -> None:
    one = mender.Mender(GapList(TOTAL, 4), generations.Plan(TOTAL, K), Pool(BLKSIZE, capacity), 0)
    position = 1
    solved: dict[int, bytes] = {}
    for now, (kind, number, detail) in enumerate(script):
        generation = mender.NONE
        if kind == "block" and one.gaps.is_missing(number):
            one.gaps.add(number)
            position = max(position, number + 1)
            one.note(number, now)
            generation = one.stored(number)
        elif kind in ("symbol", "mixed"):
            assert isinstance(detail, int)
            true = MIXED if kind == "mixed" else PLAN
            blocks = b"".join(map(block_of, blocks_of(true, number)))
            view = repair_symbols(blocks, true.size(number), BLKSIZE, [128 + detail])[0]
            flag = generations.MIXED_FLAG if kind == "mixed" else 0
            generation = one.accept(generations.number(number, detail) | flag, view, position, now)
        elif kind == "forged" and forged:
            assert isinstance(detail, bytes)
            generation = one.accept(number, detail, position, now)
        elif kind == "report":
            count = one.report(position, bool(detail), now * 20)
            assert -1 <= count <= PLAN.count
            most = max(capacity, K) if one.plan.mixed else capacity
            assert all(need <= most or need == generations.TOO_MANY for need in one.needs)
            blocks = one.surplus[: one.surplus_count if count >= 0 else 0]
            assert all(one.gaps.is_missing(block) for block in blocks)
            assert len(blocks) == len(set(blocks))
        assert one._oldest_lacking() == one._find_lacking(), "what was found before still holds"
        solved |= solve(one, generation)
        assert one._oldest_lacking() == one._find_lacking()
        for which in range(PLAN.count):
            blocks = blocks_of(one.plan, generations.alone(which))
            assert one._missing.counts[which] == sum(map(one.gaps.is_missing, blocks))
    if not forged:
        assert all(payload == block_of(number) for number, payload in solved.items())


@settings(max_examples=200, deadline=None)
@given(script=steps, capacity=st.integers(1, 10))
def test_what_is_solved_is_right(script: list[tuple[str, int, object]], capacity: int) -> None:
    play(script, capacity, forged=False)


@settings(max_examples=200, deadline=None)
@given(script=steps, capacity=st.integers(1, 10))
def test_forged_symbols_raise_nothing(script: list[tuple[str, int, object]], capacity: int) -> None:
    play(script, capacity, forged=True)


@given(needs=st.lists(st.integers(0, 128), max_size=256), limit=st.integers(0, 512))
def test_a_report_is_read_as_it_was_written(needs: list[int], limit: int) -> None:
    buf = bytearray(512)
    end = generations.write_lacks(buf, 0, limit, bytes(needs), len(needs))
    assert end <= limit
    told = generations.parse_lacks(buf[:end].decode(), 256)
    assert told == needs[: len(told)]


@given(blocks=st.lists(st.integers(1, 65535), max_size=16, unique=True), limit=st.integers(0, 200))
def test_a_surplus_is_read_as_it_was_written(blocks: list[int], limit: int) -> None:
    blocks.sort()
    buf = bytearray(200)
    end = generations.write_surplus(buf, 0, limit, blocks, len(blocks))
    assert end <= limit
    told = [first for first, length in parse_ranges(buf[:end].decode(), 65535) if length == 1]
    assert told == blocks[: len(told)]
    assert len(told) == len(blocks) or end > limit - 8


@given(text=st.one_of(st.text(max_size=60), st.text(st.sampled_from("0123456789,*-"), max_size=60)))
def test_any_lacks_is_read_or_refused(text: str) -> None:
    parsers = (
        generations.parse_offer,
        generations.parse_heard,
        lambda value: generations.parse_lacks(value, 256),
    )
    for parse in parsers:
        with suppress(PeerError):
            parse(text)

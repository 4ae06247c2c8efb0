"""A board's part of erasure repair: when to solve, and when to report what."""

from core_helpers import Dice
from fec_helpers import slow_repair

from gapcast_core import fec, mender, receiver, wire
from gapcast_core import generations as gen
from gapcast_core import offer as offers
from gapcast_core.gaps import GapList

K = 8
BLKSIZE = 16
TOTAL = 20  # three generations, the last one short


def make(total=TOTAL, capacity=6, gap_capacity=None, k=K):
    gaps = GapList(total, gap_capacity)
    pool = fec.Pool(BLKSIZE, capacity)
    return mender.Mender(gaps, gen.Plan(total, k), pool, 0)


def hear(one, blocks, now_ms=0):
    """Blocks of the stream."""
    found = mender.NONE
    for block in blocks:
        one.note(block, now_ms)
        if one.gaps.is_missing(block):
            one.gaps.add(block)
            found = one.stored(block)
    return found


def image(total=TOTAL):
    dice = Dice(5)
    return [bytes([dice.below(256) for _i in range(BLKSIZE)]) for _block in range(total)]


def symbol_of(data, plan, unit, symbol):
    return slow_repair([data[plan.block(unit, j) - 1] for j in range(plan.size(unit))], symbol)


def number(unit, symbol):
    return gen.number(unit, symbol - gen.FIRST_REPAIR_SYMBOL)


def solve(one, data, unit):
    """Solve as the shell does; what was found, by block."""
    found = {}
    missing = one.begin(unit)
    while True:
        known = one.pool.next_known()
        if known < 0:
            break
        one.pool.feed(known, data[one.plan.block(unit, known) - 1])
    one.pool.solve()
    for i in range(len(missing)):
        block = one.plan.block(unit, missing[i])
        found[block] = bytes(one.pool.block(i))
        one.gaps.add(block)
        one.stored(block)
    return found


def test_lost_blocks_come_back():
    data = image()
    one = make()
    hear(one, [1, 2, 4, 5, 6, 8] + list(range(9, 19)) + [20])
    assert one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 21, 1) == mender.NONE
    assert one.accept(number(0, 131), symbol_of(data, one.plan, 0, 131), 21, 1) == 0
    assert solve(one, data, 0) == {3: data[2], 7: data[6]}
    assert one.done() == mender.NONE
    last = gen.alone(2)
    assert one.accept(number(last, 191), symbol_of(data, one.plan, last, 191), 21, 1) == last
    assert solve(one, data, last) == {19: data[18]}
    one.done()
    assert one.gaps.is_complete()
    assert (one.solved, one.symbols) == (2, 3)


def test_the_next_one_is_solved_after_the_first():
    data = image()
    one = make()
    hear(one, list(range(2, 9)) + list(range(10, 21)))
    assert one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 21, 1) == 0
    missing = one.begin(0)
    assert missing == [0]
    assert one.accept(number(1, 129), symbol_of(data, one.plan, 1, 129), 21, 1) == mender.NONE
    for j in range(1, 8):
        one.pool.feed(j, data[j])
    one.pool.solve()
    one.gaps.add(1)
    one.stored(1)
    assert one.done() == 1
    assert solve(one, data, 1) == {9: data[8]}


def test_a_block_that_comes_while_its_generation_is_solved():
    data = image()
    one = make()
    hear(one, range(2, 21))
    one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 21, 1)
    one.begin(0)
    assert hear(one, [1]) == mender.NONE
    for j in range(1, 8):
        one.pool.feed(j, data[j])
    one.pool.solve()
    assert bytes(one.pool.block(0)) == data[0]
    assert one.done() == mender.NONE
    assert one.pool.held(0) == 0


def test_a_block_that_comes_late_makes_its_generation_solvable():
    data = image()
    one = make()
    hear(one, range(3, 21))
    assert one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 21, 1) == mender.NONE
    assert hear(one, [1]) == 0
    assert solve(one, data, 0) == {2: data[1]}


def test_symbols_that_are_of_no_use():
    data = image()
    one = make(capacity=4)
    hear(one, range(6, 21))
    frame = symbol_of(data, one.plan, 0, 128)
    assert one.accept(number(1, 128), frame, 21, 1) == mender.NONE, "nothing is missing"
    assert one.accept(number(4, 128), frame, 21, 1) == mender.NONE, "no such generation"
    assert one.accept(number(6, 128), frame, 21, 1) == mender.NONE, "no such pair"
    assert one.accept(number(0, 128), frame[:8], 21, 1) == mender.NONE, "another length"
    assert one.pool.held(0) == one.pool.held(1) == one.pool.held(4) == one.pool.held(6) == 0


def test_symbols_far_ahead_of_the_stream_are_forged():
    one = make(total=200)
    hear(one, range(1, 9))
    assert one.symbols == 0
    one.accept(number(gen.alone(20), 128), bytes(BLKSIZE), 9, 1)
    assert one.symbols == 0
    assert one.report(9, False, 1000) <= 1, "they do not make the stream seem further on"


def reported(one, position, now_ms, at_end=False):
    count = one.report(position, at_end, now_ms)
    return None if count < 0 else list(one.needs[:count])


def test_a_generation_is_reported_when_it_has_gone_by():
    one = make(total=96, k=32)
    hear(one, [1, 2] + list(range(4, 34)), 100)
    assert reported(one, 34, 100) is None, "its symbols may be on their way"
    hear(one, range(34, 49), 105)
    assert reported(one, 49, 105) == [1]
    assert reported(one, 49, 106) is None
    hear(one, [49], 112)
    assert reported(one, 50, 117) is None, "nothing new"
    hear(one, range(50, 65), 118)
    assert reported(one, 65, 118) is None, "nothing says that symbols of it were sent"


def test_what_should_have_come_is_asked_for_again():
    data = image(96)
    one = make(total=96)
    hear(one, [1, 3, 4] + list(range(6, 30)), 100)
    assert reported(one, 30, 100)[0] == 2
    one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 30, 106)
    hear(one, [30], 113)
    assert reported(one, 31, 113) is None, "more may be on their way"
    one.accept(number(1, 128), symbol_of(data, one.plan, 1, 128), 31, 114)
    assert reported(one, 31, 114)[0] == 1, "symbols of the next unit come already"


def test_symbols_of_interleaved_generations():
    """Two of a unit change how all is counted; what is solved by them is right."""
    data = image(40)
    one = make(total=40)
    hear(one, [1, 2, 3] + list(range(8, 41)))  # a burst of four
    assert list(one._missing.counts) == [4, 0, 0, 0, 0, 0]
    plan = gen.Plan(40, K)
    plan.mix()
    for unit in (0, 1):
        assert one.accept(number(unit, 128) | gen.MIXED_FLAG, bytes(BLKSIZE), 41, 5) == mender.NONE
        assert not one.plan.mixed, "they may be forged"
    one.accept(number(1, 129) | gen.MIXED_FLAG, bytes(BLKSIZE), 41, 5)
    assert one.plan.mixed
    one.pool.release(1)
    for generation in range(plan.count):
        unit = gen.alone(generation)
        found = one.accept(number(unit, 128) | gen.MIXED_FLAG, symbol_of(data, plan, unit, 128), 41, 5)
        if found != mender.NONE:
            solved = solve(one, data, found)
            assert solved == {block: data[block - 1] for block in solved}
            one.done()
        if not generation:
            assert max(one._missing.counts) < 4
    while not one.gaps.is_complete():
        unit = gen.alone(plan.of(one.gaps.next_missing(1)))
        found = one.accept(number(unit, 129) | gen.MIXED_FLAG, symbol_of(data, plan, unit, 129), 41, 6)
        assert found == unit
        solved = solve(one, data, unit)
        assert solved == {block: data[block - 1] for block in solved}
        one.done()
    assert one.accept(number(0, 130), bytes(BLKSIZE), 41, 7) == mender.NONE, "symbols of the other kind"
    one.accept(number(0, 131), bytes(BLKSIZE), 41, 7)
    assert not one.plan.mixed


def test_what_symbols_are_here_is_not_lacking():
    data = image(80)
    one = make(total=80)
    hear(one, [1, 2, 5, 6, 7, 8, 9])
    one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 10, 50)
    hear(one, [10, 11], 50)
    assert reported(one, 12, 60) == [1]


def test_a_pause_of_the_server_asks_for_a_report():
    one = make(total=96, k=32)
    hear(one, range(2, 34), 100)
    hear(one, [34], 101)
    assert reported(one, 35, 101) is None
    hear(one, [35], 101 + mender.PAUSE_MS)
    assert reported(one, 36, 101 + mender.PAUSE_MS) == [1]


def test_a_report_is_repeated_less_and_less():
    one = make()
    hear(one, [1, 2, 3, 4, 5, 6, 7, 9] + list(range(10, 21)))
    times = [now_ms for now_ms in range(0, 8000, 2) if one.report(21, False, now_ms) >= 0]
    assert len(times) < 20
    assert times[-1] - times[-2] >= mender.REPORT_MAX_MS
    one.accept(number(1, 128), bytes(BLKSIZE), 21, 8000)
    assert one.report(21, False, times[-1] + mender.REPORT_MS + 400) >= 0, "the server is there again"


def test_what_memory_cannot_hold_is_asked_for_one_by_one():
    data = image()
    one = make(capacity=4)
    hear(one, [1, 2] + list(range(10, 21)))
    assert reported(one, 21, 1000, True) == [4, 0, 0], "symbols of the second would find no room"
    assert list(one.surplus[: one.surplus_count]) == [3, 4]
    for symbol in range(128, 133):
        assert one.accept(number(0, symbol), symbol_of(data, one.plan, 0, symbol), 21, 1001) == mender.NONE
    assert one.pool.held(0) == 4
    assert reported(one, 21, 1100, True) == [0, 0, 0]
    assert list(one.surplus[: one.surplus_count]) == [3, 4]
    assert hear(one, [4]) == mender.NONE
    assert hear(one, [3]) == 0
    assert solve(one, data, 0) == {block: data[block - 1] for block in (5, 6, 7, 8)}
    assert one.done() == mender.NONE
    assert reported(one, 21, 1200, True) == [0, 1, 0]


def test_what_lost_far_more_than_memory_holds_waits_for_the_turn():
    one = make(total=120, k=60, capacity=4)
    hear(one, range(46, 120))
    assert reported(one, 121, 1000, True) == [gen.TOO_MANY, 1]
    assert one.surplus_count == 0
    assert one.is_mendable()
    hear(one, [120])
    assert not one.is_mendable()
    assert reported(one, 121, 3000, True) == [gen.TOO_MANY, 0], "so that it gets its turn"


def test_a_pair_is_solved_as_one():
    data = image()
    one = make()
    pair = gen.whole(1)
    hear(one, [2, 3] + list(range(5, 12)) + list(range(13, 21)))
    assert reported(one, 21, 1000, True) == [2, 1, 0]
    for symbol in (140, 255):
        assert (
            one.accept(number(pair, symbol), symbol_of(data, one.plan, pair, symbol), 21, 1001) == mender.NONE
        )
    assert reported(one, 21, 1100, True) == [1, 0, 0], "what a pair needs is told of its first"
    assert one.accept(number(pair, 200), symbol_of(data, one.plan, pair, 200), 21, 1101) == pair
    assert solve(one, data, pair) == {block: data[block - 1] for block in (1, 4, 12)}
    assert one.done() == mender.NONE
    assert one.gaps.is_complete()


def test_half_a_pair_is_not_told_of():
    """As symbols of the pair before were, those of this one will be."""
    one = make(total=96, k=16)
    hear(one, range(3, 33), 100)
    one.accept(number(gen.whole(0), 128), bytes(BLKSIZE), 33, 100)
    hear(one, list(range(34, 49)) + [50], 101)
    assert reported(one, 51, 140) == [1, 0]
    hear(one, range(51, 81), 150)
    assert reported(one, 81, 190) == [1, 0, 2, 0]
    one.accept(number(gen.alone(2), 128), bytes(BLKSIZE), 81, 190)
    hear(one, range(82, 97), 191)
    assert reported(one, 97, 240) == [1, 0, 0, 1, 0, 1], "one by one from then on"


def test_a_board_that_lacks_nothing_says_little():
    one = make(total=2000, k=10)
    said = 0
    for block in range(1, 1001):
        hear(one, [block], block)
        said += one.report(block + 1, False, block) >= 0
    assert said == 1000 // mender.QUIET_DATAGRAMS
    assert (one.latest, one.count) == (1000, 1000)
    hear(one, range(1001, 2000), 3000)
    assert reported(one, 2001, 3000, True) == [0] * 199 + [1]


def test_nothing_is_said_while_the_last_one_is_solved():
    data = image()
    one = make()
    hear(one, range(2, 21))
    one.accept(number(0, 128), symbol_of(data, one.plan, 0, 128), 21, 1)
    hear(one, [], 990)
    assert reported(one, 21, 1000) is None


def test_a_master_at_the_end_says_so_at_once():
    one = make()
    hear(one, range(2, 21), 100)
    assert reported(one, 21, 101, at_end=1) == [1, 0, 0]
    assert reported(one, 21, 102, at_end=1) is None
    assert reported(one, 21, 103, at_end=2) == [1, 0, 0], "as master once more"


def test_a_gap_list_that_runs_out_of_memory():
    one = make(total=40, gap_capacity=2)
    hear(one, [2, 4, 8, 12, 20, 30, 40])
    assert one.gaps.merges
    for generation in range(one.plan.count):
        first = one.plan.first(gen.alone(generation))
        missing = [b for b in range(first, one.plan.end(gen.alone(generation)) + 1) if one.gaps.is_missing(b)]
        assert one._missing.counts[generation] == len(missing)


def offered(master):
    options = [("blksize", str(BLKSIZE)), ("tsize", str(TOTAL * BLKSIZE))]
    options += [("multicast", "239.192.0.9,1758,%d" % master), ("ranges", ""), ("lacks", "239.194.0.9,8")]
    return offers.parse_offer(wire.pack_oack(options), BLKSIZE, 8)


def test_an_offer_of_repair_symbols():
    offer = offered(True)
    assert (offer.repair_group, offer.generation_blocks) == ("239.194.0.9", 8)


def test_a_master_that_mends_is_not_done_at_the_end():
    gaps = GapList(TOTAL)
    rx = receiver.Receiver(offered(True), gaps, 0, 1)
    rx.mends = 20
    frame = bytearray(BLKSIZE + 4)
    for block in range(2, TOTAL + 1):
        wire.pack_ack_into(frame, block)
        frame[1] = wire.OP_DATA
        rx.ack = receiver.NO_ACK
        assert rx.accept(frame, len(frame), 1) == block
        rx.stored(block)
    assert rx.end == receiver.RUNNING
    assert (rx.ack, rx.at_end, rx.is_master) == (receiver.NO_ACK, True, False)
    rx.tick(400)
    assert rx.ack == receiver.NO_ACK, "ACK `total` would say that it has everything"
    rx.hear(450)
    rx.tick(900)
    assert rx.end == receiver.RUNNING, "symbols are a sign of life"
    rx.mended(1)
    assert (rx.end, rx.ack) == (receiver.COMPLETE, TOTAL)

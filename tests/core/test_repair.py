"""The unicast side: whole files and virtual files, with a window (RFC 7440, PROTOCOL.md section 4)."""

from core_helpers import Dice, misused
from core_peers import Bench, ReadClient, WindowSender, contents

from gapcast_core import offer as offers
from gapcast_core import repair, wire
from gapcast_core.gaps import GapList

BLK = 64


def make_offer(size=None, window=4, ranges=None, blksize=BLK):
    offer = offers.Offer()
    offer.blksize = blksize
    offer.window = window
    offer.size_bytes = size
    offer.ranges = ranges
    return offer


def reader(total=10, window=4, ranges=None, now_ms=0, known=True):
    machine = repair.Reader(make_offer(total * BLK + 1 if known else None, window, ranges), total, now_ms)
    assert take_ack(machine) == 0
    return machine


def take_ack(machine):
    ack = machine.ack
    machine.ack = repair.NO_ACK
    return ack


def hear(machine, number, size=BLK, now_ms=0):
    """One DATA; the real block it was, or 0."""
    frame = wire.pack_data(number, b"x" * size)
    if not machine.accept(frame, len(frame), now_ms):
        return 0
    machine.advance()
    return machine.block


def read(size, seed=1, drop=0, double=0, delay_ms=0, window=4, ranges=None, held=(), known=True, blksize=BLK):
    """A whole read; its client."""
    data = contents(size, seed)
    bench = Bench(Dice(seed), drop, double, delay_ms)
    offer = make_offer(size if known else None, window, ranges, blksize)
    gaps = GapList(offer.blocks())
    flash = {}
    for block in held:
        flash[block] = data[(block - 1) * blksize : block * blksize]
        gaps.add(block)
    sender = WindowSender(bench, data, offer)
    client = ReadClient(bench, sender, offer, offer.blocks(), gaps, flash)
    bench.run(lambda: client.over)
    bench.run(lambda: sender.closed or client.reader.failed or not bench._events or drop)
    assert client.reader.failed is None
    for block in flash:
        assert flash[block] == data[(block - 1) * blksize : block * blksize]
    client.sender = sender
    if ranges is None:
        assert gaps.is_complete()
        assert b"".join([flash[block] for block in sorted(flash)]) == data
    return client


def test_whole_files_of_every_awkward_size():
    for size in (0, 1, BLK - 1, BLK, BLK + 1, 4 * BLK, 4 * BLK + 1, 8 * BLK, 9 * BLK - 1):
        for window in (1, 4, 8):
            for known in (True, False):
                client = read(size, window=window, known=known)
                assert client.acks[0] == 0
                assert client.acks[-1] == size // BLK + 1


def test_a_clean_read_acknowledges_once_a_window():
    client = read(16 * BLK + 5, window=4)
    assert client.acks == [0, 4, 8, 12, 16, 17]
    assert client.sender.sent_frames == 17


def test_loss_doubling_and_reordering():
    for seed in range(1, 9):
        read(40 * BLK + seed, seed, drop=4 * seed, double=10, delay_ms=20)
        read(40 * BLK, seed, drop=4 * seed, double=10, delay_ms=20, known=False)


def test_a_repair_brings_exactly_the_ranges():
    ranges = [(2, 3), (9, 1), (17, 4)]
    wanted = [2, 3, 4, 9, 17, 18, 19, 20]
    client = read(20 * BLK, ranges=ranges)
    assert sorted(client.flash) == wanted
    assert client.reader.is_data_complete()
    assert client.acks[-1] == 9  # the empty last DATA, acknowledged unseen


def test_a_repair_with_the_short_last_block_ends_with_it():
    client = read(20 * BLK - 1, ranges=[(3, 1), (20, 1)])
    assert sorted(client.flash) == [3, 20]
    assert client.acks[-1] == 2


def test_a_repair_under_loss():
    for seed in range(1, 9):
        client = read(
            60 * BLK + 9, seed, drop=4 * seed, double=10, delay_ms=20, ranges=[(1, 7), (30, 2), (59, 3)]
        )
        assert sorted(client.flash) == [1, 2, 3, 4, 5, 6, 7, 30, 31, 59, 60, 61]


def test_a_whole_file_from_a_stock_server_fills_only_the_gaps():
    held = (1, 2, 5, 8, 9)
    client = read(9 * BLK, held=held)
    assert client.gaps.is_complete()


def test_block_numbers_wrap_in_a_long_plain_read():
    blocks = 65536 + 40
    machine = reader(blocks, window=64)
    acks = []
    frame = bytearray(4 + BLK)
    frame[1] = wire.OP_DATA
    for number in range(1, blocks + 1):
        frame[2] = number >> 8 & 255
        frame[3] = number & 255
        assert machine.accept(frame, 4 + BLK, 0)
        assert machine.block == number
        machine.advance()
        if machine.ack >= 0:
            acks.append(take_ack(machine))
    assert machine.is_data_complete()
    assert not machine.done
    assert acks == list(range(64, blocks + 1, 64))
    assert hear(machine, (blocks + 1) & 0xFFFF, 1) == blocks + 1
    assert machine.done
    assert take_ack(machine) == blocks + 1


def test_a_lost_block_is_asked_for_once_until_it_comes():
    machine = reader(20, window=4)
    assert hear(machine, 1) == 1
    assert hear(machine, 3) == 0
    assert take_ack(machine) == 1
    assert hear(machine, 4) == 0
    assert take_ack(machine) == repair.NO_ACK
    for number in (2, 3, 4):
        assert hear(machine, number) == number
    assert take_ack(machine) == repair.NO_ACK  # the window began anew behind block 1
    assert hear(machine, 5) == 5
    assert take_ack(machine) == 5
    assert hear(machine, 7) == 0
    assert take_ack(machine) == 5


def test_a_repeated_window_is_acknowledged_once_more():
    machine = reader(20, window=4)
    for number in (1, 2, 3, 4):
        hear(machine, number)
    assert take_ack(machine) == 4
    acks = []
    for number in (1, 2, 3, 4):
        assert hear(machine, number) == 0
        acks.append(take_ack(machine))
    no = repair.NO_ACK
    assert acks == [no, no, no, 4]


def test_a_window_whose_end_did_not_come_goes_on_from_there():
    """A board's receive queue is shorter than a window; the server waits long, and repeats what fitted."""
    machine = reader(20, window=8)
    for number in range(1, 7):
        assert hear(machine, number) == number  # 7 and 8 did not fit into the queue
    machine.tick(99)
    assert take_ack(machine) == repair.NO_ACK
    machine.tick(100)
    assert take_ack(machine) == 6
    machine.tick(200)
    assert take_ack(machine) == repair.NO_ACK  # asked once


def test_a_window_repeated_in_part_is_answered_when_the_queue_is_empty():
    machine = reader(20, window=8, ranges=[(3, 9)])  # a Gapcast server: its window may be on its way
    for number in range(1, 7):
        assert hear(machine, number) == number + 2
    machine.tick(200)
    assert take_ack(machine) == repair.NO_ACK
    for at_ms in (300, 600, 900):
        for number in range(1, 6):
            assert hear(machine, number, now_ms=at_ms) == 0
            assert take_ack(machine) == repair.NO_ACK
        machine.tick(at_ms + 100)
        assert take_ack(machine) == 6


def test_a_repair_of_a_gap_that_is_lost_too_is_asked_for_again():
    machine = reader(20, window=8)
    assert hear(machine, 2) == 0
    assert take_ack(machine) == 0
    assert hear(machine, 2, now_ms=99) == 0
    assert take_ack(machine) == repair.NO_ACK
    assert hear(machine, 2, now_ms=100) == 0
    assert take_ack(machine) == 0


def test_far_numbers_are_ignored():
    machine = reader(20)
    hear(machine, 1)
    for number in (0x9000, 0xF000, 65535):
        assert hear(machine, number) == 0
        assert take_ack(machine) == repair.NO_ACK


def test_a_plain_answer_brings_its_first_block_with_it():
    offer = offers.parse_offer(wire.pack_data(1, b"x" * 512), 1024, 8)
    machine = repair.Reader(offer, None, 0)
    assert machine.ack == repair.NO_ACK
    assert hear(machine, 1, 512) == 1
    assert take_ack(machine) == 1
    assert hear(machine, 2, 5) == 2
    assert take_ack(machine) == 2
    assert machine.done


def test_an_error_ends_the_read():
    machine = reader()
    frame = wire.pack_error(0, "busy")
    assert not machine.accept(frame, len(frame), 0)
    assert machine.failed == (0, "busy")


def test_what_is_no_data_is_ignored():
    machine = reader()
    for frame in (
        b"",
        b"\0",
        b"\0\3\0",
        b"\1\3\0\1x",
        b"\0\5\0",
        wire.pack_ack(1),
        wire.pack_oack([("tsize", "1")]),
        wire.pack_data(1, b"x" * (BLK + 1)),
    ):
        assert not machine.accept(frame, len(frame), 0)
        assert machine.ack == repair.NO_ACK
        assert machine.failed is None
    assert hear(machine, 1) == 1


def test_a_short_block_before_the_last_is_not_taken():
    """Only the file's last block can be short (PROTOCOL.md section 4); it would count as whole."""
    for ranges, number in ((None, 3), ([(2, 2), (7, 3)], 3)):
        machine = reader(10, ranges=ranges)
        hear(machine, 1)
        hear(machine, 2)
        assert hear(machine, number, 5) == 0
        assert not machine.done


def test_a_file_that_shrank_below_the_ranges_ends_the_read():
    machine = repair.Reader(make_offer(2 * BLK, ranges=[(5, 3)]), 2, 0)
    hear(machine, 1, 0)
    assert machine.done


def test_nothing_is_taken_after_the_end():
    machine = reader(10, ranges=[(2, 2)])
    hear(machine, 1)
    hear(machine, 2)
    assert machine.done
    assert take_ack(machine) == 3
    assert hear(machine, 3, 0) == 0 or machine.done
    assert machine.done


def test_a_repair_of_nothing_is_our_own_error():
    misused(repair.Reader, make_offer(100, ranges=[]), 2, 0)


def test_the_ack_of_an_oack_is_repeated_soon_and_a_few_times():
    """The server repeats its OACK only as far as the request has paid for it."""
    machine = reader(10, window=1)
    said = []
    for now_ms in range(0, repair.STOCK_REPEAT_MS, 50):
        machine.tick(now_ms)
        if take_ack(machine) == 0:
            said.append(now_ms)
    assert said == [200, 400, 600, 800]


def test_the_ack_of_an_oack_is_not_repeated_when_data_came():
    machine = reader(10, window=2)
    machine.tick(400)
    assert take_ack(machine) == 0
    hear(machine, 1, now_ms=410)
    assert take_ack(machine) == repair.NO_ACK, "a window is two blocks"
    machine.tick(450)
    assert take_ack(machine) == repair.NO_ACK


def test_silence_repeats_the_ack_and_then_gives_up():
    for ranges, step_ms, repeats in (([(1, 5)], repair.REPEAT_MS, 8), (None, repair.STOCK_REPEAT_MS, 3)):
        machine = reader(10, ranges=ranges, window=1)
        hear(machine, 1, now_ms=0)
        assert take_ack(machine) == 1
        times = []
        now_ms = 0
        while machine.failed is None:
            now_ms += 100
            assert now_ms < 60000
            machine.tick(now_ms)
            if machine.ack >= 0:
                assert take_ack(machine) == 1
                times.append(now_ms)
        assert machine.failed == "timeout"
        assert len(times) == repeats + 1
        for i in range(len(times)):
            assert 0 < times[i] - step_ms * (i + 1) <= 100
        assert machine.quiet_ms(now_ms) == now_ms


def test_a_word_of_the_server_resets_the_patience():
    machine = reader(30, ranges=[(1, 20)])
    for number in range(1, 20):
        hear(machine, number, now_ms=number * 400)
        machine.tick(number * 400 + 300)
        assert machine.repeats == 0
    assert machine.failed is None


def test_a_read_from_a_dead_server_ends():
    bench = Bench(Dice(1), drop=100)
    offer = make_offer(BLK * 9, ranges=[(1, 9)])
    sender = WindowSender(bench, contents(BLK * 9), offer)
    client = ReadClient(bench, sender, offer, 9, GapList(9), {})
    bench.run(lambda: client.over)
    assert client.reader.failed == "timeout"

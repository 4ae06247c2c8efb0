"""One multicast session as master and as listener (PROTOCOL.md section 7)."""

from core_helpers import Dice
from core_peers import (
    GROUP,
    PORT,
    Bench,
    Client,
    GapServer,
    StockServer,
    contents,
    make_offer,
    oack,
    repair_rounds,
)

from gapcast_core import receiver, wire
from gapcast_core.gaps import GapList

BLK = 64


def machine(blocks=20, master=True, aware=True, size=None, now_ms=0, random_16=0, gaps=None, known=True):
    """A Receiver, with its OACK acknowledged."""
    offer = make_offer(blocks * BLK if size is None else size, BLK, master, aware, known)
    rx = receiver.Receiver(offer, gaps or GapList(offer.blocks()), now_ms, random_16)
    take_ack(rx)
    return rx


def take_ack(rx):
    ack = rx.ack
    rx.ack = receiver.NO_ACK
    return ack


def hear(rx, block, now_ms=0, size=BLK):
    """One DATA, stored if wanted; the block number that was, or 0."""
    frame = wire.pack_data(block, b"x" * size)
    stored = rx.accept(frame, len(frame), now_ms)
    if stored:
        rx.stored(stored)
    return stored


def dropped(rx, frame, now_ms=0):
    """The reason for which a frame is dropped."""
    before = dict(rx.drops)
    assert rx.accept(bytearray(frame), len(frame), now_ms) == 0
    names = [name for name in rx.drops if rx.drops[name] != before.get(name, 0)]
    assert len(names) == 1, names
    return names[0]


# -- whole downloads --------------------------------------------------------------------------


def download(size, clients, seed, drop=0, double=0, delay_ms=0, blksize=BLK):
    """Stream and repair to `clients` boards; the bench, the server and the clients."""
    data = contents(size, seed)
    bench = Bench(Dice(seed), drop, double, delay_ms)
    boards = [Client(bench, make_offer(size, blksize, i == 0), random_16=i * 37) for i in range(clients)]
    server = GapServer(bench, data, blksize, boards)
    bench.run(lambda: all(board.rx.end != receiver.RUNNING for board in boards))
    for board in boards:
        assert board.rx.end in (receiver.COMPLETE, receiver.GAPS_LEFT, receiver.SILENCE)
        assert (board.rx.end == receiver.COMPLETE) == board.gaps.is_complete()
        assert set(board.rx.drops) <= {"far_ahead"}, "one block more, when many were lost"
        assert board.rx.drops.get("far_ahead", 0) <= 3
        repair_rounds(bench, data, board)
        assert board.gaps.is_complete()
        assert board.data() == data
    return bench, server, boards


def test_a_clean_stream_sends_every_block_once_and_leaves_no_gap():
    for size in (1, BLK - 1, BLK, BLK + 1, 8 * BLK, 8 * BLK - 1, 100 * BLK + 7):
        _bench, server, boards = download(size, 3, 5)
        assert server.sent_blocks == server.total
        for board in boards:
            assert board.rx.end == receiver.COMPLETE
            assert board.rx.duplicates == 0
            assert board.acks[-1] == server.total


def test_loss_on_every_path_ends_complete_with_the_exact_bytes():
    for seed in range(1, 9):
        download(40 * BLK + seed * 9, 4, seed, drop=seed * 6)


def test_doubled_and_reordered_datagrams_do_no_harm():
    for seed in range(1, 7):
        download(60 * BLK, 3, seed, drop=5, double=30, delay_ms=30)


def test_a_lone_master_with_holes_streams_on_and_repairs_later():
    _bench, server, boards = download(120 * BLK, 1, 3, drop=10)
    assert boards[0].rx.end == receiver.GAPS_LEFT
    assert server.sent_blocks < 120 * 1.6  # holes are not sent again in the stream


def test_an_empty_file_is_complete_at_once():
    offer = make_offer(0, BLK)
    rx = receiver.Receiver(offer, GapList(0), 0, 0)
    assert rx.end == receiver.COMPLETE
    assert rx.ack == 0


def stock_download(size, clients, seed, drop=0, double=0, delay_ms=0, known=True):
    data = contents(size, seed)
    bench = Bench(Dice(seed), drop, double, delay_ms)
    boards = []
    for i in range(clients):
        boards.append(Client(bench, make_offer(size, BLK, i == 0, False, known), random_16=i))
    server = StockServer(bench, data, BLK, boards)
    server.start()
    bench.run(lambda: all(board.rx.end != receiver.RUNNING for board in boards))
    for board in boards:
        if not board.gaps.is_complete():
            assert board.rx.end == receiver.SILENCE  # its words got lost for ever: it goes on alone
            repair_rounds(bench, data, board, aware=False)
        assert board.data() == data
        assert set(board.rx.drops) <= {"far_ahead"}, "one block more, when many were lost"
        assert board.rx.drops.get("far_ahead", 0) <= 3
    return bench, boards


def test_a_stock_server_serves_one_master_after_another():
    for size in (1, BLK - 1, BLK, BLK + 1, 10 * BLK, 10 * BLK + 5):
        _bench, boards = stock_download(size, 3, 2)
        for board in boards:
            assert board.rx.end == receiver.COMPLETE
            assert board.acks[-1] == size // BLK + 1


def test_a_stock_server_and_loss():
    for seed in range(1, 5):
        stock_download(25 * BLK + seed, 3, seed, drop=6)


def test_a_stock_server_and_doubled_reordered_datagrams():
    for seed in range(1, 5):
        stock_download(25 * BLK, 2, seed, double=20, delay_ms=8)


def test_without_tsize_the_short_last_block_tells_the_length():
    for size in (1, BLK - 1, BLK, BLK + 1, 7 * BLK, 7 * BLK + 3):
        _bench, boards = stock_download(size, 2, 4, known=False)
        for board in boards:
            assert board.rx.end == receiver.COMPLETE
            assert board.gaps.total == -(-size // BLK)
            assert board.offer.size_bytes == size


# -- the master's clock -----------------------------------------------------------------------


def test_a_master_asks_for_block_1_and_a_listener_acknowledges_its_oack():
    for master in (True, False):
        rx = receiver.Receiver(make_offer(5 * BLK, BLK, master), GapList(5), 0, 0)
        assert rx.ack == 0
        assert rx.is_master == rx.was_master == master


def test_a_master_acknowledges_every_half_window_and_the_last_block():
    rx = machine(11)
    acks = []
    for block in range(1, 12):
        assert hear(rx, block) == block
        acks.append(take_ack(rx))
    no = receiver.NO_ACK
    assert acks == [no, no, no, 4, no, no, no, 8, no, no, 11]
    assert rx.end == receiver.COMPLETE


def test_a_window_of_one_is_acknowledged_block_by_block():
    offer = make_offer(3 * BLK, BLK, window=1)
    rx = receiver.Receiver(offer, GapList(3), 0, 0)
    acks = []
    for block in (1, 2, 3):
        hear(rx, block)
        acks.append(take_ack(rx))
    assert acks == [1, 2, 3]


def test_holes_behind_the_master_stay_holes():
    rx = machine(20)
    for block in (1, 2, 5, 6):
        hear(rx, block)
    assert take_ack(rx) == 5
    assert rx.gaps.ranges() == [(3, 2), (7, 14)]


def test_a_master_that_misses_the_end_leaves_its_gaps_to_the_repair():
    rx = machine(6)
    for block in (1, 2, 4, 6):
        hear(rx, block)
    assert take_ack(rx) == 6
    assert rx.end == receiver.GAPS_LEFT


def test_a_master_skips_what_it_has_already():
    gaps = GapList(30)
    gaps.add_range(1, 4)
    gaps.add_range(9, 10)
    offer = make_offer(30 * BLK, BLK)
    rx = receiver.Receiver(offer, gaps, 0, 0)
    assert take_ack(rx) == 4
    for block in (5, 6, 7):
        hear(rx, block)
    acks = [take_ack(rx)]
    hear(rx, 8)
    acks.append(take_ack(rx))
    assert 18 in acks  # 9..18 are there: the next wanted is 19
    assert rx.end == receiver.RUNNING


def test_a_probe_is_answered_at_once():
    rx = machine(20)
    for block in (1, 2, 3, 4):
        hear(rx, block)
    assert take_ack(rx) == 4
    assert hear(rx, 4) == 0
    assert take_ack(rx) == 4
    assert rx.duplicates == 1
    assert hear(rx, 2) == 0
    assert take_ack(rx) == 4


def test_an_old_hole_that_is_filled_late_is_stored_and_acknowledged():
    rx = machine(20)
    for block in (1, 3, 4):
        hear(rx, block)
    take_ack(rx)
    assert hear(rx, 2) == 2
    assert take_ack(rx) == 4
    assert rx.position == 5


def test_a_listener_stays_silent_until_it_has_everything():
    rx = machine(10, master=False)
    for block in (3, 1, 7, 2, 9, 8, 4, 5, 6):
        assert hear(rx, block) == block
        assert take_ack(rx) == receiver.NO_ACK
    assert hear(rx, 10) == 10
    assert take_ack(rx) == 10
    assert rx.end == receiver.COMPLETE


def test_first_and_last_block_in_any_order():
    for order in ((1, 2, 3), (3, 2, 1), (2, 1, 3), (3, 1, 2)):
        rx = machine(3, master=False, size=2 * BLK + 1)
        for block in order:
            assert hear(rx, block, size=1 if block == 3 else BLK) == block
        assert rx.end == receiver.COMPLETE


def test_a_silent_server_hears_the_masters_ack_again():
    rx = machine(20)
    hear(rx, 1, now_ms=1000)
    times = []
    for now_ms in range(1000, 2500, 100):
        rx.tick(now_ms)
        if take_ack(rx) >= 0:
            times.append(now_ms - 1000)
    assert times == [400, 700, 1000, 1300]
    assert rx.end == receiver.RUNNING


def test_a_stock_server_is_not_pressed():
    rx = machine(20, aware=False)
    hear(rx, 1, now_ms=0)
    take_ack(rx)
    times = []
    for now_ms in range(0, 15100, 100):
        rx.tick(now_ms)
        if take_ack(rx) >= 0:
            times.append(now_ms)
    assert times == [6100, 12100]
    assert rx.end == receiver.RUNNING
    rx.tick(15100)
    assert rx.end == receiver.SILENCE


def test_a_stock_master_names_each_new_hole_once():
    offer = make_offer(20 * BLK, BLK, True, False)
    offer.window = 4
    rx = receiver.Receiver(offer, GapList(20), 0, 0)
    take_ack(rx)
    acks = []
    for block in (1, 3, 4, 5):
        hear(rx, block)
        acks.append(take_ack(rx))
    assert acks == [receiver.NO_ACK, 1, receiver.NO_ACK, receiver.NO_ACK]


def test_the_empty_last_data_of_a_stock_server():
    rx = machine(4, aware=False)
    for block in (1, 2, 3, 4):
        hear(rx, block)
        assert take_ack(rx) == block
    assert rx.gaps.is_complete()
    assert rx.end == receiver.RUNNING
    hear(rx, 5, size=0)
    assert rx.end == receiver.COMPLETE
    assert take_ack(rx) == 5


def test_a_lost_empty_last_data_is_not_waited_for_for_ever():
    for master in (True, False):
        rx = machine(4, master=master, aware=False)
        for block in (1, 2, 3, 4):
            hear(rx, block, now_ms=50)
        rx.tick(50 + receiver.TAIL_WAIT_MS)
        assert rx.end == receiver.RUNNING
        rx.tick(51 + receiver.TAIL_WAIT_MS)
        assert rx.end == receiver.COMPLETE
        assert take_ack(rx) == 5


def test_a_gap_aware_session_has_no_empty_last_data():
    rx = machine(4)
    for block in (1, 2, 3, 4):
        hear(rx, block)
    assert rx.end == receiver.COMPLETE


# -- the server's other words -----------------------------------------------------------------


def test_a_turn_ends_the_stream_with_the_ack_before_the_first_gap():
    rx = machine(20, master=False)
    for block in (1, 2, 5, 6):
        hear(rx, block)
    rx.control(oack(1, "1-20"), 0)
    assert rx.end == receiver.GAPS_LEFT
    assert take_ack(rx) == 2


def test_a_turn_before_any_data():
    rx = machine(20, master=False)
    rx.control(oack(1, "1-20"), 0)
    assert rx.end == receiver.GAPS_LEFT
    assert take_ack(rx) == 0


def test_a_hand_over_makes_a_listener_the_master_where_it_is():
    for short in (False, True):
        rx = machine(20, master=False)
        for block in (1, 2, 5):
            hear(rx, block)
        rx.control(oack(1, short=short), 0)
        assert rx.is_master
        assert rx.was_master
        assert take_ack(rx) == 5
        for block in (6, 7, 8):
            hear(rx, block)
            assert take_ack(rx) == receiver.NO_ACK
        hear(rx, 9)
        assert take_ack(rx) == 9


def test_a_hand_over_in_a_stock_session_asks_for_the_first_gap():
    rx = machine(20, master=False, aware=False)
    for block in (1, 2, 5, 20):
        hear(rx, block)
    rx.control(oack(1), 0)
    assert take_ack(rx) == 2
    hear(rx, 3)
    assert take_ack(rx) == 3
    hear(rx, 4)
    assert take_ack(rx) == 5


def test_a_master_that_was_replaced_falls_silent():
    rx = machine(20)
    rx.control(oack(0), 0)
    assert not rx.is_master
    assert rx.was_master
    for block in range(1, 10):
        hear(rx, block)
        assert take_ack(rx) == receiver.NO_ACK


def test_a_board_that_is_told_to_wait_waits_for_its_turn():
    """After the stream's end mc=0 comes about once a second (PROTOCOL.md section 4)."""
    for first in (20, 1):
        rx = machine(20, master=False)
        for block in range(first, 21):
            if block != 2:
                hear(rx, block, now_ms=0)
        for now_ms in range(0, 10000, 100):
            if now_ms % 1100 == 0:
                rx.control(oack(0), now_ms)
            rx.tick(now_ms)
            assert rx.end == receiver.RUNNING, (first, now_ms)
        rx.control(oack(1, "1-20"), 10000)
        assert rx.end == receiver.GAPS_LEFT


def test_an_error_ends_the_session():
    rx = machine(20)
    rx.control(wire.pack_error(3, "disk full"), 0)
    assert rx.end == receiver.REFUSED
    assert rx.error == (3, "disk full")


def test_a_changed_group_is_dropped():
    for group, port in ((GROUP, PORT + 1), ("239.192.0.10", PORT)):
        rx = machine(20, master=False)
        rx.control(oack(1, "1-20", group, port), 0)
        assert rx.drops == {"group_changed": 1}
        assert rx.end == receiver.RUNNING
        assert not rx.is_master


def test_what_is_no_control_is_dropped_by_name():
    cases = [
        (b"", "short"),
        (b"\0", "short"),
        (wire.pack_data(1, b"x"), "not_control"),
        (wire.pack_ack(1), "not_control"),
        (b"\0\5\0", "short"),
        (b"\0\6tsize", "no_final_nul"),
        (b"\0\6tsize\0", "option_without_value"),
        (wire.pack_oack([("tsize", "1")]), "oack_without_multicast"),
        (wire.pack_oack([]), "oack_without_multicast"),
        (wire.pack_oack([("multicast", "x")]), "bad_multicast"),
        (wire.pack_oack([("multicast", "10.0.0.1,7,1")]), "bad_multicast"),
    ]
    for data, reason in cases:
        rx = machine(20)
        rx.control(data, 0)
        assert rx.drops == {reason: 1}, (data, rx.drops)
        assert rx.end == receiver.RUNNING
        assert rx.ack == receiver.NO_ACK


# -- foreign and malformed DATA ---------------------------------------------------------------


def test_what_is_no_block_of_ours_is_dropped_by_name():
    full = b"x" * BLK
    cases = [
        (b"", "not_data"),
        (b"\0\3\0", "not_data"),
        (b"\1\3\0\1" + full, "not_data"),
        (wire.pack_ack(1), "not_data"),
        (wire.pack_error(0, "x"), "not_data"),
        (wire.pack_data(0, full), "block_zero"),
        (wire.pack_data(4, full), "beyond_end"),
        (wire.pack_data(4, b"x"), "beyond_end"),
        (wire.pack_data(65535, full), "beyond_end"),
        (wire.pack_data(1, full[1:]), "wrong_length"),
        (wire.pack_data(1, b""), "wrong_length"),
        (wire.pack_data(3, b""), "wrong_length"),
    ]
    for frame, reason in cases:
        rx = machine(3, size=2 * BLK + 10)
        assert dropped(rx, frame) == reason, frame
        assert rx.gaps.missing_blocks() == 3
        assert rx.ack == receiver.NO_ACK


def test_a_padded_last_block_is_taken_and_a_cut_one_is_not():
    for size, taken in ((9, False), (10, True), (11, True), (BLK, True)):
        rx = machine(3, size=2 * BLK + 10)
        assert (hear(rx, 3, size=size) == 3) == taken


def test_the_empty_block_behind_the_end_is_no_drop():
    rx = machine(3, master=False)
    assert hear(rx, 4, size=0) == 0
    assert rx.drops == {}


def test_without_a_size_a_short_block_before_later_ones_is_foreign():
    rx = machine(aware=False, known=False)
    hear(rx, 5)
    assert dropped(rx, wire.pack_data(3, b"x")) == "wrong_length"
    assert not rx.gaps.total_known
    assert hear(rx, 6, size=1) == 6
    assert rx.gaps.total_known
    assert rx.gaps.total == 6
    assert dropped(rx, wire.pack_data(7, b"x" * BLK)) == "beyond_end"


def test_without_a_size_a_first_empty_data_is_an_empty_file():
    rx = machine(aware=False, known=False)
    assert hear(rx, 1, size=0) == 0
    assert rx.end == receiver.COMPLETE
    assert take_ack(rx) == 1
    assert rx.offer.size_bytes == 0


def test_a_second_session_without_tsize_ends_like_the_first():
    """The length is known from an earlier session, but this OACK does not tell it (RFC 2349 is optional)."""
    gaps = GapList(None)
    gaps.add_range(1, 4)
    gaps.set_total(5)
    rx = machine(aware=False, known=False, gaps=gaps)
    hear(rx, 5, size=3)
    rx.tick(receiver.TAIL_WAIT_MS + 1)
    assert rx.end == receiver.COMPLETE
    assert take_ack(rx) >= 5


# -- silence ----------------------------------------------------------------------------------


def silent_after(rx):
    """Milliseconds of silence until the client goes on by itself."""
    for now_ms in range(0, 20001, 50):
        rx.tick(now_ms)
        rx.ack = receiver.NO_ACK
        if rx.end != receiver.RUNNING:
            assert rx.end == receiver.SILENCE
            return now_ms
    raise AssertionError("it waits for ever")


def test_a_stream_that_never_starts_is_left():
    assert 3000 < silent_after(machine(20, master=False)) <= 3100
    assert 3000 < silent_after(machine(20)) <= 3100


def test_a_stream_that_stops_is_left():
    rx = machine(20, master=False)
    hear(rx, 1)
    assert 1500 < silent_after(rx) <= 1600


def test_after_the_last_block_the_back_off_is_random_and_shorter_with_more_gaps():
    waits = []
    for held in (1, 25, 50, 75, 99):
        rx = machine(100, master=False, random_16=255)
        for block in range(101 - held, 101):
            hear(rx, block)
        hear(rx, 100)  # again, as the server does: the first word from so far ahead is not believed
        waits.append(silent_after(rx))
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    assert waits[0] >= 500
    assert waits[-1] <= 2050
    spread = []
    for random_16 in (0, 64, 128, 255):
        rx = machine(100, master=False, random_16=random_16)
        for block in range(2, 101):
            hear(rx, block)
        spread.append(silent_after(rx))
    assert spread == sorted(spread)
    assert spread[0] < 600
    assert spread[-1] > 1900


def test_data_and_oacks_keep_a_session_alive():
    rx = machine(20, master=False)
    for now_ms in range(0, 9000, 100):
        if now_ms % 1000 == 0:
            hear(rx, 1, now_ms)
        elif now_ms % 500 == 0:
            rx.control(oack(0), now_ms)
        rx.tick(now_ms)
    assert rx.end == receiver.RUNNING


def test_a_dead_master_is_replaced_and_the_rest_get_their_file():
    data = contents(50 * BLK)
    bench = Bench(Dice(9), 5)
    boards = [Client(bench, make_offer(len(data), BLK, i == 0)) for i in range(3)]
    server = GapServer(bench, data, BLK, boards)
    bench.run(lambda: server.latest > 10)
    boards[0].rx.end = receiver.REFUSED  # its power is cut
    alive = boards[1:]
    bench.run(lambda: all(board.rx.end != receiver.RUNNING for board in alive))
    assert server.master is not boards[0]
    assert any(board.rx.was_master for board in alive)
    for board in alive:
        repair_rounds(bench, data, board)
        assert board.data() == data


def test_a_gap_list_too_small_for_its_gaps_still_ends_complete():
    data = contents(300 * BLK, 6)
    bench = Bench(Dice(6), 35)
    offer = make_offer(len(data), BLK)
    board = Client(bench, offer, GapList(offer.blocks(), 8))
    GapServer(bench, data, BLK, [board])
    bench.run(lambda: board.rx.end != receiver.RUNNING)
    assert board.gaps.merges > 0
    for block in range(1, 301):
        assert board.gaps.is_missing(block) or block in board.flash
    for block in list(board.flash):
        if board.gaps.is_missing(block):
            del board.flash[block]  # to be stored once more
    repair_rounds(bench, data, board)
    assert board.data() == data


# -- forged numbers ---------------------------------------------------------------------------


def test_a_number_far_ahead_is_believed_when_it_goes_on():
    rx = machine(1000, master=False)
    for block in range(1, 11):
        assert hear(rx, block) == block
    far = rx.position + receiver.JUMP_BLOCKS
    assert hear(rx, far) == far, "not far yet"
    assert hear(rx, far + receiver.JUMP_BLOCKS + 2) == 0
    assert rx.drops == {"far_ahead": 1}
    assert rx.position == far + 1
    assert hear(rx, far + receiver.JUMP_BLOCKS + 3) == far + receiver.JUMP_BLOCKS + 3


def test_a_long_loss_costs_one_block_more():
    for lost_after in (0, 1, 3, receiver.JUMP_STEP_BLOCKS - 1):
        rx = machine(1000, master=False)
        for block in range(1, 11):
            hear(rx, block)
        heard = [block for block in range(400, 500) if not 400 < block <= 400 + lost_after]
        assert [hear(rx, block) for block in heard] == [0] + heard[1:]


def test_forged_numbers_are_not_stored():
    """Every fifth DATA is a forger's, with a random number."""
    dice = Dice(7)
    rx = machine(2000, master=False)
    poisoned = 0
    forged = 0
    for block in range(1, 2001):
        if dice.percent(20):
            forged += 1
            number = 1 + dice.below(65535)
            if hear(rx, number):
                poisoned += 1
        hear(rx, block)
    assert forged > 300
    assert rx.gaps.is_complete()
    assert poisoned <= 4, poisoned
    assert rx.drops["far_ahead"] > 1


def test_a_forger_does_not_keep_a_board_from_catching_up():
    """Lost for a while, with forged numbers between the true ones."""
    dice = Dice(11)
    rx = machine(2000, master=False)
    missed = 0
    for block in range(1000, 1100):
        if not hear(rx, block):
            missed += 1
        if dice.percent(20):
            hear(rx, 1 + dice.below(2000))
    assert missed <= 4, missed


def test_a_master_skips_what_it_has_however_far():
    gaps = GapList(1000)
    gaps.add_range(1, 900)
    rx = machine(1000, master=True, gaps=gaps)
    assert [hear(rx, block) for block in range(901, 905)] == [901, 902, 903, 904]
    gaps.add_range(905, 80)
    hear(rx, 904)
    assert hear(rx, 985) == 985
    assert "far_ahead" not in rx.drops


def test_the_last_block_repeated_is_the_end_of_the_stream():
    rx = machine(1000, master=False)
    assert hear(rx, 1000) == 0
    assert hear(rx, 1000) == 1000
    assert rx.position == 1001
    assert hear(rx, 500) == 500, "a hole behind the position"


def test_a_short_session_ends_in_time_whatever_is_said():
    rx = machine(blocks=1, master=False)
    rx.limit_ms = 300
    for now_ms in range(0, 301, 100):
        rx.control(oack(False), now_ms)
        rx.tick(now_ms)
        assert rx.end == receiver.RUNNING
    rx.control(oack(False), 400)
    rx.tick(400)
    assert rx.end == receiver.SILENCE


def test_a_header_heard_by_a_listener_is_acknowledged():
    rx = machine(blocks=1, master=False)
    rx.limit_ms = 300
    assert hear(rx, 1, 200) == 1
    assert rx.end == receiver.COMPLETE
    assert take_ack(rx) == 1


def test_where_many_blocks_in_a_row_come_there_is_the_stream():
    """A forger had two blocks believed that were far ahead."""
    rx = machine(600, master=False)
    for block in range(1, 20):
        hear(rx, block)
    assert hear(rx, 400) == 0
    assert hear(rx, 402) == 402
    assert rx.position == 403
    for block in (20, 21, 22, 23):
        assert hear(rx, block) == block
    assert rx.position == 24
    assert hear(rx, 300) == 0

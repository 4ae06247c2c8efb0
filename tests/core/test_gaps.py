"""The gap list against a model that remembers every block: one byte each, 1 while it is missing."""

from core_helpers import Dice, misused

from gapcast_core.gaps import CAPACITY_GAPS, MAX_TOTAL_BLOCKS, GapList

IMAGE_BLOCKS = 16384  # 16 MiB in blocks of 1 KiB
HEAP_LIMIT_BYTES = 2048


class Model:
    """GapList and the truth, changed side by side."""

    def __init__(self, total, capacity=CAPACITY_GAPS):
        self.gaps = GapList(total, capacity)
        self.missing = bytearray(b"\1" * (total + 1))
        self.missing[0] = 0
        self.total = total
        self.capacity = capacity

    def add(self, block):
        expected = 1 <= block <= self.total and self.missing[block] == 1
        changed = self.gaps.add(block)
        # After a merge the list may want a stored block once more; the other way round is a loss.
        assert changed == expected or (changed and self.gaps.merges)
        if expected:
            self.missing[block] = 0

    def mark_missing(self, first, length):
        self.gaps.mark_missing(first, length)
        for block in range(first, first + length):
            self.missing[block] = 1

    def check(self):
        gaps = self.gaps
        listed = bytearray(self.total + 1)
        after = 0
        count = 0
        pairs = gaps.ranges()
        for first, length in pairs:
            assert first > after, "not ascending and disjoint"
            assert length > 0
            after = first + length - 1
            count += length
            listed[first : after + 1] = b"\1" * length
        assert after <= self.total
        assert gaps.missing_blocks() == count
        assert gaps.gap_count() == len(pairs) <= self.capacity + 1
        assert gaps.is_complete() == (count == 0)
        assert gaps.largest_gap_blocks() == max([0] + [length for _first, length in pairs])
        if gaps.merges:
            lost = [block for block in range(self.total + 1) if self.missing[block] and not listed[block]]
            assert not lost, "missing, but not listed: %s" % lost[:5]
        else:
            assert listed == self.missing
        return listed

    def check_lookups(self):
        listed = self.check()
        expected = self.total + 1
        for block in range(self.total, 0, -1):
            assert self.gaps.is_missing(block) == (listed[block] == 1)
            if listed[block]:
                expected = block
            assert self.gaps.next_missing(block) == expected

    def repair(self, dice, loss):
        """Ask for everything that is listed, with loss, until nothing is missing; the rounds that it took."""
        # Two gaps of room lose most of a round again at each merge, and still get on from both ends.
        limit = max(100, self.total // self.capacity)
        rounds = 0
        while not self.gaps.is_complete():
            rounds += 1
            assert rounds < limit, "no end"
            for first, length in self.gaps.ranges():
                for block in range(first, first + length):
                    if not dice.percent(loss):
                        self.add(block)
            self.check()
        assert sum(self.missing) == 0
        return rounds


def stream(model, dice, loss):
    for block in range(1, model.total + 1):
        if not dice.percent(loss):
            model.add(block)
    model.check()


def test_a_clean_stream():
    model = Model(100)
    assert model.gaps.gap_count() == 1
    assert model.gaps.ranges() == [(1, 100)]
    for block in range(1, 101):
        model.add(block)
    model.check_lookups()
    assert model.gaps.is_complete()
    assert model.gaps.ranges() == []
    assert not model.gaps.add(1)
    assert not model.gaps.add(100)
    assert not model.gaps.add(101)


def test_one_gap_and_the_open_tail():
    gaps = GapList(10)
    for block in (1, 2, 5, 6):
        assert gaps.add(block)
    assert gaps.ranges() == [(3, 2), (7, 4)]
    assert (gaps.first(0), gaps.length(0), gaps.first(1), gaps.length(1)) == (3, 2, 7, 4)
    assert gaps.missing_blocks() == 6
    assert gaps.largest_gap_blocks() == 4
    assert gaps.next_missing(1) == 3
    assert gaps.next_missing(4) == 4
    assert gaps.next_missing(5) == 7
    assert not gaps.add(5)
    assert gaps.add(3)
    assert gaps.add(4)
    assert gaps.ranges() == [(7, 4)]


def test_filling_a_gap_from_every_side():
    for order in ([5, 6, 7], [7, 6, 5], [6, 5, 7], [6, 7, 5], [5, 7, 6]):
        model = Model(10)
        for block in (1, 2, 3, 4, 8):
            model.add(block)
        for block in order:
            model.add(block)
            model.check_lookups()
        assert model.gaps.ranges() == [(9, 2)]


def test_blocks_out_of_range_change_nothing():
    gaps = GapList(10)
    for block in (0, -1, 11, 65536, 1 << 30):
        assert not gaps.add(block)
        assert not gaps.is_missing(block)
    assert gaps.ranges() == [(1, 10)]
    gaps.add(10)
    for block in (0, -1, 11):
        assert not gaps.add(block)
    assert gaps.ranges() == [(1, 9)]
    assert gaps.next_missing(0) == 1
    assert gaps.next_missing(11) == 11


def test_the_smallest_totals():
    assert GapList(0).is_complete()
    assert GapList(0).ranges() == []
    assert GapList(0).missing_blocks() == 0
    assert GapList(0).next_missing(1) == 1
    gaps = GapList(1)
    assert gaps.add(1)
    assert gaps.is_complete()


def test_the_largest_16_bit_total():
    gaps = GapList(65535)
    assert gaps.add(65535)
    assert gaps.ranges() == [(1, 65534)]
    gaps.mark_missing(65535, 1)
    assert gaps.missing_blocks() == 65535
    gaps.add_range(1, 65535)
    assert gaps.is_complete()


def test_add_range():
    gaps = GapList(20)
    gaps.add_range(5, 4)
    assert gaps.ranges() == [(1, 4), (9, 12)]
    gaps.add_range(1, 20)
    assert gaps.is_complete()
    gaps.add_range(18, 100)
    assert gaps.is_complete()


def test_an_unknown_total():
    gaps = GapList(None)
    assert not gaps.total_known
    assert not gaps.is_complete()
    gaps.add(1)
    gaps.add(70000)
    gaps.set_total(70001)
    assert gaps.total_known
    assert gaps.ranges() == [(2, 69998), (70001, 1)]
    assert not gaps.add(70002)
    misused(gaps.set_total, 69999)
    misused(gaps.set_total, 70002)
    misused(gaps.set_total, -1)
    gaps.set_total(70000)
    assert gaps.ranges() == [(2, 69998)]


def test_wrong_calls():
    misused(GapList, -1)
    misused(GapList, MAX_TOTAL_BLOCKS + 1)
    misused(GapList, 10, 1)
    gaps = GapList(10)
    for first, length in ((0, 1), (1, 0), (10, 2), (11, 1), (1, -1)):
        misused(gaps.mark_missing, first, length)


def test_mark_missing_joins_what_it_touches():
    cases = [
        # stored, marked, listed afterwards
        ([1, 2, 3, 4, 5], (2, 2), [(2, 2), (6, 5)]),
        ([1, 2, 5, 6], (1, 2), [(1, 4), (7, 4)]),
        ([1, 2, 5, 6], (5, 1), [(3, 3), (7, 4)]),
        ([1, 3, 5, 7], (1, 7), [(1, 7), (8, 3)]),
        ([1, 3, 5, 7], (3, 1), [(2, 3), (6, 1), (8, 3)]),
        ([1, 2, 3], (3, 5), [(3, 1), (4, 7)]),
        ([1, 2, 3], (4, 7), [(4, 7)]),
        ([1, 2, 5], (3, 2), [(3, 2), (6, 5)]),
    ]
    for stored, marked, listed in cases:
        model = Model(10)
        for block in stored:
            model.add(block)
        model.mark_missing(marked[0], marked[1])
        model.check_lookups()
        assert model.gaps.ranges() == listed


def test_random_loss_of_every_rate():
    for loss in (1, 5, 10, 20, 50, 90, 99):
        dice = Dice(loss)
        model = Model(2000)
        stream(model, dice, loss)
        model.check_lookups()
        model.repair(dice, loss // 2)


def test_bursts():
    dice = Dice(31)
    for _ in range(5):
        model = Model(3000)
        lost = False
        for block in range(1, 3001):
            if dice.percent(20 if lost else 2):  # Gilbert's two states: good, and a burst of some five blocks
                lost = not lost
            if not lost:
                model.add(block)
        model.check_lookups()
        model.repair(dice, 10)


def test_reordered_and_repeated_blocks():
    dice = Dice(47)
    for _ in range(5):
        model = Model(1000)
        held = []
        for block in range(1, 1001):
            held.append(block)
            if len(held) > 6:
                model.add(held.pop(dice.below(len(held))))
            if dice.percent(10):
                model.add(1 + dice.below(block))
        model.check_lookups()
        model.repair(dice, 0)


def test_blocks_in_any_order_at_all():
    dice = Dice(59)
    for capacity in (2, 3, 8, 480):
        blocks = list(range(1, 501))
        model = Model(500, capacity)
        while blocks:
            model.add(blocks.pop(dice.below(len(blocks))))
            if len(blocks) % 20 == 0:
                model.check_lookups()
        model.repair(dice, 0)


def test_chunks_that_turn_bad():
    dice = Dice(61)
    for capacity in (2, 5, 16, 480):
        model = Model(400, capacity)
        for _ in range(600):
            if dice.percent(15):
                first = 1 + dice.below(400)
                model.mark_missing(first, 1 + dice.below(min(12, 401 - first)))
            else:
                model.add(1 + dice.below(400))
            model.check()
        model.check_lookups()
        model.repair(dice, 20)


def test_a_full_list_never_forgets_a_gap():
    for capacity in (2, 3, 4, 7, 32):
        for loss in (5, 20, 50, 80):
            dice = Dice(capacity * 100 + loss)
            model = Model(1500, capacity)
            stream(model, dice, loss)
            model.check_lookups()
            assert model.gaps.merges
            model.repair(dice, loss // 4)


def test_a_list_full_to_the_last_place_is_exact():
    model = Model(2 * CAPACITY_GAPS + 1)
    for block in range(2, 2 * CAPACITY_GAPS + 1, 2):
        model.add(block)
    assert model.gaps.gap_count() == CAPACITY_GAPS + 1  # and the open tail
    assert model.gaps.merges == 0
    model.check_lookups()


def test_a_split_in_a_full_list():
    model = Model(40, 3)
    for block in (10, 20, 30):
        model.add(block)
    assert model.gaps.ranges() == [(1, 9), (11, 9), (21, 9), (31, 10)]
    model.add(15)
    model.check_lookups()
    assert model.gaps.merges == 1
    model.repair(Dice(1), 0)


def test_a_whole_image_at_the_losses_of_a_bench():
    for loss in (5, 10, 20, 50):
        dice = Dice(loss * 7 + 1)
        model = Model(IMAGE_BLOCKS)
        stream(model, dice, loss)
        assert model.gaps.merges
        assert model.gaps.missing_blocks() >= sum(model.missing)
        model.repair(dice, loss)


def test_every_other_block_of_a_whole_image():
    model = Model(IMAGE_BLOCKS)
    for block in range(2, IMAGE_BLOCKS + 1, 2):
        model.add(block)
    model.check()
    assert model.gaps.gap_count() <= CAPACITY_GAPS + 1
    model.repair(Dice(3), 0)


def test_the_arrays_stay_within_two_kib():
    gaps = GapList(65535)
    assert len(bytes(gaps._first)) + len(bytes(gaps._length)) <= HEAP_LIMIT_BYTES
    for block in range(2, 20000, 2):
        gaps.add(block)
    assert len(bytes(gaps._first)) + len(bytes(gaps._length)) <= HEAP_LIMIT_BYTES


def test_a_range_is_added_as_its_blocks_are():
    dice = Dice(3)
    for _round in range(200):
        one, other = GapList(60, 20), GapList(60, 20)
        for _step in range(8):
            first = 1 + dice.below(60)
            length = 1 + dice.below(20)
            one.add_range(first, length)
            for block in range(first, first + length):
                other.add(block)
            assert one.ranges() == other.ranges()
            assert one.missing_blocks() == other.missing_blocks()

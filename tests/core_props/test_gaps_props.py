"""The gap list against a set, driven by hypothesis in whatever order it finds nasty."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gapcast_core.gaps import GapList

MAX_BLOCKS = 120


class GapListMachine(RuleBasedStateMachine):
    """`missing` is the truth; the list may hold more once it has merged gaps, and never less."""

    gaps: GapList
    missing: set[int]
    total: int
    known: bool

    @initialize(
        total=st.integers(0, MAX_BLOCKS), capacity=st.sampled_from([2, 3, 4, 8, 480]), known=st.booleans()
    )
    def start(self, total: int, capacity: int, known: bool) -> None:
        self.gaps = GapList(total if known else None, capacity)
        self.capacity = capacity
        self.total = total
        self.known = known
        self.missing = set(range(1, total + 1))

    @rule(block=st.integers(-2, MAX_BLOCKS + 2))
    def add(self, block: int) -> None:
        if not self.known and block > self.total:
            return
        wanted = block in self.missing
        listed = self.gaps.is_missing(block)
        assert self.gaps.add(block) == listed
        assert listed or not wanted
        if not self.gaps.merges:
            assert listed == wanted
        self.missing.discard(block)

    @rule(first=st.integers(1, MAX_BLOCKS), length=st.integers(1, 60))
    def add_range(self, first: int, length: int) -> None:
        length = min(length, self.total + 1 - first)
        if length > 0:
            self.gaps.add_range(first, length)
            self.missing -= set(range(first, first + length))

    @rule(step=st.integers(2, 4), offset=st.integers(0, 3))
    def add_every_nth(self, step: int, offset: int) -> None:
        for block in range(1 + offset, self.total + 1, step):
            self.gaps.add(block)
            self.missing.discard(block)

    @rule(first=st.integers(1, MAX_BLOCKS), length=st.integers(1, 30))
    def mark_missing(self, first: int, length: int) -> None:
        length = min(length, self.total + 1 - first)
        if length > 0:
            self.gaps.mark_missing(first, length)
            self.missing |= set(range(first, first + length))

    @precondition(lambda self: not self.known)
    @rule()
    def learn_the_total(self) -> None:
        self.gaps.set_total(self.total)
        self.known = True

    @invariant()
    def holds(self) -> None:
        gaps = self.gaps
        listed: set[int] = set()
        after = 0
        for first, length in gaps.ranges():
            assert first > after
            assert length > 0
            after = first + length - 1
            listed |= set(range(first, min(after, self.total) + 1))
        assert self.missing <= listed
        if not gaps.merges:
            assert listed == self.missing
        assert gaps.gap_count() <= self.capacity + 1
        if self.known:
            assert gaps.missing_blocks() == len(listed)
            assert gaps.is_complete() == (not listed)
            for block in range(1, self.total + 2):
                expected = min((other for other in listed if other >= block), default=self.total + 1)
                assert gaps.next_missing(block) == expected
        else:
            assert not gaps.is_complete()


TestGapList = GapListMachine.TestCase
TestGapList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

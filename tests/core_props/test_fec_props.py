"""The pool of repair symbols under any order of arrivals, evictions and decodings."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gapcast.protocol.erasure import repair_symbols
from gapcast_core.fec import Pool

BLKSIZE = 8
GENERATIONS = 4


class PoolMachine(RuleBasedStateMachine):
    """`missing` is the truth; whatever the pool decodes must be the generation's own blocks."""

    pool: Pool
    data: list[list[bytes]]
    missing: list[list[int]]

    @initialize(seed=st.integers(0, 2**32), capacity=st.integers(1, 9))
    def start(self, seed: int, capacity: int) -> None:
        rng = random.Random(seed)
        self.capacity = capacity
        self.pool = Pool(BLKSIZE, capacity)
        self.data = [
            [rng.randbytes(BLKSIZE) for _j in range(rng.randint(1, 14))] for _g in range(GENERATIONS)
        ]
        self.missing = [rng.sample(range(len(d)), rng.randint(0, min(6, len(d)))) for d in self.data]
        self.decoding = -1

    @rule(generation=st.integers(0, GENERATIONS - 1), symbol=st.integers(128, 139))
    def hear(self, generation: int, symbol: int) -> None:
        data = self.data[generation]
        need = len(self.missing[generation])
        before = [self.pool.held(g) for g in range(GENERATIONS)]
        view = repair_symbols(b"".join(data), len(data), BLKSIZE, [symbol])[0]
        kept = self.pool.add(generation, symbol, view, need)
        assert self.pool.held(generation) == before[generation] + kept
        if kept:
            assert self.pool.held(generation) <= need <= self.capacity
            assert not self.pool.add(generation, symbol, view, need)
        else:
            assert [self.pool.held(g) for g in range(GENERATIONS)] == before

    @rule(generation=st.integers(0, GENERATIONS - 1))
    def original_comes_after_all(self, generation: int) -> None:
        if generation != self.decoding and self.missing[generation]:
            self.missing[generation].pop()

    @precondition(lambda self: self.decoding < 0)
    @rule(generation=st.integers(0, GENERATIONS - 1))
    def begin(self, generation: int) -> None:
        missing = self.missing[generation]
        if 0 < len(missing) <= self.pool.held(generation):
            self.pool.begin(generation, missing, len(self.data[generation]))
            self.decoding = generation

    @precondition(lambda self: self.decoding >= 0)
    @rule(two=st.booleans())
    def feed(self, two: bool) -> None:
        self._feed(two)

    def _feed(self, two: bool) -> bool:
        """One known block, or two; False when there is none."""
        data, missing = self.data[self.decoding], self.missing[self.decoding]
        known = self.pool.next_known()
        other = self.pool.next_known(known + 1) if two and known >= 0 else -1
        assert known not in missing
        assert other not in missing
        if other >= 0:
            self.pool.spare[:] = data[other]
            self.pool.feed_two(known, data[known], other)
        elif known >= 0:
            self.pool.feed(known, data[known])
        return known >= 0

    @precondition(lambda self: self.decoding >= 0)
    @rule(two=st.booleans())
    def finish(self, two: bool) -> None:
        generation, data = self.decoding, self.data[self.decoding]
        while self._feed(two):
            pass
        self.pool.solve()
        for i, j in enumerate(self.missing[generation]):
            assert bytes(self.pool.block(i)) == data[j]
        self.pool.release(generation)
        self.missing[generation] = []
        self.decoding = -1

    @rule(generation=st.integers(0, GENERATIONS - 1))
    def forget(self, generation: int) -> None:
        self.pool.release(generation)
        assert self.pool.held(generation) == 0
        if generation == self.decoding:
            self.decoding = -1

    @invariant()
    def bounded(self) -> None:
        assert sum(self.pool.held(g) for g in range(GENERATIONS)) <= self.capacity
        if self.decoding >= 0:
            assert self.pool.held(self.decoding) == len(self.missing[self.decoding])


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)

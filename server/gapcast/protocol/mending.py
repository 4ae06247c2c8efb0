"""Erasure repair while the stream runs: which repair symbols go to the group (PROTOCOL.md section 11).

A generation is mended right behind its blocks: as many symbols as the boards' loss so far lets expect,
then what those report who still lack something. By then the stream has gone on, so no report is
waited for, and a board seldom holds symbols of more than one or two generations.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from gapcast.protocol.erasure import repair_symbols
from gapcast.protocol.planner import should_mend
from gapcast.protocol.types import Address, Content
from gapcast_core.generations import BLOCKS, FIRST_REPAIR_SYMBOL, Plan, number

FLIGHT_MIN_S = 0.006  # a report cannot know of symbols sent within this time
FLIGHT_MAX_S = 0.1
PROBE_S = 0.012  # nothing to send, but somebody lacks something: one symbol wakes its report
PROBE_MAX_S = 0.64  # doubled each time that no report comes of it
SILENT_S = 3.0  # a board that reports nothing for so long is on its own
LOSS_MAX = 0.6
LOSS_MEMORY = 0.25  # weight of the latest generation in a board's loss
CAUTION = -0.3  # of the spread between boards, how much more than expected is sent before they report
# No symbol is sent twice: whoever reports needs without end can make the group's air no more than
# 2 (128 of 64) times longer, and is then left to fetch by itself.
MAX_SYMBOLS = 128


@dataclass(slots=True, eq=False)
class _Board:
    heard_at: float
    loss: float = 0.0
    known: list[int] = field(default_factory=list)  # symbols lacking, of the generations reported
    base: list[int] = field(default_factory=list)  # symbols of each generation sent when that was reported


class Mending:
    """The repair symbols of one session. Addresses are its members'."""

    def __init__(self, plan: Plan, content: Content, blksize: int, now: float) -> None:
        self.plan = plan
        self.symbols = 0  # sent
        self._content = content
        self._blksize = blksize
        self._boards: dict[Address, _Board] = {}  # members only: at most MAX_MEMBERS
        self._sent = [0] * plan.count
        self._recent: deque[tuple[float, int]] = deque()  # of FLIGHT_MAX_S
        self._passed = 0
        self._open: set[int] = set()  # generations of which somebody may need more
        self._at = 0
        self._budget = 0
        self._data: tuple[int, bytes] = (-1, b"")
        self._sent_at = now
        self._probe_s = PROBE_S
        self._ended = False
        self._is_worth_it = False
        self._forbidden = False

    def __contains__(self, address: Address) -> bool:
        """Whether that member waits for symbols."""
        return address in self._boards

    @property
    def is_worth_it(self) -> bool:
        """Whether symbols are the cheaper way, and harm nobody; if not, none are sent."""
        return self._is_worth_it and not self._forbidden

    @property
    def addresses(self) -> list[Address]:
        """Of the boards that report."""
        return list(self._boards)

    def forbid(self) -> None:
        """Send no symbol from now on."""
        self._forbidden = True

    def drop(self, address: Address) -> None:
        """It is done, or gone, or has its turn."""
        self._boards.pop(address, None)

    def has_nothing_to_mend(self, address: Address) -> bool:
        """It has told of every generation, and nothing that symbols can mend is missing."""
        board = self._boards.get(address)
        if board is None or len(board.known) < self.plan.count:
            return False
        return not any(
            lack and self._sent[generation] < MAX_SYMBOLS for generation, lack in enumerate(board.known)
        )

    def report(self, address: Address, lacks: list[int], now: float, round_trip: float) -> None:
        """What a board lacks of the generations gone by; none of them says that it is there."""
        unknown_since = now - min(max(round_trip, FLIGHT_MIN_S), FLIGHT_MAX_S)
        board = self._boards.setdefault(address, _Board(now))
        board.heard_at = now
        self._probe_s = PROBE_S
        while self._recent and self._recent[0][0] < now - FLIGHT_MAX_S:
            self._recent.popleft()
        flying = [0] * len(lacks)
        for at, generation in self._recent:
            if at > unknown_since and generation < len(lacks):
                flying[generation] += 1
        for generation, lack in enumerate(lacks):
            base = self._sent[generation] - flying[generation]
            if generation >= len(board.known):
                self._learn(board, generation, lack, base)
                board.known.append(lack)
                board.base.append(base)
            else:
                board.known[generation] = lack
                board.base[generation] = base
            if lack and generation < self._passed:
                self._open.add(generation)
                if generation == self._at:
                    self._budget = 0  # to be worked out anew

    def _learn(self, board: _Board, generation: int, lack: int, sent: int) -> None:
        lost = (lack + sent * (1 - board.loss)) / self.plan.size(generation)
        if not lack and sent:
            lost = min(lost, board.loss)
        weight = LOSS_MEMORY if board.known else 1.0
        board.loss = min(max(board.loss + (lost - board.loss) * weight, 0.0), LOSS_MAX)

    # ---- the stream ----

    def stream_at(self, top: int, ended: bool) -> None:
        """The stream has sent blocks up to `top`."""
        passed = self.plan.passed(self.plan.total_blocks + 1 if ended else top + 1)
        if passed == self._passed and ended == self._ended:
            return
        self._open.update(range(self._passed, passed))
        self._passed = passed
        self._ended = ended
        if not self._is_worth_it:
            self._is_worth_it = self._decide()

    def _decide(self) -> bool:
        """By what was reported so far; nothing was sent yet, so it is what boards lost."""
        if not self._boards:
            return False
        boards = self._boards.values()
        missing = [
            [board.known[generation] for board in boards if generation < len(board.known)]
            for generation in range(self._passed)
        ]
        loss = sum(board.loss for board in boards) / len(boards)
        return should_mend(missing, len(boards), loss, self._blksize)

    # ---- symbols ----

    def wants_data(self) -> bool:
        """Whether a symbol should be sent now."""
        if not self.is_worth_it:
            return False
        while self._budget <= 0 and self._open:
            self._at = min(self._open)
            self._open.remove(self._at)
            self._budget = min(self._need(self._at), MAX_SYMBOLS - self._sent[self._at])
        return self._budget > 0

    def next_data(self, now: float) -> tuple[int, bytes]:
        """(block number, payload); only when wants_data. Raises ContentChangedError."""
        generation = self._at
        if self._data[0] != generation:
            start = generation * self.plan.k * self._blksize
            self._data = generation, self._content.read(start, self.plan.size(generation) * self._blksize)
        symbol = FIRST_REPAIR_SYMBOL + self._sent[generation]
        self._sent[generation] += 1
        self._budget -= 1
        self._recent.append((now, generation))
        self._sent_at = now
        self.symbols += 1
        k = self.plan.size(generation)
        block: int = number(generation, symbol)
        return block, repair_symbols(self._data[1], k, self._blksize, [symbol])[0]

    def _need(self, generation: int) -> int:
        """Symbols to send so that the neediest board is expected to have enough."""
        sent = self._sent[generation]
        size = self.plan.size(generation)
        spread = CAUTION * math.sqrt(2 * math.log(len(self._boards) or 1))
        most = 0.0
        for board in self._boards.values():
            if generation < len(board.known):
                lack: float = board.known[generation]
                if not lack:
                    continue
                got = (sent - board.base[generation]) * (1 - board.loss)
            else:
                lack = board.loss * size + spread * math.sqrt(size * board.loss * (1 - board.loss))
                got = sent * (1 - board.loss)
            most = max(most, (lack - got) / (1 - board.loss))
        return math.floor(most + 0.5)

    # ---- after the stream ----

    def deadline(self) -> float | None:
        """When to call on_time, once the stream has ended."""
        if not self._ended or not self._boards:
            return None
        return self._sent_at + self._probe_s

    def on_time(self, now: float) -> list[Address]:
        """Wake the reports of boards that still lack something; which boards need their turn instead."""
        due = self.deadline()
        if due is None or now < due:
            return []
        left = [address for address, board in self._boards.items() if now >= board.heard_at + SILENT_S]
        left += [address for address in self._boards if self.has_nothing_to_mend(address)]
        if len(left) < len(self._boards) and not self.wants_data():
            self._at = self._neediest()
            self._budget = min(1, MAX_SYMBOLS - self._sent[self._at])
        self._sent_at = now
        self._probe_s = min(self._probe_s * 2, PROBE_MAX_S)
        return left

    def _neediest(self) -> int:
        """A generation that some board lacks, or did not tell of."""
        last: int = self.plan.count - 1
        for generation in range(last):
            if self._sent[generation] == MAX_SYMBOLS:
                continue
            for board in self._boards.values():
                if generation >= len(board.known) or board.known[generation]:
                    return generation
        return last


def plan_for(content: Content, blksize: int) -> Plan | None:
    """How this file can be mended; None when it cannot: too long, too odd, or too small a block."""
    if not content.size or content.size % blksize or blksize % 8:
        return None
    plan = Plan(content.size // blksize, BLOCKS)
    return plan if plan.fits else None

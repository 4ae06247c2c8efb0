"""Erasure repair while the stream runs: which repair symbols go to the group (PROTOCOL.md section 11).

A unit (a generation, or a pair of them) is mended right behind its blocks: as many symbols as the
boards' loss so far lets expect, then what those report who still lack something. By then the stream has
gone on, so no report is waited for, and a board seldom holds symbols of more than one or two units.
"""

from __future__ import annotations

from gapcast.protocol.again import Again
from gapcast.protocol.flight import Flight
from gapcast.protocol.judging import are_worth_mending, is_pair_cheaper, neediest, symbols_needed
from gapcast.protocol.needs import Needs, generations_of
from gapcast.protocol.release import released
from gapcast.protocol.scatter import are_bursty
from gapcast.protocol.types import Address, Content
from gapcast.protocol.unit_blocks import UnitBlocks
from gapcast_core.generations import (
    FIRST_REPAIR_SYMBOL,
    MIXED_FLAG,
    Plan,
    alone,
    max_symbols,
    number,
    whole,
)

PROBE_S = 0.012  # nothing to send, but somebody lacks something: one symbol wakes its report
PROBE_DATAGRAMS = 6  # at a slow rate, after the time of so many: a pause is what is longer than usual
PROBE_EVENLY = 3  # so many may be lost; then the time is doubled each time that no report comes of it
PROBE_MAX_TIMES = 64
SILENT_S = 3.0  # a board that reports nothing for so long is on its own
JUDGE_EVERY_S = 0.02
SPREAD_BLOCKS = 1  # of the stream between two symbols, when loss comes in bursts
PAIRS_LAG_S = 0.02  # a board has memory for one pair: the next one comes before it asks for more of that


class Mending:
    """The repair symbols of one session. Addresses are its members'.

    No symbol is sent twice: whoever reports needs without end can make the group's air no more than twice
    as long (again.py has its own limit), and is then left to fetch by itself.
    """

    def __init__(self, plan: Plan, content: Content, blksize: int, now: float) -> None:
        self.plan = plan
        self.symbols = 0  # sent
        self.lag_s = 0.0  # how old what reports know of is, as the session says
        self.interval_s = 0.0  # between two datagrams, as the session says
        self._blocks = UnitBlocks(plan, content, blksize)
        self._blksize = blksize
        self._boards: dict[Address, Needs] = {}  # members only: at most MAX_MEMBERS
        self._paired: list[bool] = []  # by pair: symbols are made of both generations together
        self._sent = [0] * (3 * plan.pairs)  # by unit
        self._flight = Flight(3 * plan.pairs)
        self._again = Again(plan.total_blocks)
        self._top = 0  # the last block that the stream has sent
        self._passed = 0
        self._opened = 0  # generations gone by of which it is known what their symbols are made of
        self._open: set[int] = set()  # units of which somebody may need more
        self._at = 0
        self._budget = 0
        self._sent_at = now
        self._probes = 0  # since the last report
        self._judged_at = now  # whether losses come in bursts
        self._rest = 0  # blocks of the stream that go before the next symbol
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
        if self._boards.pop(address, None) is not None and self._budget > 0:
            self._budget = 0  # it may have been for this one: to be worked out anew
            self._open.add(self._at)

    def has_nothing_to_mend(self, address: Address) -> bool:
        """It has told of every generation, and nothing that can be mended is missing."""
        board = self._boards.get(address)
        if board is None or len(board.known) < self.plan.count:
            return False
        if self._again.may_help(board, self._unit, self._blocks.of):
            return False
        return not any(lack and self._left(self._unit(at)) for at, lack in enumerate(board.known))

    def _unit(self, generation: int) -> int:
        """What that generation's symbols are made of, as far as that is decided."""
        pair = generation // 2
        paired = pair < len(self._paired) and self._paired[pair]
        unit: int = whole(generation) if paired else alone(generation)
        return unit

    def _left(self, unit: int) -> int:
        """Symbols of it that were not sent yet."""
        return int(max_symbols(unit)) - self._sent[unit]

    # ---- what boards tell ----

    def report(
        self,
        address: Address,
        lacks: list[int],
        surplus: list[int],
        heard: tuple[int, int, bool] | None,
        now: float,
    ) -> None:
        """What a board lacks of the generations gone by; none of them says that it is there.

        Args:
            surplus: blocks that it asks for one by one, because it lost more than it can solve for.
            heard: the number of the DATA that it heard last, how many it has heard, whether its counts are of
                interleaved generations.
        """
        board = self._boards.setdefault(address, Needs(now, self._flight.datagrams))
        self._probes = 0
        place = self._flight.place(heard[0]) if heard is not None else None
        if place is not None and heard is not None:
            board.learn(place, heard[1])
            board.reached = max(board.reached, place)
        self._judge(now)
        if (heard is not None and heard[2]) != self.plan.mixed:
            self._open_passed()
            return  # it counts otherwise: symbols will tell it
        board.heard_at = now
        board.surplus = surplus
        seen = self._flight.seen(board.reached, now)
        # A board that believed forged DATA may think that the stream is further on than it is.
        for generation, lack in enumerate(lacks[: self._passed]):
            unit = self._unit(generation)
            board.tell(generation, lack, self._sent[unit] - self._flight.flying(unit, seen))
            if lack and generation < self._opened:
                self._reopen(unit)
        self._again.ask([block for block in surplus if block <= self._top], seen)
        self._send_again()
        self._open_passed()

    def lag(self, address: Address, now: float) -> float:
        """For how long there has been more than the latest DATA that a board has said it heard."""
        return self._flight.lag(self._boards[address].reached, now) if address in self._boards else 0.0

    def _judge(self, now: float) -> None:
        """Whether losses come in bursts: from then on symbols are made of interleaved generations."""
        if self.plan.mixed or self._ended or not self._is_worth_it or now < self._judged_at + JUDGE_EVERY_S:
            return
        self._judged_at = now
        if are_bursty(self._boards.values()):
            self._mix()

    def _mix(self) -> None:
        self.plan.mix()
        for board in self._boards.values():
            board.forget()
        self._paired = []
        self._sent = [0] * len(self._sent)
        self._flight.forget()
        self._opened = 0
        self._open = set()
        self._budget = 0
        self._blocks.forget()
        self._passed = self.plan.passed(self._top + 1)

    def _reopen(self, unit: int) -> None:
        if generations_of(self.plan, unit)[-1] < self._opened:
            self._open.add(unit)
            if unit <= self._at and self._budget > 0:
                self._open.add(self._at)
                self._budget = 0  # to be worked out anew

    def _send_again(self) -> None:
        """After the stream: what several boards have lost nearly all of."""
        if self._ended:
            self._again.ask_lost(self._boards.values(), self._unit, self._blocks.of)

    # ---- the stream ----

    def streamed(self, block: int, top: int, now: float) -> None:
        """The stream has sent a block; its last one so far is `top`."""
        self._flight.sent(block, now)
        self._rest -= 1
        self.stream_at(top, False, now)

    def stream_at(self, top: int, ended: bool, now: float) -> None:
        """The stream has sent blocks up to `top`."""
        self._top = top
        passed = self.plan.passed(self.plan.total_blocks + 1 if ended else top + 1)
        if passed == self._passed and ended == self._ended:
            if self._opened < self._passed:
                self._open_passed()
            return
        self._passed = passed
        if ended:
            for board in self._boards.values():
                board.heard_at = now
        self._ended = ended
        self._send_again()
        if not self._is_worth_it:
            is_cheaper = are_worth_mending(self._boards.values(), self._passed, self._blksize)
            self._is_worth_it = is_cheaper or bool(self._again)
        self._open_passed()

    def _open_passed(self) -> None:
        """Generations that have gone by may be mended, from when some loss is known."""
        is_known = any(board.lessons for board in self._boards.values())
        while is_known and self._opened < released(self.plan, self._passed, self._top, self._ended):
            generation = self._opened
            if generation // 2 == len(self._paired):
                quick = self.lag_s < PAIRS_LAG_S
                self._paired.append(quick and is_pair_cheaper(self._boards.values(), self.plan, generation))
            self._opened += 1
            unit = self._unit(generation)
            if self.plan.mixed and unit == whole(generation):
                self._opened += 1  # both have gone by
            if self.plan.mixed or generation == generations_of(self.plan, unit)[-1]:
                self._open.add(unit)

    # ---- symbols ----

    @property
    def spreads(self) -> bool:
        """Whether the next symbol should wait for a block of the stream, lest a burst takes several."""
        return self.plan.mixed and not self._ended and self._rest > 0

    def wants_data(self) -> bool:
        """Whether a symbol, or a block once more, should be sent now."""
        if not self.is_worth_it:
            return False
        if self._again:
            return True
        while self._budget <= 0 and self._open:
            self._at = min(self._open)
            self._open.remove(self._at)
            sent = self._sent[self._at]
            needed = symbols_needed(self._boards.values(), self.plan, self._at, sent, self._ended)
            self._budget = min(needed, self._left(self._at))
        return self._budget > 0

    def next_data(self, now: float) -> tuple[int, bytes]:
        """(block number, payload); only when wants_data. Raises ContentChangedError."""
        self._sent_at = now
        self.symbols += 1
        self._rest = SPREAD_BLOCKS
        if self._again:
            block = self._again.take(self._flight.datagrams, now)
            self._flight.sent(block, now)
            return block, self._blocks.read(block)
        unit, index = self._at, self._sent[self._at]
        self._sent[unit] += 1
        self._budget -= 1
        block = number(unit, index) | (MIXED_FLAG if self.plan.mixed else 0)
        self._flight.sent(block, now, unit)
        return block, self._blocks.symbol(unit, FIRST_REPAIR_SYMBOL + index)

    # ---- after the stream ----

    def deadline(self) -> float | None:
        """When to call on_time, once the stream has ended."""
        if not self._ended or not self._boards:
            return None
        times = min(1 << max(self._probes - PROBE_EVENLY, 0), PROBE_MAX_TIMES)
        return self._sent_at + times * max(PROBE_S, PROBE_DATAGRAMS * self.interval_s)

    def on_time(self, now: float) -> list[Address]:
        """Wake the reports of boards that still lack something; which boards need their turn instead."""
        due = self.deadline()
        if due is None or now < due:
            return []
        left = [address for address, board in self._boards.items() if now >= board.heard_at + SILENT_S]
        left += [address for address in self._boards if self.has_nothing_to_mend(address)]
        if len(left) < len(self._boards) and not self.wants_data():
            boards = self._boards.values()
            self._at = self._unit(neediest(boards, self.plan, lambda at: bool(self._left(self._unit(at)))))
            self._budget = min(1, self._left(self._at))
        self._sent_at = now
        self._probes += 1
        return left

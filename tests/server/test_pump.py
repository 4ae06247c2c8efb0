"""Who sends DATA next, and how much at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gapcast.net.pump import BREATH_S, Flow, Pump
from gapcast.protocol.pacer import BURST_DATAGRAMS, Pacer
from gapcast.protocol.types import Datagram

from .test_endpoint import Loop


class Endless:
    """A session of boards that always has DATA."""

    gentle = True

    def wants_data(self, _now: float) -> bool:
        return True

    def next_data(self, _now: float) -> Datagram:
        return Datagram(bytes(1028), ("239.192.7.7", 20007))


@pytest.mark.parametrize("rate", [None, 20e6, 100e6, 1e9])
def test_boards_breathe_after_four_at_any_rate(rate: float | None) -> None:
    loop = Loop()
    pump = Pump(cast(asyncio.AbstractEventLoop, loop), Pacer(rate))
    sent: list[float] = []
    flow = Flow(cast(Any, Endless()), lambda _datagram: sent.append(loop.now), lambda: None)
    pump.ready(flow, loop.time())
    while len(sent) < 200:
        timer = loop.timers.pop()
        loop.timers.clear()
        loop.now = max(loop.now, timer.when)
        timer.call()
    assert max(sum(at <= other < at + BREATH_S * 0.9 for other in sent) for at in sent) <= BURST_DATAGRAMS

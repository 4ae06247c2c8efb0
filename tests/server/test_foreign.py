"""Nobody who answers whatever he gets keeps the server talking."""

from __future__ import annotations

import pytest

from gapcast.protocol.foreign import ANSWERS_PER_S, Strangers
from gapcast.protocol.types import Datagram
from gapcast_core import wire

SOURCE = ("10.9.9.9", 19)


def answers(strangers: Strangers, data: bytes, now: float) -> int:
    return sum(isinstance(effect, Datagram) for effect in strangers.answer(data, SOURCE, now))


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\4", b"!\4abc", b"\0\1f\0octet\0", b"\0\5\0\0x\0"])
def test_what_no_client_sends_gets_no_answer(data: bytes) -> None:
    assert answers(Strangers(), data, 1.0) == 0


def test_answers_are_few() -> None:
    strangers = Strangers()
    for second in (1.0, 2.5):
        assert sum(answers(strangers, wire.pack_ack(1), second) for _ in range(100)) == ANSWERS_PER_S

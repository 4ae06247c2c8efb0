"""Who asked for a small file lately: are they a crowd, and who will come for the image of that header?"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import islice, takewhile
from typing import NamedTuple

from gapcast.protocol.types import Address

CROWD = 4  # one that is alone, and the first three, are answered at once and without a group
CROWD_S = 0.1
KEPT_S = 2.0  # from its header to its request for the image a board judges, and looks at its flash
# Forged requests from many addresses, for many files: 64 x 1024 x some 200 bytes are 13 MB at most.
MAX_FILES = 64
MAX_ASKERS = 1024


class Seen(NamedTuple):
    """Who asked for a file lately, and when the last one did."""

    hosts: frozenset[str]
    latest: float


class Askers:
    """By file: the addresses that asked, and when; the oldest are forgotten."""

    def __init__(self) -> None:
        self._files: OrderedDict[Hashable, OrderedDict[Address, float]] = OrderedDict()

    def note(self, file: Hashable, source: Address, now: float) -> bool:
        """`source` asks now; True when it is one of a crowd."""
        askers = self._files.setdefault(file, OrderedDict())
        self._files.move_to_end(file)
        if len(self._files) > MAX_FILES:
            self._files.popitem(last=False)
        askers[source] = now
        askers.move_to_end(source)
        if len(askers) > MAX_ASKERS:
            askers.popitem(last=False)
        return len(list(islice(self._since(file, now - CROWD_S), CROWD))) == CROWD

    def seen(self, file: Hashable, now: float) -> Seen:
        """Those of the last KEPT_S seconds."""
        found = list(self._since(file, now - KEPT_S))
        return Seen(frozenset(source[0] for source, _at in found), found[0][1] if found else float("-inf"))

    def _since(self, file: Hashable, since: float) -> Iterator[tuple[Address, float]]:
        """The latest first."""
        askers = self._files.get(file, OrderedDict())
        return takewhile(lambda item: item[1] >= since, reversed(askers.items()))

"""Announcements on the network: looks at the store now and then, and sends what the announcer says."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gapcast.net.report import Report
from gapcast.net.udp import open_session
from gapcast.protocol.announcer import Announcer, Found
from gapcast.protocol.events import Announced, Dropped
from gapcast.store import GapIndex, Store
from gapcast_core.announcement import GROUP, PORT

LOOK_S = 1.0
LOOK_SHARE = 50  # a look that takes long, at a large folder, has its thread rest so many times as long
MAX_ADDRESSES = 8  # of this host: each has a socket, and costs a datagram for each announcement
ANY = "0.0.0.0"


class Gallery(GapIndex):
    """The containers below a root, by the names that boards ask for. For a thread of its own."""

    def look(self) -> dict[str, Found]:
        """All that are whole now."""
        self._scan()
        return {path[:-4]: Found(version, found) for path, (version, found) in self._known.items()}


class Announcing:
    """Runs beside the server's sessions; what it sends is too little to be paced.

    bound: where the main socket listens. interface: see Config. Datagrams leave through `interface`, else
    through `bound`, else through all addresses that boards asked (before the first: by the default route).
    """

    def __init__(self, root: str, bound: str, interface: str | None, report: Report) -> None:
        self._report = report
        self._gallery = Gallery(Store(Path(root)))
        self._through = interface or (bound if bound != ANY else None)
        self._source = bound
        self._asked: set[str] = set()
        self._sockets: dict[str, socket.socket] = {}
        self._thread = ThreadPoolExecutor(1, "announcing")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look what there is; from then on what changes is announced."""
        loop = asyncio.get_running_loop()
        announcer = Announcer(loop.time())
        rest_s = await self._look(announcer)
        self._task = loop.create_task(self._run(announcer, rest_s))

    def asked(self, address: str) -> None:
        """A board asked this address of ours: boards are to be reached through its interface."""
        if address not in self._asked and len(self._asked) < MAX_ADDRESSES:
            self._asked.add(address)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    async def _run(self, announcer: Announcer, rest_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._speak(announcer, loop.time() + rest_s)
            rest_s = await self._look(announcer)

    async def _look(self, announcer: Announcer) -> float:
        """Seconds until the next look."""
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        found = await loop.run_in_executor(self._thread, self._gallery.look)
        announcer.look(found, loop.time())
        return max(LOOK_S, LOOK_SHARE * (time.monotonic() - started))

    async def _speak(self, announcer: Announcer, until: float) -> None:
        """What is due, until the next look."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            announcer.on_time(now)
            for effect in announcer.take():
                if isinstance(effect, Announced):
                    self._report.event(effect)
                else:
                    self._send(effect)
            if now >= until:
                return
            deadline = announcer.deadline()
            wake = until if deadline is None else min(deadline, until)
            await asyncio.sleep(max(wake - now, 0.0))

    def _send(self, data: bytes) -> None:
        for address in [self._through] if self._through else sorted(self._asked) or [ANY]:
            try:
                if address not in self._sockets:
                    self._sockets[address] = open_session(self._source, None if address == ANY else address)
                self._sockets[address].sendto(data, (GROUP, PORT))
                self._report.air.count(len(data), True)
            except OSError:  # an interface that is down, or none leads there: boards ask by themselves
                self._report.event(Dropped("announcement_failed"))

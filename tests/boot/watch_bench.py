"""A board in this process whose application runs and watches for images."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from boot_world import CHIP, MiniServer, World

from gapcast.image.build import Container
from gapcast.image.sample import build_sample
from gapcast_core import announcement

FACTORY = build_sample(8192, "1.0.0", CHIP)
SECONDS = 10.0  # a test that takes so long has failed
HOUR_MS = 3_600_000
# What is waited for in seconds on a board.
QUICK = {"POLL_MS": 2, "HOLD_MS": 10, "ALLOW_EVERY_MS": 5, "SPREAD_MS": 10}


class ResetError(BaseException):
    """machine.reset()."""


class Watching:
    """A board that has been through pre-boot, and its application's watch."""

    def __init__(self, world: World, server: MiniServer, image: str, patch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.server = server
        self.image = image
        self.module = world.watching
        for name in self.module.counts:
            self.module.counts[name] = 0
        for name, value in QUICK.items():
            patch.setattr(self.module, name, value)
        patch.setattr(world.modules["gapcast_boot.watching_hearing"], "REJOIN_MS", 2)
        patch.setattr(self.module, "machine", SimpleNamespace(reset=self._reset))
        world.program("ota_0", FACTORY)
        world.power_on()
        self.config = world.config(server.port, image=image)

    @staticmethod
    def _reset() -> None:
        raise ResetError

    def boot(self, **more: Any) -> Any:
        """Pre-boot; its Recording."""
        self.config.update(more)
        return self.world.preboot(self.config)

    def publish(self, container: Container) -> None:
        data = bytes(container.data)
        self.server.files.update({
            f"{self.image}.hdr": data[:1024],
            f"{self.image}.gap": data,
            f"gap/{container.content_id}": data,
        })  # fmt: skip

    def counts(self, name: str) -> int:
        return int(self.module.counts[name])

    def run(
        self,
        allow: Callable[[Any], Any] | None = None,
        until: Callable[[], bool] = lambda: False,
        every_ms: int = 100,
        beside: Callable[[Any], Awaitable[None]] | None = None,
    ) -> bool:
        """Watch until `until()`, or a reset: True. beside: runs at the same time, told of the Watch."""

        async def main() -> None:
            watch = self.module.Watch(allow, every_ms)
            tasks = [asyncio.create_task(watch.run())]
            if beside is not None:
                tasks.append(asyncio.ensure_future(beside(watch)))
            try:
                async with asyncio.timeout(SECONDS):
                    while not until():
                        for task in tasks:
                            if task.done():
                                task.result()
                        await asyncio.sleep(0.002)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        try:
            asyncio.run(main())
        except ResetError:
            return True
        return False

    def verdict(self, container: Container, **more: Any) -> Any:
        """The Offer that a header makes, or None."""
        self.config.update(more)
        self.publish(container)

        async def main() -> Any:
            watch = self.module.Watch(None, HOUR_MS)
            watch._nic = self.world.health.interface()
            await watch._ask()
            return watch._offer

        return asyncio.run(main())


async def becomes(condition: Callable[[], bool]) -> None:
    """Wait until it is true; Watching.run has the deadline."""
    while not condition():  # noqa: ASYNC110 - the state of the code under test is no event
        await asyncio.sleep(0.002)


@contextmanager
def sender() -> Iterator[socket.socket]:
    """Sends to the group on the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        yield sock


def announce(sock: socket.socket, data: bytes) -> None:
    sock.sendto(data, (announcement.GROUP, announcement.PORT))

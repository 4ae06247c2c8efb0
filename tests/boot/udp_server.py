"""What the small, misbehaving TFTP servers of these tests have in common: a port, and a thread a request."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

Peer = tuple[str, int]


class UdpServer(ABC):
    """Listens on `port` of 127.0.0.1 while it is `running()`; what a request gets is the subclass's."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._main = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._main.bind(("127.0.0.1", 0))
        self._main.settimeout(0.05)
        self.port = int(self._main.getsockname()[1])

    @abstractmethod
    def _answer(self, request: bytes, peer: Peer) -> None:
        """One request, in a thread of its own; ends soon after `_stop` is set."""

    @contextmanager
    def running(self) -> Iterator[Self]:
        self._start(self._serve)
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(5)
            self._main.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                request, peer = self._main.recvfrom(600)
            except TimeoutError:
                continue
            self._start(self._answer, request, peer)

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

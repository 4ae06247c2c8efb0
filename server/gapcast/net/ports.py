"""TIDs: sockets of their own for sessions, transfers and receptions (RFC 1350 section 4)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from gapcast.net.endpoint import Endpoint
from gapcast.net.pump import Pump
from gapcast.net.report import Report
from gapcast.net.udp import open_session
from gapcast.protocol.types import Address, Machine
from gapcast_core.errors import PeerError


class Ports:
    """Opens them beside the main socket, which is bound to `bound`; interface: see Config."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bound: str,
        interface: str | None,
        pump: Pump,
        report: Report,
    ) -> None:
        self.loop = loop
        self.report = report
        self._bound = bound
        self._interface = interface
        self._pump = pump

    def open_socket(self, asked: str) -> socket.socket:
        """Bound to the address that was asked: clients drop answers from another one. Raises PeerError."""
        try:
            return open_session(asked if self._bound == "0.0.0.0" else self._bound, self._interface)
        except OSError as error:
            raise PeerError("no_socket") from error

    def endpoint(
        self,
        sock: socket.socket,
        machine: Machine,
        group: Address | None,
        on_closed: Callable[[Endpoint], None],
    ) -> Endpoint:
        """The machine behind that socket; settle() it to let it speak."""
        return Endpoint(self.loop, sock, machine, group, self._pump, self.report, on_closed)

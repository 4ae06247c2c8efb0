"""`select.poll` that accepts the simulated sockets: it looks through to the host's own."""

import select as _host
import sys

POLLIN = _host.POLLIN
_ON_CPYTHON = sys.implementation.name == "cpython"


class poll:
    def __init__(self):
        self._poll = _host.poll()
        self.ipoll = self._poll.poll if _ON_CPYTHON else self._poll.ipoll

    def register(self, sock, mask):
        self._poll.register(sock._sock, mask)

    def unregister(self, sock):
        self._poll.unregister(sock._sock)

"""A server as the operator writes it."""

from __future__ import annotations

from gapcast.errors import OperatorError

DEFAULT_PORT = 69  # IANA: tftp


def parse_place(text: str) -> tuple[str, int]:
    """Host and port of HOST[:PORT].

    Raises:
        OperatorError: The port is no port, or the host is empty.
    """
    host, colon, port = text.partition(":")
    if not host or (colon and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536)):
        raise OperatorError(f"{text!r} is no server", "write HOST or HOST:PORT, such as 192.0.2.10:6969")
    return host, int(port) if colon else DEFAULT_PORT

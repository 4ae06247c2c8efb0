"""One provisioning at a time at a port: between two runs of esptool or mpremote the port itself is free."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from gapcast_tools.usb.fault import PortFault


def real_port(port: str) -> str:
    """The same text for all names of a port: udev's links lead to it. URLs of pyserial stay."""
    return port if "://" in port else os.path.realpath(port)  # not Path.resolve: links may lead in a circle


@contextmanager
def claimed(port: str) -> Iterator[None]:
    """While this lasts nobody else has it, in this process or another. Raises PortFault `busy`.

    A name in Linux's abstract namespace of sockets (unix(7)): no file, and gone however we end.
    """
    name = hashlib.sha256(real_port(port).encode(errors="surrogateescape")).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind(f"\0gapcast-port-{name}")
        except OSError:
            message = f"another `gapcast provision` is at work on {port}"
            raise PortFault("busy", message, "let it end, and run the command again") from None
        yield

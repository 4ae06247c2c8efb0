"""Raw non-blocking UDP sockets with what asyncio's transports hide: the address asked, ICMP, multicast."""

from __future__ import annotations

import errno
import socket
import struct

from gapcast.protocol.types import Address

MAX_DATAGRAM_BYTES = 2048  # requests have 512, ACKs 4; anything longer is refused anyway
RECEIVE_BUFFER_BYTES = 1 << 20  # the RRQs of a whole bench arrive at once
SEND_BUFFER_BYTES = 1 << 20

# linux/in.h; the socket module does not know them all
_IP_PKTINFO = 8
_IP_RECVERR = 11
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DONT = 0  # a stock client may ask for a blksize beyond the MTU: let the kernel fragment


def open_main(address: str, port: int) -> socket.socket:
    """The socket for requests. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def open_session(address: str, interface: str | None) -> socket.socket:
    """A socket for one TID: bound to the address asked, multicast through `interface`. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.bind((address, 0))
        through = interface or address
        if through != "0.0.0.0":
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(through))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)  # RFC 2365: stay on this net
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)  # simulated boards on this host
    except BaseException:
        sock.close()
        raise
    return sock


def receive_request(sock: socket.socket) -> tuple[bytes, Address, str]:
    """(data, source, local address that was asked) of one datagram. Raises OSError."""
    data, ancillary, _flags, source = sock.recvmsg(MAX_DATAGRAM_BYTES, 64)
    asked = "0.0.0.0"
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= 12:
            # struct in_pktinfo: interface index, address to answer from, address in the header
            asked = socket.inet_ntoa(struct.unpack_from("@i4s4s", value)[1])
    return data, source, asked


def read_icmp(sock: socket.socket) -> Address | None:
    """The peer of one queued ICMP error (IP_RECVERR), or None when the queue is empty."""
    try:
        _data, ancillary, _flags, peer = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
    except OSError:
        return None
    for level, kind, value in ancillary:
        is_icmp = level == socket.IPPROTO_IP and kind == _IP_RECVERR and len(value) >= 4
        if is_icmp and struct.unpack_from("@I", value)[0] == errno.ECONNREFUSED:
            return str(peer[0]), int(peer[1])
    return "", 0

"""From what `gapcast doctor` saw to what it says: pure functions, one or more findings each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gapcast_core.errors import PeerError
from gapcast_core.options import (
    BLKSIZE,
    BLKSIZE_MAX_BYTES,
    MULTICAST,
    RANGES,
    TIMEOUT,
    TSIZE,
    WINDOWSIZE,
    parse_number,
)

OK = "ok"
WARN = "warn"
FAIL = "fail"
SKIP = "skip"

BOARD_BLKSIZE_BYTES = 1024  # PROTOCOL.md section 3
ETHERNET_MTU_BYTES = 1500
HEADERS_BYTES = 32  # IPv4, UDP, TFTP
FULL_BLKSIZE_BYTES = ETHERNET_MTU_BYTES - HEADERS_BYTES
IFF_UP, IFF_LOOPBACK, IFF_MULTICAST = 0x1, 0x8, 0x1000  # linux/if.h
GROUPS = "239.0.0.0/8"
# A switch forgets a member that no query made answer (RFC 3376 section 8.4, with its defaults).
MEMBERSHIP_SECONDS = 260


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `todo` is what to do next; empty when all is well."""

    check: str
    level: str
    text: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's first answer to an RRQ, and what came after.

    kind: "oack", "data", "error" or "silence".
    data_bytes: payload bytes of the longest DATA that followed; None when there was none.
    """

    kind: str
    options: dict[str, str] = field(default_factory=dict)
    error: str = ""
    error_code: int = 0
    data_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GroupTest:
    """What came when we joined the group of an OACK.

    join_error: why joining failed; empty when it did not.
    expected, heard: blocks that the group should have carried at least, and those that came to it.
    unicast: blocks that came to our own address instead.
    """

    group: str
    port: int
    is_master: bool
    expected: int = 0
    heard: int = 0
    unicast: int = 0
    join_error: str = ""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its flags (linux/if.h) and MTU in bytes."""

    name: str
    flags: int
    mtu: int

    @property
    def loopback(self) -> bool:
        return bool(self.flags & IFF_LOOPBACK)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A Linux bridge: ports, and whether it snoops IGMP and sends IGMP queries itself."""

    name: str
    ports: int
    snooping: bool
    querier: bool


@dataclass(frozen=True, slots=True)
class Route:
    """How a packet leaves: by which interface, and through which router ("" when on the link)."""

    interface: str
    gateway: str = ""


def judge_up(place: str, reason: str, message: str, hint: str) -> Finding:
    """From the failure of asking for a name that is surely not there (get.TransferFailed)."""
    if reason == "not_found":
        return Finding("server", OK, f"{place} answers")
    if reason == "refused":
        return Finding("server", OK, f"{place} answers, though not as usual: {message}")
    if reason == "":
        return Finding(
            "server", WARN, f"{place} has a file of any name one asks for", "is it a real TFTP server?"
        )
    return Finding("server", FAIL, message, hint or "start one: gapcast serve DIRECTORY")


def judge_kind(reply: Reply, plain: Reply) -> Finding:
    """Which server it is: its answer to `multicast` with an empty `ranges`, and to a plain request."""
    if reply.kind == "error":
        todo = "give --name a file that it serves" if reply.error_code == 1 else "see the server's log"
        return Finding("kind", FAIL, f"the server refuses the file: {reply.error or reply.error_code}", todo)
    if reply.kind == "silence" and plain.kind != "silence":
        # tftpy 0.8 drops a request with an empty option value without a word.
        text = "the server answers plain requests, but none with the empty value of `multicast` (RFC 2090)"
        return Finding(
            "kind", FAIL, text, "boards get no answer either: use another server, such as gapcast serve"
        )
    if reply.kind == "silence":
        todo = "a firewall may drop answers from another port than the one asked"
        return Finding("kind", FAIL, "no answer to a request with `multicast`", todo)
    if RANGES in reply.options:
        if MULTICAST in reply.options:
            return Finding("kind", OK, "a Gapcast server: multicast, and repair of exactly the gaps")
        todo = "the file has too many blocks, no group is free, or multicast is switched off: see its log"
        return Finding("kind", WARN, "a Gapcast server, but without multicast for this file", todo)
    todo = "boards get their files all the same; gapcast serve does it in less time"
    if MULTICAST in reply.options:
        return Finding("kind", WARN, "an RFC 2090 server: multicast, but no repair of gaps", todo)
    return Finding("kind", WARN, "a plain TFTP server: every board fetches the whole file for itself", todo)


def judge_options(reply: Reply) -> Finding:
    """Which options a unicast RRQ got acknowledged."""
    if reply.kind in ("error", "silence"):
        why = reply.error or "no answer"
        return Finding("options", FAIL, f"a request with options fails: {why}", "see the server's log")
    asked = (BLKSIZE, TSIZE, TIMEOUT, WINDOWSIZE)
    taken = [f"{name}={reply.options[name]}" for name in asked if name in reply.options]
    lacking = [name for name in asked if name not in reply.options]
    text = ("takes " + ", ".join(taken)) if taken else "takes no options"
    if BLKSIZE in lacking:
        return Finding("options", WARN, text, "without blksize boards fall back to 512 bytes: half the speed")
    if lacking:
        return Finding("options", OK, f"{text}; not {', '.join(lacking)}")
    return Finding("options", OK, text)


def judge_mtu(reply: Reply) -> Finding:
    """Whether a DATA that fills an Ethernet frame arrives."""
    asked = _number(reply.options.get(BLKSIZE, ""))
    size = _number(reply.options.get(TSIZE, ""))
    if asked is None or reply.kind != "oack":
        return Finding("mtu", SKIP, "not tested: the server takes no blksize")
    if size is not None and size < asked:
        return Finding(
            "mtu", SKIP, f"not tested: the file has only {size} bytes", f"--name one of {asked} or more"
        )
    if reply.data_bytes is None:
        todo = f"find the link with an MTU below {ETHERNET_MTU_BYTES}; boards ask for 1024, which may do"
        return Finding(
            "mtu", FAIL, f"no DATA of {asked} bytes arrives, though the server agreed to send it", todo
        )
    if asked < BOARD_BLKSIZE_BYTES:
        return Finding(
            "mtu", WARN, f"the server sends at most {asked} bytes", "boards ask for 1024: raise its limit"
        )
    return Finding("mtu", OK, f"a DATA of {reply.data_bytes} bytes arrives")


def judge_group(test: GroupTest | None) -> Finding:
    """Whether multicast passes from the server to this machine."""
    if test is None:
        return Finding("multicast", SKIP, "not tested: the server offers no group")
    place = f"{test.group}:{test.port}"
    if test.join_error:
        return Finding(
            "multicast", FAIL, f"cannot join {place}: {test.join_error}", "see the interface's findings"
        )
    if test.expected == 0:
        return Finding(
            "multicast", SKIP, "not tested: the file is empty", "--name a file with something in it"
        )
    if test.heard >= test.expected:
        return Finding("multicast", OK, f"{test.heard} blocks came by {place}")
    if test.heard:
        todo = "boards repair what they miss; much loss may mean a slow link: lower the server's --rate"
        return Finding("multicast", WARN, f"{test.heard} of {test.expected} blocks came by {place}", todo)
    if test.unicast:
        todo = "the server ignores its own offer: see its log"
        return Finding("multicast", FAIL, "blocks came to our address, not to the group", todo)
    if not test.is_master:
        text = "another client leads the session, and its stream brought nothing here"
        return Finding("multicast", WARN, text, "perhaps it has ended: try again in a minute")
    todo = (
        "check this machine's firewall, IGMP snooping in switches, and that the server sends by this network"
    )
    return Finding("multicast", FAIL, f"no block came by {place}", todo)


def judge_interface(interface: Interface | None) -> Iterable[Finding]:
    """Whether the interface towards the server can do multicast, and frames of the usual size."""
    if interface is None:
        yield Finding("interface", WARN, "cannot tell which interface leads to the server")
        return
    name = interface.name
    if interface.loopback:
        yield Finding("interface", OK, f"{name}: the server runs on this machine")
        return
    if not interface.flags & IFF_UP:
        yield Finding("interface", FAIL, f"{name} is down", f"ip link set {name} up")
    elif not interface.flags & IFF_MULTICAST:
        yield Finding("interface", FAIL, f"{name} has no multicast", f"ip link set {name} multicast on")
    else:
        yield Finding("interface", OK, f"{name} can do multicast")
    if interface.mtu < ETHERNET_MTU_BYTES:
        todo = f"keep blksize at or below {interface.mtu - HEADERS_BYTES}: boards drop fragments"
        yield Finding("interface", WARN, f"{name} has an MTU of {interface.mtu}", todo)


def judge_route(server: Route | None, groups: Route | None, interface: Interface | None) -> Iterable[Finding]:
    """Whether groups are routed where the server is, and whether a router stands between."""
    if server is not None and server.gateway:
        todo = "test on the server's own network: its multicast has TTL 1 and does not pass a router"
        yield Finding("route", WARN, f"the server is behind the router {server.gateway}", todo)
    if interface is None or interface.loopback:
        return
    todo = f"ip route add {GROUPS} dev {interface.name}"
    if groups is None:
        yield Finding(
            "route", WARN, f"no route to {GROUPS}: only programs that name an interface can send", todo
        )
    elif groups.interface != interface.name:
        text = f"{GROUPS} goes by {groups.interface}, the server is at {interface.name}"
        yield Finding("route", WARN, text, todo)
    else:
        yield Finding("route", OK, f"{GROUPS} goes by {interface.name}")


def judge_igmp(versions: dict[str, int], interface: Interface | None) -> Iterable[Finding]:
    """The IGMP version that the kernel speaks on the interface."""
    if interface is None or interface.loopback:
        return
    version = versions.get(interface.name)
    if version is None:
        yield Finding(
            "igmp", WARN, f"the kernel lists no groups on {interface.name}", "has it an IPv4 address?"
        )
    elif version == 1:
        todo = "an IGMPv1 querier is on the network: boards leave groups late; update that switch or router"
        yield Finding("igmp", WARN, f"IGMPv1 on {interface.name}", todo)
    else:
        yield Finding("igmp", OK, f"IGMPv{version} on {interface.name}")


def judge_bridges(bridges: Iterable[Bridge]) -> Iterable[Finding]:
    """Bridges of this machine that would stop multicast after a while."""
    for bridge in bridges:
        if bridge.ports and bridge.snooping and not bridge.querier:
            text = (
                f"{bridge.name} snoops IGMP and sends no queries: without another querier it forgets members"
            )
            todo = (
                f"if boards are behind it: echo 1 > /sys/class/net/{bridge.name}/bridge/multicast_querier "
                f"(members are forgotten after {MEMBERSHIP_SECONDS} s)"
            )
            yield Finding("bridge", WARN, text, todo)
        elif bridge.ports:
            why = "queries IGMP itself" if bridge.snooping else "floods multicast"
            yield Finding("bridge", OK, f"{bridge.name} {why}")


def _number(text: str) -> int | None:
    try:
        return int(parse_number(text, 0, BLKSIZE_MAX_BYTES * 65536))
    except PeerError:
        return None

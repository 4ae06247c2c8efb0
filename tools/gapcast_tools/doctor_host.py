"""What this machine says about its network: files of /proc and /sys, and their parsers. Linux, IPv4."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from gapcast_tools.doctor_judge import Bridge, Interface, Route

PROC_NET = Path("/proc/net")
SYS_NET = Path("/sys/class/net")
PROBE_GROUP = "239.192.0.1"  # one of the server's groups (PROTOCOL.md section 7)
_RTF_REJECT = 0x0200  # linux/route.h


def parse_routes(text: str, address: str) -> Route | None:
    """The route to `address` in /proc/net/route: the longest prefix, then the lowest metric."""
    target = int(ipaddress.IPv4Address(address))
    best: tuple[int, int] | None = None
    found = None
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        # The kernel prints the addresses as they stand in memory, so the other way round on these machines.
        network, gateway, mask = (_swapped(fields[i]) for i in (1, 2, 7))
        rank = (mask.bit_count(), -int(fields[6]))
        if target & mask == network and (best is None or rank > best):
            best = rank
            rejected = int(fields[3], 16) & _RTF_REJECT
            via = str(ipaddress.IPv4Address(gateway)) if gateway else ""
            found = None if rejected else Route(fields[0], via)
    return found


def parse_igmp(text: str) -> dict[str, int]:
    """The IGMP version of each interface in /proc/net/igmp: the oldest that a querier was heard to speak."""
    versions = {}
    for line in text.splitlines()[1:]:
        if line[:1].isdigit() and ":" in line:
            name, rest = line.split(maxsplit=1)[1].split(":", 1)
            words = rest.split()
            if len(words) > 1 and words[1][:1] == "V" and words[1][1:].isdigit():
                versions[name.strip()] = int(words[1][1:])
    return versions


def read_interface(name: str, root: Path = SYS_NET) -> Interface | None:
    """The interface `name`, or None when there is none."""
    flags, mtu = _read(root / name / "flags"), _read(root / name / "mtu")
    if not flags or not mtu:
        return None
    return Interface(name, int(flags, 16), int(mtu))


def read_bridges(root: Path = SYS_NET) -> list[Bridge]:
    """The bridges of this machine."""
    bridges = []
    for directory in sorted(root.glob("*/bridge")):
        ports = directory.parent / "brif"
        count = len(list(ports.iterdir())) if ports.is_dir() else 0
        snooping, querier = (
            _read(directory / name) == "1" for name in ("multicast_snooping", "multicast_querier")
        )
        bridges.append(Bridge(directory.parent.name, count, snooping, querier))
    return bridges


def local_address_to(address: str) -> str | None:
    """Our own address on the way to `address`, None without a route. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # a UDP connect only asks the routing table
        except OSError:
            return None
        return str(probe.getsockname()[0])


def route_to(address: str) -> Route | None:
    """How packets to `address` leave this machine. Rules beyond the main table are not seen."""
    if local_address_to(address) == address or ipaddress.IPv4Address(address).is_loopback:
        return Route("lo")
    return parse_routes(_read(PROC_NET / "route"), address)


def igmp_versions() -> dict[str, int]:
    return parse_igmp(_read(PROC_NET / "igmp"))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _swapped(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits), "little")

"""`gapcast serve`: its options, and errors that a person can do something about."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import os
import re
import socket
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast.fleet.schema import default_path
from gapcast.fleet.store import Fleet
from gapcast.net.report import Report
from gapcast.net.server import Config, Server
from gapcast.net.udp import open_main, open_session
from gapcast.protocol.settings import Settings
from gapcast.store import Store

PORT = 69  # IANA's port for TFTP
PORT_UNPRIVILEGED = 6969
RATE_MIN_BPS = 8_000  # slower, and one block takes longer than a client waits
_SEE_ADDRESSES = "see `ip -brief address`"
_RATE_HELP = (
    "Limit of all DATA, bits per second with headers: 500k, 6M; 0: none. "
    "Below it, boards set the pace, 4 datagrams a millisecond at most."
)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


_TURNS_HELP = "Boards that repair at once; up to 64 when they are served within half a second."


def parse_rate(text: str | None) -> float | None:
    """Bits per second of `500k`, `6M`, `1.5M`; None (unlimited) for None and `0`. Raises OperatorError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kmg]?)", text.strip().lower())
    if match is None:
        raise OperatorError(
            f"--rate {text}: not a rate", "bits per second, like 500k, 6M or 1.5M; 0: no limit"
        )
    rate = float(match[1]) * _UNITS[match[2]]
    if rate == 0:
        return None
    if rate < RATE_MIN_BPS:
        raise OperatorError(f"--rate {text}: {rate:g} bits per second is too slow", "6M is six million")
    return rate


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--listen", default="0.0.0.0", show_default=True, help="Local address to serve on.")
@click.option("--port", type=click.IntRange(1, 65535), help="UDP port; default 69 as root, else 6969.")
@click.option("--iface", help="Local address whose interface carries multicast; default: the address asked.")
@click.option("--rate", help=_RATE_HELP)
@click.option(
    "--gather-ms",
    type=click.IntRange(0, 60_000),
    help="Wait for more boards before a stream starts.  [default: 150; less when all that asked are "
    "there, up to 600 while they still come in]",
)
@click.option("--turns", type=click.IntRange(1, 256), default=8, show_default=True, help=_TURNS_HELP)
@click.option(
    "--state", type=click.Path(path_type=Path), help="Where reports are kept.  [default: in $XDG_STATE_HOME]"
)
@click.option(
    "--require-options",
    is_flag=True,
    help="Refuse a request none of whose options can be accepted: only that makes an answer longer than it.",
)
@click.option(
    "--no-announce", is_flag=True, help="Do not tell boards whose application runs of images that are new."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
def serve(
    root: Path,
    listen: str,
    port: int | None,
    iface: str | None,
    rate: str | None,
    gather_ms: int | None,
    turns: int,
    state: Path | None,
    require_options: bool,
    no_announce: bool,
    as_json: bool,
) -> None:
    """Serve the files below ROOT by TFTP: unicast, multicast, and repair of gaps."""
    rate_bps = parse_rate(rate)
    settings = Settings(turns=turns, eager=True, rate_bps=rate_bps)
    if gather_ms is not None:
        settings = Settings(gather_s=gather_ms / 1000, turns=turns, rate_bps=rate_bps)
    path = state or default_path()
    config = Config(
        rate_bps=rate_bps,
        interface=iface,
        settings=settings,
        state=path,
        require_options=require_options,
        announce=not no_announce,
    )
    store = _open_store(root)
    _check_state(path, root)
    if iface is not None:
        _check_interface(iface)
    if port is None:
        port = PORT if os.geteuid() == 0 else PORT_UNPRIVILEGED
    main = _open_main(listen, port)
    report = Report(as_json)
    _tell_fleet(path, report, main)
    gc.collect()
    gc.freeze()  # what has been loaded stays: to look at it all again would hold up a stream for 20 ms
    asyncio.run(_run(store, main, config, report))


async def _run(store: Store, main: socket.socket, config: Config, report: Report) -> None:
    await Server(store, main, config, report).run()


def _tell_fleet(path: Path, report: Report, main: socket.socket) -> None:
    """Who may report. A missing file is none: `gapcast fleet add` makes it. Raises OperatorError."""
    try:
        if path.exists():
            with Fleet(path) as fleet:
                report.line("fleet", {"path": str(path), "boards": len(fleet.boards())})
    except OSError as error:
        main.close()
        raise OperatorError(f"{path} cannot be read: {error.strerror}", "see --state") from error
    except OperatorError:
        main.close()
        raise


def _open_store(root: Path) -> Store:
    try:
        found = root.exists()
    except OSError as error:
        raise OperatorError(f"{root} cannot be read: {error.strerror}", "check its permissions") from error
    if not found:
        raise OperatorError(f"{root} does not exist", "name the folder whose files are to be served")
    if not root.is_dir():
        raise OperatorError(f"{root} is not a folder", "name the folder whose files are to be served")
    if not os.access(root, os.R_OK | os.X_OK):
        raise OperatorError(f"{root} cannot be read", "check its permissions")
    return Store(root)


def _check_state(path: Path, root: Path) -> None:
    """It holds every board's key, and what lies below ROOT is for anybody. Raises OperatorError."""
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise OperatorError(f"{path} cannot be looked at", "see --state") from error
    if inside:
        hint = "choose a file elsewhere with --state: it holds the keys of the boards"
        raise OperatorError(f"the state file {path} lies in {root}, which is served", hint)


def _check_interface(iface: str) -> None:
    _check_address("--iface", iface)
    try:
        open_session("0.0.0.0", iface).close()
    except OSError as error:
        raise OperatorError(f"--iface {iface}: no interface has this address", _SEE_ADDRESSES) from error


def _check_address(option: str, address: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError as error:
        raise OperatorError(
            f"{option} {address}: not an IPv4 address", "write it like 192.168.1.10"
        ) from error


def _open_main(listen: str, port: int) -> socket.socket:
    _check_address("--listen", listen)
    if ipaddress.IPv4Address(listen).is_multicast:
        raise OperatorError(f"--listen {listen}: a multicast group, not an address", _SEE_ADDRESSES)
    try:
        return open_main(listen, port)
    except PermissionError as error:
        hint = f"use --port {PORT_UNPRIVILEGED}, run as root, or give Python cap_net_bind_service"
        raise OperatorError(f"no permission for port {port}", hint) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = f"another TFTP server? see `ss -ulpn sport = :{port}`, or choose --port"
            raise OperatorError(f"port {port} is in use", hint) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise OperatorError(
                f"--listen {listen}: not an address of this machine", _SEE_ADDRESSES
            ) from error
        raise OperatorError(f"cannot listen on {listen} port {port}: {error.strerror}") from error


if __name__ == "__main__":
    serve()

"""The command `gapcast doctor`: is this machine, its network and a server fit for multicast updates?"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator

import click

from gapcast_tools import doctor_host as host_side
from gapcast_tools import doctor_judge as judge
from gapcast_tools.doctor_judge import FAIL, OK, SKIP, WARN, Finding
from gapcast_tools.doctor_probe import check_name, visit_group, visit_unicast
from gapcast_tools.get import Source, TransferFailed, fetch, resolve
from gapcast_tools.place import parse_place

_COLORS = {OK: "green", WARN: "yellow", FAIL: "red", SKIP: "blue"}


@click.command()
@click.argument("server", metavar="HOST[:PORT]")
@click.option("--name", metavar="FILE", help="A file that the server has, to test transfers with.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, server: str, name: str | None, as_json: bool) -> None:
    """Check a server, the way to it, and this machine's multicast; exit code 1 when something fails."""
    host, port = parse_place(server)
    if name is not None:
        check_name(name)
    address = resolve(host)
    findings = []
    for finding in examine(address, port, name):
        findings.append(finding)
        if not as_json:
            _show(finding)
    failed = any(finding.level == FAIL for finding in findings)
    if as_json:
        lines = [
            {"check": found.check, "level": found.level, "text": found.text, "todo": found.todo}
            for found in findings
        ]
        click.echo(json.dumps({"server": f"{host}:{port}", "ok": not failed, "findings": lines}))
    if failed:
        ctx.exit(1)


def examine(address: str, port: int, name: str | None) -> Iterator[Finding]:
    """All findings about the server at an IPv4 address, as they come."""
    up = _is_up(address, port)
    yield up
    if up.level != FAIL and name is None:
        yield Finding(
            "transfer", SKIP, "not tested: no file is named", "--name FILE, one that the server has"
        )
    elif up.level != FAIL and name is not None:
        yield from _examine_transfers(address, port, name)
    yield from _examine_host(address)


def _is_up(address: str, port: int) -> Finding:
    place = f"{address}:{port}"
    try:
        fetch(Source(address, port, f"gapcast-doctor-{secrets.token_hex(8)}"), io.BytesIO())
    except TransferFailed as failure:
        return judge.judge_up(place, failure.reason, failure.message, failure.hint)
    return judge.judge_up(place, "", "", "")


def _examine_transfers(address: str, port: int, name: str) -> Iterator[Finding]:
    local = host_side.local_address_to(address) or "0.0.0.0"
    reply, test = visit_group(address, port, name, local)
    plain = visit_unicast(address, port, name)
    yield judge.judge_kind(reply, plain)
    if reply.kind == "error":
        return
    yield judge.judge_group(test)
    yield judge.judge_options(plain)
    yield judge.judge_mtu(plain)


def _examine_host(address: str) -> Iterator[Finding]:
    route = host_side.route_to(address)
    interface = host_side.read_interface(route.interface) if route else None
    yield from judge.judge_interface(interface)
    yield from judge.judge_route(route, host_side.route_to(host_side.PROBE_GROUP), interface)
    yield from judge.judge_igmp(host_side.igmp_versions(), interface)
    yield from judge.judge_bridges(host_side.read_bridges())


def _show(finding: Finding) -> None:
    level = click.style(f"{finding.level:<5}", fg=_COLORS[finding.level])
    click.echo(f"{level} {finding.check:<10} {finding.text}")
    if finding.todo:
        click.echo(f"{'':<16} -> {finding.todo}")

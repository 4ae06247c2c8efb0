"""Floods of requests from addresses that are not the sender's, while boards update."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interop.capture import Capture, Frame
from interop.conftest import Labs
from interop.lab import Lab, run
from interop.peers import wait_until

from .fleet import Fleet
from .forger import RRQ, WRQ, Attack, Forger, Metronome, strangers, worded
from .images import Signer
from .world import resident_bytes, server_address, start_server

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.usefixtures("real_boards")]

BOARDS = 10
IMAGE_BYTES = 400_000
PER_S = 3000
# 256 forged transfers and 64 sessions stand at once: 24 MiB, after 9000 forged requests and after 72000.
MAX_GROWTH_BYTES = 40 << 20
RATIO = 1.5  # answers to requests received, before an address is proven
PREFIX = "10.99"  # of the addresses that are forged; nobody has one of them
BOARD_OPTIONS = ("blksize", "1024", "tsize", "0", "multicast", "", "ranges", "")


def requests(kind: str, content_id: str) -> Iterator[bytes]:
    """Forged requests, without end; every one of them has options."""
    chance = random.Random(5)
    names = ("fw.gap", "fw.hdr", "fw", f"gap/{content_id}", "missing.gap", "../fw.gap", "raw")
    while True:
        blksize = str(chance.randrange(8, 65465))
        choices = [
            worded(RRQ, f"gap/{content_id}", "octet", *BOARD_OPTIONS),
            worded(RRQ, chance.choice(names), "octet", "multicast", "", "blksize", blksize),
            worded(RRQ, chance.choice(names), "octet", "blksize", blksize, "windowsize", "64"),
            worded(RRQ, "fw.gap", "octet", "blksize", "1024", "ranges", "1-390"),
            worded(RRQ, "raw", "octet", "TSIZE", "0", "timeout", "255"),
        ]
        writes = [
            worded(WRQ, "report/b-1", "octet"),
            worded(WRQ, f"report/{chance.randrange(1 << 60):x}", "octet"),
            worded(WRQ, chance.choice(names), "octet", "blksize", blksize),
        ]
        yield chance.choice(choices if kind == "reads" else writes)


def flood(forger: Forger, lab: Lab, kind: str, content_id: str) -> Callable[[], None]:
    """One forged request, at PER_S."""
    sources, datagrams, beat = strangers(PREFIX, 1), requests(kind, content_id), Metronome(PER_S)

    def step() -> None:
        beat.wait()
        forger.send(next(sources), server_address(lab), next(datagrams))

    return step


def worst_ratio(frames: list[Frame], lab: Lab) -> tuple[float, float]:
    """(all together, the worst address): payload bytes that were answered per byte received."""
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for frame in frames:
        if frame.source[0].startswith(PREFIX):
            asked[frame.source[0]] += len(frame.payload)
        elif frame.target[0].startswith(PREFIX):
            assert frame.source[0] == lab.address(0)
            answered[frame.target[0]] += len(frame.payload)
    assert answered, "the server answered nothing at all"
    each = max(answered[host] / asked[host] for host in answered)
    return sum(answered.values()) / sum(asked.values()), each


@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_boards_update_through_a_flood(
    kind: str, labs: Labs, root: Path, tmp_path: Path, signer: Signer
) -> None:
    container = signer.container(IMAGE_BYTES, "1.0")
    (root / "fw.gap").write_bytes(container.data)
    (root / "raw").write_bytes(random.Random(1).randbytes(100_000))
    lab = labs(BOARDS + 2)
    attacker = BOARDS + 1
    # Answers to forged addresses go to the attacker's host, which drops them: on the wire, never heard.
    run(*lab.argv(0, "ip", "route", "add", "default", "via", lab.address(attacker)))
    server = start_server(lab, root, "--rate", "4M")
    fleet = Fleet(lab, range(1, BOARDS + 1), tmp_path / "boards", "fw", signer.board_key)
    before_bytes = resident_bytes(server)
    capture = Capture(lab, 0, tmp_path / "air.pcap")
    with Forger(lab, attacker) as forger, Attack(flood(forger, lab, kind, container.content_id)):
        fleet.go()
        sent_before = forger.datagrams
        results = fleet.done()
        growth_bytes = resident_bytes(server) - before_bytes
        sent = forger.datagrams
        wait_until(lambda: forger.datagrams > 3 * sent, "three times as much of it")
        later_bytes = resident_bytes(server) - before_bytes
    fleet.assert_runs(container)
    all_ratio, each_ratio = worst_ratio(capture.stop(), lab)
    slowest_s = max(result.elapsed_s or 0 for result in results)
    print(
        f"flood of {kind}: {sent - sent_before} datagrams in {slowest_s:.1f} s of updates; server grew "
        f"{growth_bytes >> 10} KiB, {later_bytes >> 10} KiB after three times as many; answers are "
        f"{all_ratio:.2f} x the bytes, {each_ratio:.2f} x at worst for one address"
    )
    assert max(growth_bytes, later_bytes) < MAX_GROWTH_BYTES
    assert each_ratio <= RATIO
    assert sent - sent_before > PER_S
    server.stop()

"""`gapcast provision` of ten boards at once: with their cables pulled, and interrupted."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gapcast.cli import EXIT_INTERRUPTED
from gapcast.fleet.store import Fleet
from gapcast_sim.chip.chip import SimChip
from gapcast_sim.chip.faults import Faults
from provision.prov_bench import Bench, plugged, wait_until

pytestmark = pytest.mark.usefixtures("micropython")

BOARDS = 10
SEED = 20261122


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_cables_pulled_at_ten_points(bench: Bench) -> None:
    """Anywhere from the first byte of the firmware to the last of the client; then plugged in again."""
    with plugged(sample := bench.chip("sample")) as ports:
        assert bench.provision(*ports).code == 0
        total_bytes = sample.received_bytes
    chance = random.Random(SEED)
    points = sorted(chance.randrange(total_bytes) for _ in range(BOARDS))
    chips = [bench.chip(f"c{at}", faults=Faults(pull_after_rx=at, seed=at)) for at in points]
    with plugged(*chips) as ports:
        broken = bench.provision(*ports)
        assert broken.code == 1
        for at, board in zip(points, broken.boards, strict=True):
            assert board["state"] == "failed", (at, board)
            assert board["reason"] in ("gone", "interrupted", "silent"), (at, board)
            assert board["message"], (at, board)
            assert board["hint"], (at, board)
        replug(chips)
        again = bench.provision(*ports)
        assert again.code == 0, again
        replug(chips)
        third = bench.provision(*ports)
    assert [board["state"] for board in third.boards] == ["unchanged"] * BOARDS
    with Fleet(bench.state) as fleet:
        assert len(fleet.boards()) == BOARDS + 1


def replug(chips: list[SimChip]) -> None:
    for chip in chips:
        if chip.mode != "off":
            chip.pull()
        chip.plug()


def test_ctrl_c_ends_all_that_was_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path, app_bytes=1_700_000)
    with plugged(chip := bench.chip("c")) as (line,):
        command = [sys.executable, "-m", "gapcast", *bench.command(line)]
        with subprocess.Popen(
            command, env=bench.environment(), stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
        ) as process:
            wait_until(lambda: chip.received_bytes > 20_000, "a firmware that is being written")
            tools = tools_at(line)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        assert tools
        assert process.returncode == EXIT_INTERRUPTED
        assert errors.splitlines()[-1] == "gapcast: interrupted"
        assert not tools_at(line)
        assert bench.provision(line).code == 0


def tools_at(line: Path) -> list[str]:
    """The programs that were started for that port."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(line).encode() in word for word in words) and b"provision" not in words:
            found.append(process.name)
    return found

"""Whole boards whose new firmware is not healthy: rolled back, reported, not taken again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP
from sim_help import gapcast, one_line, read_json, serving

from gapcast.fleet.store import Fleet
from gapcast.image.build import build_container
from gapcast.image.keys import make_key, public_path
from gapcast.image.sample import build_sample
from gapcast_sim.runtime import Runtime

HEALTH_MS = 1500
KEY = "5a" * 32
FACTORY = "0.0.0-factory"


class Bench:
    """One board and what is served to it, from boot to boot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.root.mkdir()
        self.key = make_key(folder / "key.pem")
        self.report_key = folder / "bench-1.key"
        self.report_key.write_text(KEY)
        self.state = folder / "fleet.db"
        with Fleet(self.state) as fleet:
            fleet.add("bench-1", bytes.fromhex(KEY))
        self.result: dict[str, Any] = {}

    def publish(self, app: str, version: str = "2.0.0", retry: bool = False, **more: Any) -> None:
        data = build_sample(20000, version, CHIP, app=app, **more)
        container = build_container(data, "lab", "SIM", CHIP, key=self.key, retry=retry)
        (self.root / "lab.gap").write_bytes(container.data)

    def power_on(self, *options: object) -> Any:
        """`gapcast board` until its application is settled; the finished process."""
        with serving(self.root, "--state", str(self.state)) as port:
            done = gapcast(
                "board", "--server", f"127.0.0.1:{port}", "--image", "lab", "--flash", self.folder / "fl",
                "--id", "bench-1", "--report-key-file", self.report_key,
                "--trust", public_path(self.folder / "key.pem"),
                "--health-ms", HEALTH_MS, "--limit", 40, "--json", self.folder / "r.json", *options,
            )  # fmt: skip
        self.result = read_json(self.folder / "r.json")
        return done

    def reports(self) -> list[tuple[str, str]]:
        """(state, reason), the first one first."""
        with Fleet(self.state) as fleet:
            return [(state.state, state.reason) for state in reversed(fleet.history("bench-1"))]


@pytest.fixture
def bench(runtime: Runtime, tmp_path: Path) -> Bench:
    return Bench(tmp_path)


REASONS = {
    "exception": "RuntimeError: this sample always fails",
    "hang": "the application never called health.alive()",
    "offline": "the network was not up",
    "silent": "the application never called health.alive()",
}


@pytest.mark.parametrize("app", REASONS)
def test_unhealthy_firmware_goes_back_is_reported_and_is_not_taken_again(bench: Bench, app: str) -> None:
    bench.publish(app)
    started = time.monotonic()
    done = bench.power_on()
    assert time.monotonic() - started < 25
    reason = REASONS[app]
    assert done.returncode == 1
    assert f"rolled_back: 2.0.0: {reason}" in one_line(done)
    result = bench.result
    assert (result["outcome"], result["version"], result["slot"]) == ("rolled_back", FACTORY, 0)
    assert (result["boots"], result["confirmed"]) == (3, True)
    assert bench.reports() == [("installed", ""), ("rolled_back", reason)]
    # The same again: refused before anything is fetched, and nothing new is told.
    done = bench.power_on()
    assert done.returncode == 1
    result = bench.result
    assert (result["outcome"], result["version"], result["boots"]) == ("refused", FACTORY, 1)
    assert "rolled_back_before" in result["detail"]
    assert result["role"] == "none"
    assert len(bench.reports()) == 2


def test_the_next_version_is_taken_and_confirmed(bench: Bench) -> None:
    bench.publish("exception")
    bench.power_on()
    bench.publish("ok", "2.0.1")
    assert bench.power_on().returncode == 0
    assert (bench.result["outcome"], bench.result["version"]) == ("updated", "2.0.1")
    assert bench.result["confirmed"]
    assert [state for state, _reason in bench.reports()] == [
        "installed", "rolled_back", "installed", "confirmed"
    ]  # fmt: skip
    assert bench.power_on().returncode == 0
    assert (bench.result["outcome"], bench.result["boots"]) == ("up_to_date", 1)
    assert len(bench.reports()) == 4


def test_a_container_marked_retry_is_tried_again(bench: Bench) -> None:
    bench.publish("silent")
    bench.power_on()
    bench.publish("silent", retry=True)
    bench.power_on()
    assert (bench.result["outcome"], bench.result["boots"]) == ("rolled_back", 3)
    assert bench.result["kept_blocks"] > 0  # it is in the slot still
    assert [state for state, _reason in bench.reports()].count("rolled_back") == 2


WATCHDOG = """
import machine
def main(board):
    board.report(version="2.0.0")
    machine.WDT(timeout=300)
    while True:
        pass
"""


def test_a_watchdog_of_the_application_is_a_rollback_too(bench: Bench) -> None:
    bench.publish("ok", source=WATCHDOG)
    assert bench.power_on().returncode == 1
    assert (bench.result["outcome"], bench.result["detail"]) == ("rolled_back", "2.0.0: watchdog reset")
    assert bench.reports()[-1] == ("rolled_back", "watchdog reset")


SLOW = """
import time
from gapcast_boot import health
def main(board):
    board.report(version="2.0.0")
    ready = time.ticks_ms()
    while not health.alive(lambda: time.ticks_diff(time.ticks_ms(), ready) > 700):
        time.sleep_ms(20)
    while True:
        time.sleep(1)
"""


def test_firmware_may_take_its_time_to_be_healthy(bench: Bench) -> None:
    bench.publish("ok", source=SLOW)
    assert bench.power_on().returncode == 0, bench.result
    assert bench.reports()[-1][0] == "confirmed"


def test_an_image_that_nobody_trusts_is_refused_and_reported(bench: Bench) -> None:
    data = build_sample(20000, "2.0.0", CHIP)
    (bench.root / "lab.gap").write_bytes(build_container(data, "lab", "SIM", CHIP).data)
    assert bench.power_on().returncode == 1
    assert bench.result["outcome"] == "refused"
    assert bench.result["detail"].startswith("unsigned")
    [(state, reason)] = bench.reports()
    assert state == "refused"
    assert reason.startswith("unsigned")

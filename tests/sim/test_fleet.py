"""Whole benches on loopback, with real processes: `gapcast sim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP
from sim_help import gapcast, read_json

from gapcast.image.build import build_container
from gapcast.image.keys import make_key
from gapcast.image.sample import build_sample
from gapcast_core import fec
from gapcast_sim.runtime import Runtime

KEYS = {
    "image_bytes", "boards", "completed", "elapsed_s", "air_bytes", "unicast_cost_bytes",
    "repair_requests", "loss", "seed", "rate", "runtime", "results", "unsigned", "power_cuts",
}  # fmt: skip
ROW_KEYS = {
    "id", "role", "lost_blocks", "gaps", "largest_gap_blocks", "repaired_blocks", "repaired_bytes",
    "elapsed_s", "digest_ok", "version", "heap_peak_bytes", "confirmed", "unsigned", "kept_blocks", "cuts",
    "bytes_again", "state",
}  # fmt: skip


def simulate(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """The summary of a simulation that has to succeed."""
    done = gapcast(
        "sim", "--rate", "20M", "--size", "256k", "--json", tmp_path / "sim.json", *arguments, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    summary: dict[str, Any] = read_json(tmp_path / "sim.json")
    assert summary.keys() >= KEYS
    for row in summary["results"]:
        assert row.keys() >= ROW_KEYS
        assert row["version"] == "2.0.0"
        assert row["digest_ok"]
        assert (row["confirmed"], row["state"], row["unsigned"]) == (True, "confirmed", False)
    assert summary["completed"] == summary["boards"] == len(summary["results"])
    return summary


def test_a_bench_with_loss_is_updated_for_a_fraction_of_unicast(runtime: Runtime, tmp_path: Path) -> None:
    summary = simulate(tmp_path, "--boards", 4, "--loss", 0.1)
    image = summary["image_bytes"]
    air = summary["air_bytes"]
    assert air["multicast"] >= image
    assert sum(air.values()) < summary["unicast_cost_bytes"] / 2
    assert sum(air.values()) > 1.08 * image, "repair symbols, ranges, or both: what was lost was sent again"
    roles = [row["role"] for row in summary["results"]]
    assert roles.count("master") >= 1
    assert set(roles) <= {"master", "listener"}
    for row in summary["results"]:
        assert row["gaps"] <= row["lost_blocks"]
        assert 0 <= row["largest_gap_blocks"] <= row["lost_blocks"]
        assert row["repaired_bytes"] == row["repaired_blocks"] * 1024
        assert 0 < row["elapsed_s"] <= summary["elapsed_s"] + 0.5
        assert 0 < row["heap_peak_bytes"] <= runtime.heaps.default
        assert row["boots"] == 2
    assert "MicroPython" in summary["runtime"]
    assert "data:image/png" in (tmp_path / "gapcast-sim.html").read_text()


def test_without_loss_nothing_is_repaired(runtime: Runtime, tmp_path: Path) -> None:
    summary = simulate(tmp_path, "--boards", 4, "--loss", 0, "--rate", "6M")
    assert summary["repair_requests"] == 0
    assert summary["air_bytes"]["unicast"] < summary["image_bytes"] / 10
    assert summary["air_bytes"]["multicast"] < summary["image_bytes"] * 1.1
    assert all(row["lost_blocks"] == row["gaps"] == row["repaired_blocks"] == 0 for row in summary["results"])


def test_a_fleet_shares_its_header(runtime: Runtime, tmp_path: Path) -> None:
    """1.17 KB a board by unicast. A busy machine may start its boards too far apart, but not each time."""
    boards = 8
    for _attempt in range(3):
        summary = simulate(tmp_path, "--boards", boards, "--loss", 0)
        if summary["air_bytes"]["unicast"] < boards * 1000:
            return
    raise AssertionError(summary["air_bytes"])


def test_boards_are_mended_while_they_listen(runtime: Runtime, tmp_path: Path) -> None:
    """By repair symbols, so that next to nothing is left to fetch one by one."""
    summary = simulate(tmp_path, "--boards", 4, "--loss", 0.1)
    blocks = summary["image_bytes"] // 1024
    assert [row["symbols"] for row in summary["results"]] == [fec.CAPACITY_BLOCKS] * 4
    assert sum(row["repaired_blocks"] for row in summary["results"]) < 0.1 * blocks
    assert sum(summary["air_bytes"].values()) < 1.5 * summary["image_bytes"]


def test_in_a_smaller_heap_fewer_symbols_have_room(runtime: Runtime, tmp_path: Path) -> None:
    """And with room for none it is an update all the same."""
    heaps = runtime.heaps
    if runtime.rom is None or runtime.is_64_bit:
        pytest.skip("figures of a client in ROM, and of 32 bits")
    found = []
    for heap in ((heaps.default + heaps.least) // 2, heaps.least):
        summary = simulate(tmp_path, "--boards", 2, "--loss", 0.1, "--heap", heap)
        found.append({row["symbols"] for row in summary["results"]})
    assert found[0] <= {8, 12, 16}
    assert found[1] == {0}


def test_boards_under_cpython(tmp_path: Path) -> None:
    summary = simulate(tmp_path, "--boards", 2, "--cpython")
    assert "CPython" in summary["runtime"]


def test_a_bench_that_is_up_to_date_costs_next_to_nothing(runtime: Runtime, tmp_path: Path) -> None:
    arguments = ("--boards", 2, "--loss", 0.05, "--keep", tmp_path / "keep")
    simulate(tmp_path, *arguments)
    again = simulate_again(tmp_path, *arguments)
    assert again["completed"] == 2
    assert [row["outcome"] for row in again["results"]] == ["up_to_date", "up_to_date"]
    assert sum(again["air_bytes"].values()) < 2 * 3000
    assert again["elapsed_s"] is None
    assert (tmp_path / "keep" / "board-1" / "ota_1.bin").stat().st_size > 256 * 1024


def simulate_again(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    done = gapcast(
        "sim", "--rate", "20M", "--size", "256k", "--json", tmp_path / "again.json", *arguments, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = read_json(tmp_path / "again.json")
    return summary


def test_boards_that_cannot_finish_in_time_are_a_failure(runtime: Runtime, tmp_path: Path) -> None:
    done = gapcast(
        "sim", "--boards", 2, "--limit", 2, "--rate", "100k", "--size", "256k",
        "--json", tmp_path / "sim.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    summary = read_json(tmp_path / "sim.json")
    assert summary["completed"] == 0
    assert {row["outcome"] for row in summary["results"]} == {"failed"}
    assert all("2 s" in row["detail"] for row in summary["results"])


def container(path: Path, *, signed: bool) -> Path:
    """A container for simulated boards; its key is beside it."""
    data = build_sample(30000, "2.0.0", CHIP)
    key = make_key(path.with_name("key.pem")) if signed else None
    path.write_bytes(build_container(data, "x", "SIM", CHIP, key=key).data)
    return path


def run(tmp_path: Path, *arguments: object) -> tuple[int, str, list[dict[str, Any]]]:
    """(exit code, what it printed, rows) of a simulation of two boards under CPython."""
    done = gapcast("sim", "--cpython", "--boards", 2, "--json", tmp_path / "s.json", *arguments, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    rows: list[dict[str, Any]] = read_json(tmp_path / "s.json")["results"]
    return done.returncode, done.stdout, rows


def test_an_unsigned_image_is_taken_and_said_so(tmp_path: Path) -> None:
    code, text, rows = run(tmp_path, container(tmp_path / "x.gap", signed=False))
    assert code == 0
    assert "UNSIGNED: 2 of 2 boards" in text
    assert [row["unsigned"] for row in rows] == [True, True]
    assert read_json(tmp_path / "s.json")["unsigned"] == 2


def test_a_signed_image_is_taken_by_whoever_trusts_its_key(tmp_path: Path) -> None:
    image = container(tmp_path / "x.gap", signed=True)
    code, text, rows = run(tmp_path, image, "--trust", tmp_path / "key.pub.pem")
    assert code == 0
    assert "UNSIGNED" not in text
    assert [row["unsigned"] for row in rows] == [False, False]


@pytest.mark.parametrize(("signed", "reason"), [(True, "unknown_key"), (False, "unsigned")])
def test_boards_refuse_what_nobody_they_trust_has_signed(tmp_path: Path, signed: bool, reason: str) -> None:
    make_key(tmp_path / "other.pem")
    image = container(tmp_path / "x.gap", signed=signed)
    code, text, rows = run(tmp_path, image, "--trust", tmp_path / "other.pub.pem")
    assert code == 1
    assert "UNSIGNED" not in text
    for row in rows:
        assert (row["outcome"], row["version"], row["state"]) == ("refused", "0.0.0-factory", "refused")
        assert row["detail"].startswith(reason)


def test_a_bench_that_rolls_back_fails_with_the_reason(runtime: Runtime, tmp_path: Path) -> None:
    done = gapcast(
        "sim", "--boards", 2, "--size", "20k", "--app", "offline", "--health-ms", 1000,
        "--json", tmp_path / "s.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "0 of 2 boards run the new version" in done.stdout
    assert "rolled_back" in done.stdout
    for row in read_json(tmp_path / "s.json")["results"]:
        assert (row["outcome"], row["state"]) == ("rolled_back", "rolled_back")
        assert row["detail"] == "2.0.0: the network was not up"


def test_a_kept_bench_keeps_its_reports_too(tmp_path: Path) -> None:
    arguments = ("--size", "20k", "--keep", tmp_path / "keep")
    assert run(tmp_path, *arguments)[0] == 0
    code, _text, rows = run(tmp_path, *arguments)
    assert code == 0
    assert [(row["outcome"], row["state"]) for row in rows] == [("up_to_date", "confirmed")] * 2

"""Whole benches on loopback, with real processes: `gapcast sim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim_help import gapcast, read_json

from gapcast_sim.runtime import Runtime

KEYS = {
    "image_bytes", "boards", "completed", "elapsed_s", "air_bytes", "unicast_cost_bytes",
    "repair_requests", "loss", "seed", "rate", "runtime", "results",
}  # fmt: skip
ROW_KEYS = {
    "id", "role", "lost_blocks", "gaps", "largest_gap_blocks", "repaired_blocks", "repaired_bytes",
    "elapsed_s", "digest_ok", "version", "heap_peak_bytes",
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
    assert summary["completed"] == summary["boards"] == len(summary["results"])
    return summary


def test_a_bench_with_loss_is_updated_for_a_fraction_of_unicast(runtime: Runtime, tmp_path: Path) -> None:
    summary = simulate(tmp_path, "--boards", 4, "--loss", 0.1)
    image = summary["image_bytes"]
    air = summary["air_bytes"]
    assert air["multicast"] >= image
    assert sum(air.values()) < summary["unicast_cost_bytes"] / 2
    assert summary["repair_requests"] > 0
    roles = [row["role"] for row in summary["results"]]
    assert roles.count("master") >= 1
    assert set(roles) <= {"master", "listener"}
    for row in summary["results"]:
        assert row["lost_blocks"] > 0
        assert row["gaps"] <= row["lost_blocks"]
        assert 0 < row["largest_gap_blocks"] <= row["lost_blocks"]
        assert row["repaired_bytes"] == row["repaired_blocks"] * 1024
        assert 0 < row["elapsed_s"] <= summary["elapsed_s"] + 0.5
        assert 0 < row["heap_peak_bytes"] <= 224 * 1024
        assert row["boots"] == 2
    assert "MicroPython" in summary["runtime"]
    assert "data:image/png" in (tmp_path / "gapcast-sim.html").read_text()


def test_without_loss_nothing_is_repaired(runtime: Runtime, tmp_path: Path) -> None:
    summary = simulate(tmp_path, "--boards", 4, "--loss", 0, "--rate", "6M")
    assert summary["repair_requests"] == 0
    assert summary["air_bytes"]["unicast"] < summary["image_bytes"] / 10
    assert summary["air_bytes"]["multicast"] < summary["image_bytes"] * 1.1
    assert all(row["lost_blocks"] == row["gaps"] == row["repaired_blocks"] == 0 for row in summary["results"])


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

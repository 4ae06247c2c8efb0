"""Whole benches that lose their power again and again: `gapcast sim --power-cuts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sim_help import gapcast, read_json

from gapcast_sim.runtime import Runtime

BYTES_PER_CUT = 4096  # issue 3: at most one chunk of the image is downloaded again per cut


def cut(tmp_path: Path, *arguments: object) -> list[dict[str, Any]]:
    """The rows of a simulation in which all boards end on the new version."""
    done = gapcast("sim", "--rate", "0", "--json", tmp_path / "sim.json", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = read_json(tmp_path / "sim.json")
    assert summary["completed"] == summary["boards"]
    assert summary["power_cuts"] == sum(row["cuts"] for row in summary["results"])
    rows: list[dict[str, Any]] = summary["results"]
    for row in rows:
        assert (row["version"], row["confirmed"], row["state"]) == ("2.0.0", True, "confirmed"), row
        assert (row["bytes_again"] or 0) <= BYTES_PER_CUT * row["cuts"], row
    return rows


def test_twenty_boards_with_several_cuts_each(runtime: Runtime, tmp_path: Path) -> None:
    rows = cut(tmp_path, "--boards", 20, "--size", "1536k", "--power-cuts", 4, "--limit", 50)
    assert [row["cuts"] for row in rows] == [4] * 20
    worst = max(row["bytes_again"] / row["cuts"] for row in rows)
    print(f"80 power cuts: {worst:.0f} bytes downloaded again per cut at worst")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cuts_in_a_small_image_hit_the_switch_too(runtime: Runtime, tmp_path: Path, seed: int) -> None:
    rows = cut(tmp_path, "--boards", 6, "--size", "16k", "--power-cuts", 3, "--seed", seed)
    assert [row["cuts"] for row in rows] == [3] * 6


def test_cuts_over_an_older_image(runtime: Runtime, tmp_path: Path) -> None:
    """The slot has to be erased first: those operations lose their power as well."""
    arguments = ("--boards", 3, "--size", "200k", "--keep", tmp_path / "keep")
    for seed in (1, 2):
        rows = cut(tmp_path, *arguments, "--seed", seed)
        assert all(row["outcome"] == "updated" for row in rows)
    rows = cut(tmp_path, *arguments, "--seed", 3, "--power-cuts", 5)
    assert [row["cuts"] for row in rows] == [5] * 3
    assert all(row["outcome"] == "updated" for row in rows)


def test_the_table_tells_of_the_cuts(tmp_path: Path) -> None:
    done = gapcast("sim", "--cpython", "--boards", 1, "--size", "16k", "--power-cuts", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "cuts" in done.stdout
    assert "again" in done.stdout
    assert "confirmed" in done.stdout
    assert "UNSIGNED" not in done.stdout

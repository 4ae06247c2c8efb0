"""Boards with the data sheet's flash and a queue of six: `gapcast sim --flash-timing`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sim_help import gapcast, one_line, read_json


def overflow_share(rows: list[dict[str, Any]]) -> float:
    """Of the datagrams that came, how many found a full queue."""
    lost = sum(row["rx_overflows"] for row in rows)
    return lost / (lost + sum(row["rx_datagrams"] for row in rows))


@pytest.mark.usefixtures("runtime")
def test_the_server_finds_the_rate_and_leaves_the_slow_one_behind(tmp_path: Path) -> None:
    done = gapcast(
        *("sim", "--boards", 4, "--slow-boards", 1, "--flash-timing", "--rate", "0", "--loss", 0),
        *("--size", "256k", "--json", tmp_path / "sim.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    slow, *others = read_json(tmp_path / "sim.json")["results"]
    assert 2 * max(row["elapsed_s"] for row in others) < slow["elapsed_s"]
    assert all(row["rx_datagrams"] > 256 for row in others)
    # None, as a rule. At a rate that is not theirs it is a third; between them lies how busy this PC is.
    assert overflow_share(others) < 0.1


def test_slow_boards_need_flash_timing(tmp_path: Path) -> None:
    assert "--flash-timing" in one_line(gapcast("sim", "--slow-boards", 1, cwd=tmp_path))

"""How long ten boards take in `gapcast provision`, beside one. It wants the machine for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.prov_bench import Bench, plugged

pytestmark = pytest.mark.usefixtures("micropython")

BOARDS = 10
MAX_RATIO = 1.5  # of ten boards' time to one's


def test_ten_boards_take_hardly_longer_than_one(tmp_path: Path) -> None:
    """Bytes take their time on the lines: 460800 baud for the firmware, 115200 for the client."""
    bench = Bench(tmp_path, app_bytes=150_000)
    with plugged(bench.chip("one", pacing=True)) as ports:
        one = bench.provision(*ports)
    with plugged(*(bench.chip(f"c{number}", pacing=True) for number in range(BOARDS))) as ports:
        ten = bench.provision(*ports)
    assert one.code == ten.code == 0, (one, ten)
    assert [board["state"] for board in ten.boards] == ["provisioned"] * BOARDS
    ratio = ten.elapsed_s / one.elapsed_s
    print(f"one board {one.elapsed_s:.1f} s, {BOARDS} boards {ten.elapsed_s:.1f} s: {ratio:.2f} times")
    assert ratio <= MAX_RATIO

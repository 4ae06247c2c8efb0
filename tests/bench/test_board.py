"""`make bench-board` measures what it says; how fast this machine is does not matter here."""

from __future__ import annotations

from bench import board
from gapcast_tools.upy import Micropython


def test_every_figure_is_there(micropython: Micropython) -> None:
    found = board.measure(micropython)
    assert set(found["decode_us"]) == {"1", "6", "13", "20"}
    rates = found["per_s"].values()
    assert len(rates) == 3
    assert min(rates) > 0
    assert 20 * 1024 < found["heap_bytes"]["pool"] < 25 * 1024
    assert found["heap_bytes"]["decoding"] < 1024
    assert 0 < found["code_bytes"]["of which erasure repair"] < found["code_bytes"]["gapcast_core"]
    for heap in found["update"].values():
        assert 30 * 1024 < heap["client"] == heap["live"] - heap["own"]
        assert heap["live"] < heap["total"]
        assert heap["symbols"] >= 8, "mended, whatever its code takes"
    assert found["update"]["frozen"]["symbols"] == 20
    table = board.rows(found)
    assert len(table) == len({what for what, _figure, _unit in table})

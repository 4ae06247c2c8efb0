"""Timers, networks and settings that a board may lack: a trial has its deadline and its end all the same."""

from __future__ import annotations

from typing import Any

import pytest
from shipped import Board


def test_a_chip_with_one_timer_has_a_deadline(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board.world.timer, "TIMERS", 1)
    board.boot()
    assert board.boot().outcome == "on_trial"
    assert board.world.timer.armed()


@pytest.mark.parametrize("setting", ["60000", None, [1], True, 0, -1, 99, 3600001, 1.5])
def test_a_health_ms_that_makes_no_sense_is_the_default(board: Board, setting: Any) -> None:
    board.boot()
    assert board.boot(health_ms=setting).outcome == "on_trial"
    assert board.world.timer._timers[3].period_ms == board.world.agent.DEFAULTS["health_ms"]


class Lan:
    """A wired network that comes up late."""

    is_up = False

    def __init__(self, **_arguments: int) -> None:
        pass

    def active(self, _on: bool) -> None:
        pass

    def isconnected(self) -> bool:
        return Lan.is_up

    def ifconfig(self) -> tuple[str, ...]:
        return ("127.0.0.1",) * 4


def test_a_wired_network_that_comes_up_late_confirms(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    world = board.world
    monkeypatch.setattr(world.net.network, "LAN", Lan, raising=False)
    monkeypatch.setattr(Lan, "is_up", False)
    board.boot()
    assert board.boot(lan={"id": 0}, network_timeout_ms=200).outcome == "failed"
    world.net.network.WLAN(0).active(False)
    assert not world.health.alive()
    monkeypatch.setattr(Lan, "is_up", True)
    assert world.health.alive()


def test_alive_raises_nothing_in_a_build_without_wifi(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.boot()
    board.boot()
    board.world.health.use_network(None)
    monkeypatch.delattr(board.world.net.network, "WLAN")
    assert not board.world.health.alive()


def test_no_memory_to_look_for_a_trial_is_not_the_end_of_it(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = board.world
    board.boot()
    board.boot()
    world.health._state = world.health._State()
    with monkeypatch.context() as short:

        def fail(_journal: object) -> None:
            raise MemoryError

        short.setattr(world.trial, "running", fail)
        with pytest.raises(MemoryError):
            world.health.alive()
    assert not world.health.alive(), "now it knows"
    assert world.health.alive()
    assert board.otadata() == (1, world.ota.VALID)


@pytest.mark.parametrize("error", [OSError("Wifi Internal State Error"), TypeError("can't convert")])
def test_a_station_that_cannot_connect_is_handed_over_switched_off(
    board: Board, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With as many reconnects as the application expects."""
    wlan = board.world.net.network.WLAN
    seen: list[Any] = []
    original = wlan.config

    def config(self: Any, *asked: Any, **named: Any) -> Any:
        seen.append(named)
        return original(self, *asked, **named)

    def connect(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(wlan, "config", config)
    monkeypatch.setattr(wlan, "connect", connect)
    monkeypatch.setattr(wlan, "isconnected", lambda _self: False)
    assert board.boot().outcome == "failed"
    assert {"reconnects": -1} in seen
    assert not wlan(0).active()


def test_a_driver_that_raises_while_it_is_handed_over_stops_nobody(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise RuntimeError("driver")

    monkeypatch.setattr(board.world.net, "_set_reconnects", lambda _nic, count: count > 0 or fail())
    assert board.boot().outcome == "updated"
    assert board.boot().outcome == "on_trial"

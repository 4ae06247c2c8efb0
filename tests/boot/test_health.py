"""A new image is on trial: confirmed by its application, or given up (gapcast_boot/health.py, trial.py)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from boot_world import CHIP, MiniServer, Recording, World, files_of, make_container

from gapcast.image.sample import build_sample
from gapcast_core.container import chunk_digest

FACTORY = build_sample(8192, "1.0.0", CHIP)
WDT_RESET, SOFT_RESET, POWER_ON = 3, 5, 1


class Trial:
    """A board that has just been switched on with a new image, and its server."""

    def __init__(self, world: World, server: MiniServer) -> None:
        self.world = world
        self.server = server
        self.more: dict[str, Any] = {}
        self.told = Recording()
        assert self.boot().reset

    def boot(self, reset_cause: int = SOFT_RESET) -> Recording:
        """One pre-boot in the slot that the boot loader chooses."""
        self.world.settings["reset_cause"] = reset_cause
        self.slot = self.world.power_on()
        self.world.health._state = self.world.health._State()
        self.told = self.world.preboot(self.world.config(self.server.port, **self.more))
        return self.told

    def resets(self, function: Any, *arguments: Any) -> None:
        with pytest.raises(SystemExit):
            function(*arguments)

    def given_up(self, reset_cause: int = SOFT_RESET) -> str:
        """The old application runs again; why. The new one is not fetched again."""
        told = self.boot(reset_cause)
        assert (self.slot, told.outcome) == (0, "rolled_back")
        assert self.world.read("ota_0", len(FACTORY)) == FACTORY
        self.server.requests.clear()
        again = self.boot()
        assert again.outcome == "refused"
        assert again.detail == "rolled_back_before: 2.0.0"
        assert self.server.asked == ["image.hdr"]
        return told.detail


@pytest.fixture
def trial(world: World) -> Iterator[Trial]:
    world.program("ota_0", FACTORY)
    with MiniServer(files_of(make_container())).running() as server:
        yield Trial(world, server)


def state(world: World) -> int:
    return int(world.ota.active(world.nor("otadata"))[2])


def test_alive_confirms_once_and_the_timer_stops(trial: Trial) -> None:
    world = trial.world
    assert trial.boot().outcome == "on_trial"
    assert world.timer.armed()
    assert state(world) == world.ota.PENDING_VERIFY
    assert world.health.alive()
    assert "confirmed" in trial.told.calls
    assert state(world) == world.ota.VALID
    assert not world.timer.armed()
    ops = world.power.ops
    for _call in range(1000):
        assert world.health.alive()
    assert world.power.ops == ops
    assert trial.boot().outcome == "up_to_date"
    assert trial.slot == 1


def test_nothing_is_confirmed_without_the_network_or_the_check(trial: Trial) -> None:
    world = trial.world
    trial.boot()
    world.settings["wifi"] = "missing"
    ops = world.power.ops
    for _call in range(300):
        assert not world.health.alive()
    world.settings["wifi"] = "ok"
    assert not world.health.alive(lambda: False)
    assert world.power.ops == ops, "hundreds of calls a second must not wear the flash"
    assert world.health.alive(lambda: True)


def test_losing_the_network_ends_the_trial(trial: Trial) -> None:
    trial.boot()
    trial.world.settings["wifi"] = "missing"
    assert not trial.world.health.alive()
    trial.resets(trial.world.timer.fire)
    trial.world.settings["wifi"] = "ok"
    assert trial.given_up() == "the network was not up"


def test_a_hang_ends_the_trial(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.timer.fire)
    assert "never called" in trial.given_up()


def test_a_check_that_is_never_true_ends_the_trial(trial: Trial) -> None:
    trial.boot()
    assert not trial.world.health.alive(lambda: 0)
    trial.resets(trial.world.timer.fire)
    assert "check" in trial.given_up()


def test_an_exception_of_the_check_ends_the_trial(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.health.alive, lambda: 1 // 0)
    assert "ZeroDivisionError" in trial.given_up()


def test_an_exception_of_the_application_ends_the_trial(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.health.run, lambda: [][1])
    assert trial.given_up().startswith("IndexError")


def test_an_exception_after_the_trial_is_the_applications_own(trial: Trial) -> None:
    trial.boot()
    assert trial.world.health.alive()
    with pytest.raises(IndexError):
        trial.world.health.run(lambda: [][1])
    assert trial.world.health.run(lambda: 7) == 7
    assert trial.boot().outcome == "up_to_date"


def test_the_watchdog_is_named(trial: Trial) -> None:
    trial.boot()
    assert trial.given_up(WDT_RESET) == "watchdog reset"


def test_a_reset_before_the_confirmation_is_named(trial: Trial) -> None:
    trial.boot()
    assert trial.given_up(SOFT_RESET) == "reset before it was confirmed"


def test_lost_power_is_not_its_fault_but_not_for_ever(trial: Trial) -> None:
    """Three tries, then it may be the image that pulls the supply down."""
    limit = trial.world.trial.MAX_TRIES
    for attempt in range(1, limit):
        assert trial.boot().outcome == "on_trial"
        told = trial.boot(POWER_ON)
        assert (told.outcome, told.reset) == ("updated", True), attempt
        assert "kept" in told.calls
    assert trial.boot().outcome == "on_trial"
    assert "power" in trial.given_up(POWER_ON)


def test_the_deadline_during_a_confirmation_waits(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback runs between any two steps of the program."""
    world = trial.world
    trial.boot()
    original = world.trial.confirm

    def interrupted(*arguments: Any) -> None:
        world.timer.fire()
        original(*arguments)
        world.timer.fire()

    monkeypatch.setattr(world.trial, "confirm", interrupted)
    assert world.health.alive()
    assert state(world) == world.ota.VALID


def test_the_deadline_during_a_confirmation_that_fails_comes_late(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = trial.world
    trial.boot()

    def interrupted(*_arguments: Any) -> None:
        world.timer.fire()
        raise MemoryError

    monkeypatch.setattr(world.trial, "confirm", interrupted)
    trial.resets(world.health.alive)
    monkeypatch.undo()
    world.settings["reset_cause"] = SOFT_RESET
    assert world.power_on() == 0


def test_a_failed_retry_is_taken_again_only_with_another_container(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.timer.fire)
    trial.given_up()
    first = make_container()

    def retry(version: str) -> bytes:
        header = type(first.header)(
            first.header.name,
            version,
            "SIM",
            first.header.image_bytes,
            first.header.table_digest,
            first.header.image_digest,
            image_head=first.header.image_head,
            flags=1,
        )
        return bytes(header.pack() + first.data[1024:])

    for version in ("2.0.0-again", "2.0.0-third"):
        data = retry(version)
        name = "gap/" + chunk_digest(data[:1024]).hex()
        trial.server.files = {"image.hdr": data[:1024], "image.gap": data, name: data}
        told = trial.boot()
        assert (told.outcome, told.reset) == ("updated", True)
        assert "kept" in told.calls, "the slot is complete: nothing is downloaded"
        assert name not in trial.server.asked
        assert trial.boot().outcome == "on_trial"
        trial.resets(trial.world.timer.fire)
        assert trial.boot().outcome == "rolled_back"
        assert trial.boot().outcome == "refused"


def test_the_operator_may_have_it_tried_again(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.timer.fire)
    trial.given_up()
    trial.more = {"retry_failed": True}
    assert trial.boot().outcome == "updated"
    assert trial.boot().outcome == "on_trial"
    assert trial.world.health.alive()
    assert trial.world.journal.Journal().failed() == [], "it is healthy after all"


def test_pre_boot_confirms_by_itself_when_it_is_told_to(trial: Trial) -> None:
    trial.more = {"health": "boot"}
    told = trial.boot()
    assert told.outcome == "up_to_date"
    assert "confirmed" in told.calls
    assert state(trial.world) == trial.world.ota.VALID


def test_without_an_answer_pre_boot_confirms_nothing(trial: Trial) -> None:
    trial.more = {"health": "boot", "ask_ms": 400}
    trial.server.first = lambda _request: []
    assert trial.boot().outcome == "failed"
    assert state(trial.world) == trial.world.ota.PENDING_VERIFY
    assert trial.world.timer.armed()


def test_a_trial_runs_even_when_pre_boot_fails(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(trial.world.net.Link, "up", fail)
    assert trial.boot().outcome == "failed"
    assert trial.world.timer.armed()
    trial.resets(trial.world.timer.fire)


def test_health_knows_of_a_trial_without_pre_boot(trial: Trial) -> None:
    """The agent could not even be imported."""
    world = trial.world
    assert world.power_on() == 1
    world.health._state = world.health._State()
    wlan = world.net.network.WLAN(0)
    wlan.active(True)
    wlan.connect("x")
    assert not world.health.alive(), "the first call only looks"
    assert world.health.alive()
    assert state(world) == world.ota.VALID


def test_watch_ends_when_the_image_is_confirmed(trial: Trial) -> None:
    trial.boot()
    answers = iter([False, False, True])
    asyncio.run(trial.world.health.watch(lambda: next(answers), every_ms=1))
    assert state(trial.world) == trial.world.ota.VALID


@pytest.fixture
def old_boot_loader(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before MicroPython 1.21: it never goes back."""

    def select(nor: Any, _slots: Any) -> int:
        entry = world.ota.active(nor)
        return 0 if entry is None else (entry[1] - 1) % 2

    monkeypatch.setattr(world.ota, "select_slot", select)


@pytest.mark.usefixtures("old_boot_loader")
def test_without_rollback_in_the_boot_loader_a_reason_is_enough_to_go_back(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.timer.fire)
    assert trial.boot().reset, "the new image again, which goes back"
    assert trial.slot == 1
    assert "never called" in trial.given_up()


@pytest.mark.usefixtures("old_boot_loader")
def test_without_rollback_in_the_boot_loader_there_are_three_boots(trial: Trial) -> None:
    for _boot in range(trial.world.trial.MAX_BOOTS):
        assert trial.boot(WDT_RESET).outcome == "on_trial"
    assert trial.boot(WDT_RESET).reset
    assert "3 boots" in trial.given_up()


@pytest.mark.usefixtures("old_boot_loader")
def test_an_image_with_nothing_to_go_back_to_stays(trial: Trial) -> None:
    trial.boot()
    trial.resets(trial.world.timer.fire)
    trial.world.nor("ota_0").erase(0)
    assert trial.boot().outcome == "on_trial"


def test_an_image_flashed_by_hand_is_on_no_trial(trial: Trial) -> None:
    """esptool leaves the table of the image before where it was."""
    world = trial.world
    for sector in range(3):
        world.nor("ota_1").erase(sector)
    world.program("ota_1", build_sample(8192, "by-hand", CHIP))
    trial.server.files = {}
    assert trial.boot().outcome == "up_to_date"
    assert trial.slot == 1
    assert not world.timer.armed()
    assert world.health.alive()
    assert hashlib.sha256(world.read("ota_0", len(FACTORY))).digest() == hashlib.sha256(FACTORY).digest()


def test_a_full_nvs_makes_no_update_and_keeps_the_application(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.program("ota_0", FACTORY)
    world.power_on()

    def full(*_arguments: object) -> None:
        raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")

    monkeypatch.setattr(world.esp32.NVS, "set_blob", full)
    with MiniServer(files_of(make_container())).running() as server:
        told = world.preboot(world.config(server.port))
    assert (told.outcome, told.reset) == ("failed", False)
    assert world.power_on() == 0


def test_a_full_nvs_does_not_keep_a_healthy_image_from_being_confirmed(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")

    monkeypatch.setattr(trial.world.esp32.NVS, "set_blob", full)
    assert trial.boot().outcome == "on_trial"
    assert trial.world.health.alive()
    assert trial.boot().outcome == "up_to_date"
    assert trial.slot == 1

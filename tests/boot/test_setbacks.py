"""What must not go wrong twice: a slot that is no longer right, endless trying, a full NVS, lost reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from boot_world import files_of, make_container
from shipped import Board

from gapcast_core import report

KEY = {"report_key": "5a" * 32, "id": "a"}


@pytest.fixture
def reports(board: Board) -> list[str]:
    """The states and reasons that the server takes."""
    found: list[str] = []

    def take(_server: Any, _ip: str, _clock: Any, _name: str, data: bytes, _limit_ms: int) -> bool:
        told = report.parse_report(data)
        found.append(f"{report.STATES[told.state]} {told.reason}".strip())
        return True

    board.world.modules["gapcast_boot.reporting"].send = take  # type: ignore[attr-defined]
    return found


# -- which slot is kept -----------------------------------------------------------------------


def test_what_runs_is_kept_when_otadata_names_a_damaged_image(board: Board) -> None:
    """The boot loader passes over an image that it cannot load, and leaves otadata as it is."""
    world = board.world
    assert board.boot().reset
    world.nor("ota_1").program(5000, bytes(64))
    told = board.boot()
    assert (board.slot, told.outcome) == (0, "rolled_back")
    assert board.otadata() == (0, world.ota.VALID)


def test_nothing_is_kept_when_what_runs_cannot_be_made_the_one_to_boot(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = board.world
    assert board.boot().reset
    before = board.otadata()

    def refuse(_self: object) -> None:
        raise OSError(-0x1503, "ESP_ERR_OTA_VALIDATE_FAILED")

    monkeypatch.setattr(world.esp32.Partition, "set_boot", refuse)
    world.trial.keep_running()
    assert board.otadata() == before == (1, world.ota.NEW)


@pytest.mark.parametrize("error", [MemoryError("heap"), ImportError("report"), OSError(28)])
def test_the_board_resets_into_the_new_image_whatever_fails_after_set_boot(
    board: Board, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(board.world.modules["gapcast_boot.news"].News, "installed", fail)
    told = board.boot()
    assert (told.outcome, told.reset) == ("updated", True)


def test_no_memory_for_the_note_that_it_is_switched_does_no_harm(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = board.world.journal.Journal
    original = journal.put_trial

    def put(self: Any, trial: Any) -> None:
        if trial.switched:
            raise MemoryError
        original(self, trial)

    with monkeypatch.context() as short:
        short.setattr(journal, "put_trial", put)
        assert board.boot().reset
    assert board.boot().outcome == "on_trial"


def test_a_soft_reset_after_set_boot_keeps_what_runs(board: Board) -> None:
    world = board.world
    assert board.boot().reset
    told = board.boot_softly()
    assert told.outcome == "rolled_back"
    assert board.otadata() == (0, world.ota.VALID)


def test_firmware_without_a_trial_record_is_kept_by_alive(board: Board) -> None:
    """NVS was erased by the new firmware's first start: the boot loader waits all the same."""
    world = board.world
    assert board.boot().reset
    (world.folder / "nvs.json").unlink()
    assert board.boot().outcome == "up_to_date"
    assert board.otadata() == (1, world.ota.PENDING_VERIFY)
    assert world.health.alive(lambda: False), "nothing that could be rolled back"
    assert board.otadata() == (1, world.ota.PENDING_VERIFY)
    assert world.health.alive()
    assert board.otadata() == (1, world.ota.VALID)
    ops = world.power.ops
    assert world.health.alive(lambda: 1 // 0), "asked no more"
    assert world.power.ops == ops


# -- no end of trying, no other application ever ----------------------------------------------


def test_the_old_application_has_its_turn_after_a_rollback(board: Board) -> None:
    for _round in range(2):
        assert board.boot(retry_failed=True).outcome == "updated"
        assert board.boot(retry_failed=True).outcome == "on_trial"
        board.fail()
        board.server.requests.clear()
        told = board.boot(retry_failed=True)
        assert (board.slot, told.outcome, told.reset) == (0, "rolled_back", False)
        assert board.server.asked == []


def test_many_bad_images_are_remembered(board: Board) -> None:
    journal = board.world.journal
    images = [(bytes([number]) * 16, bytes([200 + number]) * 16) for number in range(13)]
    for table, content in images:
        journal.Journal().add_failed(table, content)
    assert journal.MAX_FAILED == 12
    assert journal.Journal().failed() == images[1:]


def test_a_server_that_is_away_is_not_the_images_fault_but_not_for_ever(board: Board) -> None:
    """`health` is "boot": pre-boot itself is to confirm."""
    more: dict[str, Any] = {"health": "boot", "ask_ms": 200}
    limit = board.world.trial.MAX_TRIES
    away: Callable[[bytes], list[bytes] | None] = lambda _request: []  # noqa: E731
    for attempt in range(1, limit + 1):
        board.server.first = lambda _request: None
        told = board.boot(health="boot")
        assert told.outcome == "updated", attempt
        board.server.first = away
        assert board.boot(**more).outcome == "failed"
        with pytest.raises(SystemExit):
            board.world.timer.fire()
    board.server.first = lambda _request: None
    told = board.boot(health="boot")
    assert (told.outcome, told.detail) == ("rolled_back", "the server was not reached")
    assert board.boot(health="boot").outcome == "refused"


@pytest.mark.parametrize("setting", ["false", "true", 1, [0]])
def test_only_true_opens_a_door(board: Board, setting: Any) -> None:
    told = board.boot(allow_unsigned=setting)
    assert (told.outcome, told.detail) == ("refused", "no_keys: this board trusts no key")
    assert board.boot().outcome == "updated"
    board.boot()
    board.fail()
    assert board.boot().outcome == "rolled_back"
    assert board.boot(retry_failed=setting).outcome == "refused"


# -- a full NVS, or a strange one -------------------------------------------------------------


def test_a_nearly_full_nvs_stops_neither_reports_nor_updates(board: Board) -> None:
    board.world.settings["wifi"] = "missing"
    board.fill_nvs(480)
    assert board.boot(network_timeout_ms=200, **KEY).outcome == "failed"
    board.world.settings["wifi"] = "ok"
    assert board.boot(**KEY).outcome == "updated"
    assert board.boot(**KEY).outcome == "on_trial"


def test_a_rollback_is_settled_in_a_nearly_full_nvs(board: Board) -> None:
    board.boot()
    board.boot()
    board.fail()
    board.fill_nvs(32)
    assert board.boot(**KEY).outcome == "rolled_back"
    for _boot in range(2):
        told = board.boot(**KEY)
        assert told.outcome == "refused"
        assert told.detail.startswith("rolled_back_before")


def test_values_of_another_type_are_replaced(board: Board) -> None:
    nvs = board.world.esp32.NVS("gapcast")
    for key in ("trial", "counter", "failed", "reason", "prepared", "seq"):
        nvs.set_i32(key, 1)
    assert board.boot(**KEY).outcome == "updated"
    assert board.boot(**KEY).outcome == "on_trial"
    assert board.world.health.alive()


def test_a_counter_is_never_erased_to_be_written_anew(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = board.world.journal.Journal()
    journal.put_number("counter", 5)

    def full(*_arguments: object) -> None:
        raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")

    monkeypatch.setattr(board.world.esp32.NVS, "set_blob", full)
    with pytest.raises(OSError, match="NOT_ENOUGH_SPACE"):
        journal.put_number("counter", 6)
    assert journal.number("counter") == 5


# -- reports ----------------------------------------------------------------------------------


def test_a_rollback_that_waits_is_told_before_a_later_failure(board: Board, reports: list[str]) -> None:
    assert board.boot(**KEY).reset
    board.boot(**KEY)
    board.fail()
    board.world.settings["wifi"] = "missing"
    assert board.boot(network_timeout_ms=300, **KEY).outcome == "failed"
    board.world.settings["wifi"] = "ok"
    board.boot(**KEY)
    assert [told.split()[0] for told in reports] == ["installed", "rolled_back", "failed"]


def test_a_refusal_does_not_replace_what_waits(board: Board) -> None:
    board.boot(**KEY)
    board.boot(**KEY)
    board.fail()
    board.boot(**KEY)
    board.server.files = files_of(make_container(board="OTHER"))
    assert board.boot(**KEY).outcome == "refused"
    waiting = report.parse_report(board.world.journal.Journal().get("news")[1:])
    assert waiting.state == report.ROLLED_BACK


def test_settings_may_change_under_a_waiting_report(board: Board) -> None:
    assert board.boot(allow_unsigned=False, **KEY).outcome == "refused"
    told = board.boot(report_key=KEY["report_key"], id=42)
    assert told.outcome == "updated"


@pytest.mark.parametrize("error", [TypeError("x"), ValueError("x")])
def test_a_report_that_cannot_be_sent_is_given_up_in_the_end(board: Board, error: Exception) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    board.world.modules["gapcast_boot.reporting"].send = fail  # type: ignore[attr-defined]
    for _boot in range(6):
        assert board.boot(allow_unsigned=False, **KEY).outcome == "refused"
    assert board.world.journal.Journal().get("news") == b""

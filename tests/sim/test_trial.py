"""What the launcher makes of boards that reset, lose their power, and have new applications on trial."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, World

from gapcast.errors import OperatorError
from gapcast.fleet.store import Fleet as FleetFile
from gapcast.image.build import build_container
from gapcast.image.keys import board_key_text, make_key
from gapcast.image.sample import build_sample
from gapcast_core.report import pack_report
from gapcast_sim import board as board_module
from gapcast_sim.board import MAX_RESETS, SimBoard
from gapcast_sim.boardflash import boot_choice, read_slot
from gapcast_sim.cuts import MORE_OPERATIONS, Cuts, Meter
from gapcast_sim.image import place_image, place_sample
from gapcast_sim.provision import BoardSpec, kept_report_key, prepare
from gapcast_sim.registry import Registry
from gapcast_sim.runtime import Runtime

RESET, CUT, WDT = 3, 4, 5

# A board that plays the boots of a list of scripts, one after the other, and keeps why each of them started.
PLAYER = """
import json, os, sys, time
folder = {folder!r}
causes = json.load(open(folder + "/causes.json"))
world = json.load(open(folder + "/sim.json"))
causes.append([world["reset_cause"], world["cut_at"]])
json.dump(causes, open(folder + "/causes.json", "w"))
def tell(event, **fields):
    print(json.dumps({{"event": event, "ms": 1, **fields}}), flush=True)
def result(outcome, detail=""):
    tell("result", outcome=outcome, detail=detail, heap_peak_bytes=1, slot_bytes=0)
def header():
    tell("header", version="2.0.0", container_bytes=21024)
def app(version):
    tell("application", preboot_us=1)
    tell("app", version=version, heap_peak_bytes=1)
tell("boot", slot=0)
exec({scripts!r}[min(len(causes), {count}) - 1])
"""
UPDATE = "header(); result('updated'); sys.exit(3)"
TRIAL = "result('on_trial'); app('2.0.0'); "
CONFIRM = "tell('confirmed', version='2.0.0'); "
WENT_BACK = (
    "tell('rolled_back', version='2.0.0', reason='it hung'); result('rolled_back', 'it hung'); app('1.0.0')"
)


def play(tmp_path: Path, *scripts: str, **more: Any) -> tuple[SimBoard, list[list[int]]]:
    """The board after its boots, and [reset cause, cut] of each of them."""
    (tmp_path / "causes.json").write_text("[]")
    code = PLAYER.format(folder=str(tmp_path), scripts=scripts, count=len(scripts))
    spec = BoardSpec("b", tmp_path, "127.0.0.1", 6969, "image", "127.0.0.1", limit_s=20, **more)
    board = SimBoard(
        spec, Runtime("story", (sys.executable, "-c", code), is_micropython=False), lambda *_: None
    )
    asyncio.run(board.run())
    return board, json.loads((tmp_path / "causes.json").read_text())


def outcome(board: SimBoard) -> tuple[bool, str, str]:
    return board.ok, board.result.outcome, board.result.detail


def test_an_update_counts_when_it_is_confirmed(tmp_path: Path) -> None:
    board, causes = play(tmp_path, UPDATE, TRIAL + CONFIRM)
    assert outcome(board) == (True, "updated", "")
    assert causes == [[1, 0], [5, 0]]
    assert board.result.confirmed


def test_an_application_that_ends_unconfirmed_is_no_update(tmp_path: Path) -> None:
    board, _causes = play(tmp_path, UPDATE, TRIAL)
    assert outcome(board) == (False, "failed", "the application of 2.0.0 was never confirmed")


def test_what_an_application_says_of_itself_is_looked_up_in_flash(tmp_path: Path, world: World) -> None:
    """`confirmed`, but otadata says that the image is on trial still."""
    world.ota.write_entry(world.nor("otadata"), 0, 1, world.ota.PENDING_VERIFY)
    board, _causes = play(tmp_path, UPDATE, TRIAL + CONFIRM)
    assert outcome(board) == (False, "failed", "the application of 2.0.0 was never confirmed")
    world.ota.write_entry(world.nor("otadata"), 0, 1, world.ota.VALID)
    board, _causes = play(tmp_path, UPDATE, TRIAL + CONFIRM)
    assert board.ok


def test_a_trial_is_waited_for_however_long_the_application_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_module, "APP_GRACE_S", 0.1)
    slow = TRIAL + "time.sleep(1); " + CONFIRM + "time.sleep(60)"
    started = time.monotonic()
    board, _causes = play(tmp_path, UPDATE, slow)
    assert board.ok
    assert 1 < time.monotonic() - started < 15


@pytest.mark.parametrize(("code", "cause"), [(RESET, 5), (WDT, 3), (CUT, 1)])
def test_a_board_that_goes_back_failed_for_that_reason(tmp_path: Path, code: int, cause: int) -> None:
    board, causes = play(tmp_path, UPDATE, TRIAL + f"sys.exit({code})", WENT_BACK)
    assert outcome(board) == (False, "rolled_back", "2.0.0: it hung")
    assert [why for why, _cut in causes] == [1, 5, cause]
    assert board.result.version == "1.0.0"


def test_a_second_try_after_a_rollback_can_succeed(tmp_path: Path) -> None:
    """The power was lost in the trial: nobody's fault, so the image is taken again."""
    again = "tell('rolled_back', version='2.0.0', reason='power lost'); " + UPDATE
    board, _causes = play(tmp_path, UPDATE, TRIAL + "sys.exit(4)", again, TRIAL + CONFIRM)
    assert outcome(board) == (True, "updated", "")


def test_what_comes_after_a_rollback_does_not_hide_it(tmp_path: Path) -> None:
    refused = "header(); result('refused', 'rolled_back_before'); app('1.0.0')"
    board, _causes = play(
        tmp_path, UPDATE, TRIAL + "sys.exit(3)", WENT_BACK.replace("app(", "sys.exit(3); app("), refused
    )
    assert outcome(board) == (False, "rolled_back", "2.0.0: it hung")
    assert "boot 4: refused: rolled_back_before" in board.result.notes


def test_a_board_that_never_comes_to_rest(tmp_path: Path) -> None:
    board, causes = play(tmp_path, UPDATE, TRIAL + "sys.exit(3)")
    assert outcome(board) == (False, "failed", f"reset {MAX_RESETS} times: it does not come to rest")
    assert len(causes) == MAX_RESETS + 1


def test_power_cuts_do_not_count_as_resets(tmp_path: Path) -> None:
    cuts = ["header(); tell('cut', ops=3, slot_bytes=1000); sys.exit(4)"] * (MAX_RESETS + 3)
    done = UPDATE.replace("slot_bytes=0", "slot_bytes=5000")
    board, causes = play(tmp_path, *cuts, done, TRIAL + CONFIRM, power_cuts=len(cuts), image_bytes=21024)
    assert board.ok, board.result.detail
    assert board.result.cuts == len(cuts)
    assert all(cut > 0 for _cause, cut in causes[: len(cuts)])
    assert [cut for _cause, cut in causes[len(cuts) :]] == [0, 0]
    assert board._meter
    assert board._meter.programmed_bytes == 1000 * len(cuts)


def test_unsigned_and_kept_are_in_the_result(tmp_path: Path) -> None:
    first = "header(); tell('unsigned'); tell('kept', blocks=7, total=20); result('updated'); sys.exit(3)"
    board, _causes = play(tmp_path, first, TRIAL + CONFIRM)
    found = board.result.to_json()
    assert (found["unsigned"], found["kept_blocks"], found["cuts"], found["bytes_again"]) == (
        True,
        7,
        0,
        None,
    )


# -- when the power goes --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_cuts_are_spread_over_the_operations_of_an_update(count: int) -> None:
    ends, halves = [], 0
    for seed in range(300):
        cuts = Cuts(seed, count, 100 * 1024)
        moments = [cuts.next() for _cut in range(count)]
        assert all(at >= 1 for at, _half in moments)
        assert sum(at for at, _half in moments) <= 100 + MORE_OPERATIONS
        assert cuts.next() == (0, False)
        ends.append(sum(at for at, _half in moments))
        halves += sum(half for _at, half in moments)
    assert 0.4 < halves / (300 * count) < 0.6
    expected = (100 + MORE_OPERATIONS) * count / (count + 1)  # the largest of `count` random ones
    assert abs(sum(ends) / 300 - expected) < 8
    assert [Cuts(5, count, 99999).next() for _again in range(2)] == [Cuts(5, count, 99999).next()] * 2


def test_without_a_size_the_first_cut_is_early() -> None:
    cuts = Cuts(1, 2)
    assert 1 <= cuts.next()[0] <= MORE_OPERATIONS
    cuts.learn(1 << 20)
    cuts.learn(1)  # what a later boot says changes nothing
    assert 1 <= cuts.next()[0] <= 1024 + MORE_OPERATIONS
    assert Cuts(1, 0, 1 << 20).next() == (0, False)


def test_only_what_was_there_before_is_downloaded_again(tmp_path: Path) -> None:
    image = bytes(range(256)) * 32  # 8 KiB
    (tmp_path / "ota_1.bin").write_bytes(image[:3000])  # two blocks are right, the third is torn
    meter = Meter(tmp_path)
    (tmp_path / "ota_1.bin").write_bytes(image + b"older")
    meter.programmed_bytes = 6 * 1024
    assert meter.bytes_again(1, len(image)) == 0
    meter.programmed_bytes += 1500
    assert meter.bytes_again(1, len(image)) == 1500
    assert read_slot(tmp_path, 0) == b""


def test_what_was_downloaded_again_is_measured_where_the_image_went(tmp_path: Path) -> None:
    """Not in the slot that runs in the end: the board goes back."""
    (tmp_path / "ota_0.bin").write_bytes(bytes(20000))
    update = (
        "header(); open(folder + '/ota_1.bin', 'wb').write(bytes(20000));"
        "tell('verified', repaired_blocks=0, repaired_bytes=0);"
        "tell('result', outcome='updated', detail='', heap_peak_bytes=1, slot_bytes=20500); sys.exit(3)"
    )
    board, _ = play(tmp_path, update, WENT_BACK, power_cuts=1)
    assert board.result.outcome == "rolled_back"
    assert board.result.bytes_again == 500


def test_the_launcher_reads_otadata_as_the_boot_loader_does(world: World, tmp_path: Path) -> None:
    ota, nor = world.ota, world.nor("otadata")
    assert boot_choice(tmp_path / "none") is None
    assert boot_choice(tmp_path) is None
    for index, sequence, state in (
        (0, 1, ota.VALID),
        (1, 2, ota.NEW),
        (1, 2, ota.ABORTED),
        (0, 5, ota.VALID),
    ):
        ota.write_entry(nor, index, sequence, state)
        entry = ota.active(nor)
        assert boot_choice(tmp_path) == ((entry[1] - 1) % 2, entry[2] == ota.VALID)
    nor.program(0, b"\0\0\0\1")  # torn: its CRC is wrong now
    assert boot_choice(tmp_path) is None


# -- what boards are given ------------------------------------------------------------------------


def test_a_sample_is_signed_with_a_key_of_its_own(tmp_path: Path) -> None:
    images = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        images.append(place_sample(tmp_path / name, 9000, 1))
    assert [image.allow_unsigned for image in images] == [False, False]
    assert [len(image.keys) for image in images] == [1, 1]
    assert images[0].keys != images[1].keys


def test_whose_image_boards_take(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key.pem")
    ours = board_key_text(key.public_key())
    data = build_sample(9000, "1", CHIP)
    (tmp_path / "signed.gap").write_bytes(build_container(data, "x", "SIM", CHIP, key=key).data)
    (tmp_path / "bare.gap").write_bytes(build_container(data, "x", "SIM", CHIP).data)
    (tmp_path / "bare.bin").write_bytes(data)
    for name in ("bare.gap", "bare.bin"):
        image = place_image(tmp_path, tmp_path / name, ())
        assert (image.keys, image.allow_unsigned) == ((), True)
        image = place_image(tmp_path, tmp_path / name, (ours,))
        assert (image.keys, image.allow_unsigned) == ((ours,), False)
    assert place_image(tmp_path, tmp_path / "signed.gap", (ours,)).allow_unsigned is False
    with pytest.raises(OperatorError, match="signed by key") as caught:
        place_image(tmp_path, tmp_path / "signed.gap", ())
    assert "--trust" in str(caught.value.hint)


def test_a_boards_settings_are_for_its_owner(tmp_path: Path) -> None:
    settings = tmp_path / "gapcast.json"
    settings.write_text("x" * 5000)
    settings.chmod(0o644)
    prepare(BoardSpec("b", tmp_path, "127.0.0.1", 6969, "image", "127.0.0.1", report_key="ab" * 32), b"")
    assert settings.stat().st_mode & 0o777 == 0o600
    assert json.loads(settings.read_text())["report_key"] == "ab" * 32


def test_boards_are_known_to_the_server_by_keys_that_stay(tmp_path: Path) -> None:
    folders = {f"board-{number}": tmp_path / f"board-{number}" for number in (1, 2)}
    registry = Registry(tmp_path)
    keys = registry.enroll(folders)
    assert len(set(keys.values())) == 2
    spec = BoardSpec("board-1", folders["board-1"], "127.0.0.1", 6969, "image", "127.0.0.1")
    prepare(BoardSpec(**{**spec.__dict__, "report_key": keys["board-1"]}), b"")
    assert kept_report_key(folders["board-1"]) == keys["board-1"]
    again = registry.enroll(folders)
    assert again["board-1"] == keys["board-1"]
    with FleetFile(registry.path) as fleet:
        for board, key in again.items():  # the file has the keys that the boards have
            report = pack_report(bytes.fromhex(key), board, 1, 1, bytes(16), "1", "SIM", 0, "")
            assert fleet.accept(board, report, "127.0.0.1")
        assert [board.id for board in fleet.boards()] == ["board-1", "board-2"]
    assert {board: state.state for board, state in registry.states().items()} == {
        "board-1": "installed", "board-2": "installed"
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"report_key": null}', '{"report_key": "zz"}', '{"report_key": "00"}']
)
def test_a_kept_folder_without_a_usable_key_gets_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "gapcast.json").write_text(text)
    assert kept_report_key(tmp_path) is None

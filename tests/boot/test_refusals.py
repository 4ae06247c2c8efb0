"""Refused by name before anything is erased, and told once (gapcast_boot/judge.py, news.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, MiniServer, World, files_of, make_container
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from gapcast.image.build import Container, build_container
from gapcast.image.keys import board_key_text
from gapcast.image.sample import build_sample
from gapcast_core import report
from gapcast_core.container import Header, chunk_digest

FACTORY = build_sample(8192, "1.0.0", CHIP)
IMAGE = build_sample(20000, "2.0.0", CHIP)
KEY = "7e" * 32


@pytest.fixture(scope="module")
def keys() -> tuple[RSAPrivateKey, RSAPrivateKey]:
    return generate_private_key(65537, 3072), generate_private_key(65537, 3072)


@pytest.fixture
def board(world: World) -> World:
    world.program("ota_0", FACTORY)
    assert world.power_on() == 0
    return world


@pytest.fixture
def reports(board: World) -> list[Any]:
    """What the server's collection of reports takes."""
    found: list[Any] = []

    def take(_server: Any, _ip: str, _clock: Any, _name: str, data: bytes, _limit_ms: int) -> bool:
        found.append(report.parse_report(data))
        return True

    board.modules["gapcast_boot.reporting"].send = take  # type: ignore[attr-defined]
    return found


def make(key: RSAPrivateKey | None = None, image: bytes = IMAGE, **named: Any) -> Container:
    return build_container(image, "image", named.pop("board", "SIM"), CHIP, key=key, **named)


def forged(**changes: Any) -> dict[str, bytes]:
    """The files of a container whose header says something else."""
    container = make()
    made = container.header
    fields = {
        "name": made.name,
        "version": made.version,
        "board": made.board,
        "image_bytes": made.image_bytes,
        "table_digest": made.table_digest,
        "image_digest": made.image_digest,
        "counter": made.counter,
        "target": made.target,
        "image_head": made.image_head,
    }
    header = Header(**{**fields, **changes}).pack()
    return {"image.hdr": header, "image.gap": header + container.data[1024:]}


def offer(board: World, files: dict[str, bytes], **config: Any) -> Any:
    with MiniServer(files).running() as server:
        told = board.preboot(board.config(server.port, **config))
    assert server.asked == ["image.hdr"] or told.outcome != "refused"
    return told


def assert_untouched(board: World) -> None:
    assert not Path(board.folder, "ota_1.bin").stat().st_size
    assert board.read("ota_0", len(FACTORY)) == FACTORY


def patched(at: int, values: bytes) -> bytes:
    head = bytearray(IMAGE[:288])
    head[at : at + len(values)] = values
    return bytes(head)


REFUSALS: dict[str, dict[str, Any]] = {
    "wrong_board": {"board": "ESP32_GENERIC"},
    "wrong_target": {"target": "romfs"},
    "wrong_chip": {"image_head": patched(12, b"\x09")},
    "merged_image": {"image_head": patched(32, b"\0\0\0\0")},
    "not_an_app": {"image_head": patched(0, b"\x7fELF")},
    "too_large": {"image_bytes": 0x40000},
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_is_not_for_this_board_is_refused_by_name(board: World, reports: list[Any], reason: str) -> None:
    ops = board.power.ops
    told = offer(board, forged(**REFUSALS[reason]))
    assert told.outcome == "refused"
    assert told.detail.split(":")[0] == reason
    assert_untouched(board)
    assert board.power.ops == ops
    told = offer(board, forged(**REFUSALS[reason]), report_key=KEY)
    assert [(was.state, was.reason.split(":")[0]) for was in reports] == [(report.REFUSED, reason)]


def test_a_merged_image_of_padding_is_refused(board: World) -> None:
    told = offer(board, forged(image_head=b"\xff" * 288))
    assert told.detail == "merged_image"


def test_an_older_image_than_the_counter_is_refused(board: World) -> None:
    board.journal.Journal().put_number("counter", 7)
    assert offer(board, files_of(make(counter=6))).detail.startswith("old_counter")
    assert_untouched(board)
    assert offer(board, files_of(make(counter=7))).outcome == "updated"


def trusting(*keys: RSAPrivateKey, **more: Any) -> dict[str, Any]:
    return {"keys": [board_key_text(key.public_key()) for key in keys], "allow_unsigned": False, **more}


Keys = tuple[RSAPrivateKey, RSAPrivateKey]


def test_only_a_trusted_key_signs(board: World, keys: Keys) -> None:
    mine, other = keys
    assert offer(board, files_of(make()), **trusting(mine)).detail == "unsigned"
    assert offer(board, files_of(make(other)), **trusting(mine)).detail == "unknown_key"
    assert offer(board, files_of(make(mine)), keys=[], allow_unsigned=False).detail.startswith("no_keys")
    files = files_of(make(mine))
    header = bytearray(files["image.hdr"])
    signature = make(mine, version="other").data[524:908]
    header[524:908] = signature
    header[1008:] = chunk_digest(bytes(header[:1008]))
    assert offer(board, {"image.hdr": bytes(header)}, **trusting(mine)).detail == "bad_signature"
    assert_untouched(board)
    told = offer(board, files_of(make(mine)), **trusting(other, mine))
    assert told.outcome == "updated"
    assert "unsigned" not in told.calls


def test_an_unsigned_image_is_taken_only_where_that_is_allowed_and_said(board: World) -> None:
    told = offer(board, files_of(make()), allow_unsigned=True)
    assert told.outcome == "updated"
    assert "unsigned" in told.calls


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_counter_rises_when_a_signed_image_is_confirmed(
    board: World, keys: Keys, is_signed: bool
) -> None:
    key = keys[0] if is_signed else None
    files = files_of(make(key, counter=5))
    config = trusting(keys[0], allow_unsigned=True)
    assert offer(board, files, **config).outcome == "updated"
    assert board.journal.Journal().number("counter") == 0
    board.power_on()
    assert offer(board, files, **config).outcome == "on_trial"
    assert board.journal.Journal().number("counter") == 0
    assert board.health.alive()
    assert board.journal.Journal().number("counter") == (5 if is_signed else 0)


def test_the_running_image_signed_anew_is_nothing_new(board: World, keys: Keys) -> None:
    assert offer(board, files_of(make(keys[0])), **trusting(keys[0])).outcome == "updated"
    board.power_on()
    offer(board, files_of(make(keys[0])), **trusting(keys[0]))
    assert board.health.alive()
    files = files_of(make(keys[1]))
    with MiniServer(files).running() as server:
        told = board.preboot(board.config(server.port, **trusting(keys[1])))
    assert told.outcome == "up_to_date"
    assert server.asked == ["image.hdr"]


def test_the_image_before_is_still_there_and_is_not_downloaded(board: World) -> None:
    """There and back again: the other slot is complete."""
    first, second = make(), make_container(version="3.0.0", seed=8)
    for container in (first, second):
        assert offer(board, files_of(container)).outcome == "updated"
        board.power_on()
        offer(board, files_of(container))
        assert board.health.alive()
    with MiniServer(files_of(first)).running() as server:
        told = board.preboot(board.config(server.port))
    assert told.outcome == "updated"
    assert server.asked == ["image.hdr"]
    assert "kept" in told.calls


# -- what the server hears --------------------------------------------------------------------


def test_the_same_refusal_is_told_once(board: World, reports: list[Any]) -> None:
    files = forged(board="OTHER")
    for _boot in range(3):
        offer(board, files, report_key=KEY)
    assert [was.state for was in reports] == [report.REFUSED]
    assert reports[0].reason.startswith("wrong_board")
    ops = board.power.ops
    offer(board, files, report_key=KEY)
    assert board.power.ops == ops
    offer(board, forged(target="romfs"), report_key=KEY)
    assert reports[-1].reason.startswith("wrong_target")
    assert [was.sequence for was in reports] == [1, 2]


def test_an_update_tells_installed_and_confirmed(board: World, reports: list[Any]) -> None:
    container = make(counter=3)
    offer(board, files_of(container), report_key=KEY, id="bench-7")
    board.power_on()
    offer(board, files_of(container), report_key=KEY, id="bench-7")
    assert board.health.alive()
    for _boot in range(2):
        board.power_on()
        offer(board, files_of(container), report_key=KEY, id="bench-7")
    assert [(was.state, was.version, was.counter, was.board) for was in reports] == [
        (report.INSTALLED, "2.0.0", 3, "SIM"),
        (report.CONFIRMED, "2.0.0", 3, "SIM"),
    ]


def test_a_failure_is_kept_and_told_at_the_next_boot(
    board: World, reports: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("flash is on fire")

    files = files_of(make())
    with monkeypatch.context() as broken:
        broken.setattr(board.updating.Update, "run", fail)
        assert offer(board, files, report_key=KEY).outcome == "failed"
    assert reports == []
    assert offer(board, files, report_key=KEY).outcome == "updated"
    told = [(was.state, was.reason) for was in reports]
    assert told == [(report.FAILED, "RuntimeError: flash is on fire"), (report.INSTALLED, "")]


def test_what_is_not_delivered_is_sent_again_and_given_up_in_the_end(board: World) -> None:
    sent: list[bytes] = []

    def deaf(_server: Any, _ip: str, _clock: Any, _name: str, data: bytes, _limit_ms: int) -> bool:
        sent.append(data)
        return False

    board.modules["gapcast_boot.reporting"].send = deaf  # type: ignore[attr-defined]
    for _boot in range(9):
        offer(board, forged(board="OTHER"), report_key=KEY)
    assert 1 < len(sent) <= board.modules["gapcast_boot.news"].MAX_DELIVERIES + 1
    assert len(set(sent)) == 1


def test_nothing_is_told_or_kept_without_a_report_key(board: World, reports: list[Any]) -> None:
    offer(board, forged(board="OTHER"))
    assert reports == []
    assert not Path(board.folder, "nvs.json").exists()


@pytest.mark.parametrize("key", ["zz", "00", 7, "7e" * 31])
def test_a_bad_report_key_does_not_keep_a_board_from_its_update(
    board: World, reports: list[Any], key: Any
) -> None:
    assert offer(board, files_of(make()), report_key=key).outcome == "updated"
    assert reports == []


@pytest.mark.parametrize("bad", [["x"], "text", [7], ["QUJD"]])
def test_bad_keys_trust_nobody(board: World, bad: Any) -> None:
    told = offer(board, files_of(make()), keys=bad, allow_unsigned=False)
    assert told.outcome == "failed"
    assert_untouched(board)

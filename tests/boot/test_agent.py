"""What pre-boot decides, and that it always ends with an application (DESIGN.md section 1.4)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, SECTOR, MiniServer, World, files_of, make_container

from gapcast.image.sample import build_sample
from gapcast_core import wire
from gapcast_core.container import Header, chunk_digest

FACTORY = build_sample(8192, "1.0.0", CHIP)


@pytest.fixture
def board(world: World) -> World:
    """A board as the factory ships it, switched on."""
    world.program("ota_0", FACTORY)
    assert world.power_on() == 0
    return world


def is_untouched(board: World) -> bool:
    """The other slot is blank, otadata as the boot loader filled it in, the running slot the factory's."""
    other = Path(board.folder, "ota_1.bin")
    entries = [board.ota.read_entry(board.nor("otadata"), index) for index in (0, 1)]
    blank = not other.exists() or other.stat().st_size == 0
    return blank and entries == [(1, board.ota.VALID), None] and board.read("ota_0", len(FACTORY)) == FACTORY


def test_a_new_image_is_fetched_verified_and_made_the_one_to_boot(board: World) -> None:
    container = make_container()
    with MiniServer(files_of(container)).running() as server:
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.detail, told.reset) == ("updated", "2.0.0", True)
    assert "verified" in told.calls
    assert server.asked == ["image.hdr", f"gap/{container.content_id}"]
    stored = bytes(container.payload) + bytes(container.table)
    assert board.read("ota_1", len(stored)) == stored
    assert board.ota.active(board.nor("otadata")) == (1, 2, board.ota.NEW)
    assert board.power_on() == 1
    assert board.ota.active(board.nor("otadata"))[2] == board.ota.PENDING_VERIFY


def test_the_running_image_is_not_fetched_again(board: World) -> None:
    container = make_container()
    with MiniServer(files_of(container)).running() as server:
        assert board.preboot(board.config(server.port)).reset
        board.power_on()
        server.requests.clear()
        assert board.preboot(board.config(server.port)).outcome == "on_trial"
        assert server.asked == []
        assert board.health.alive()
        assert board.power_on() == 1
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.detail, told.reset) == ("up_to_date", "2.0.0", False)
    assert server.asked == ["image.hdr"]
    assert board.ota.active(board.nor("otadata"))[2] == board.ota.VALID


def test_nothing_to_do_costs_two_requests(board: World) -> None:
    with MiniServer({}).running() as server:
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.reset) == ("up_to_date", False)
    assert "no image" in told.detail
    assert server.asked == ["image.hdr", "image.gap"]
    assert is_untouched(board)


def test_an_image_for_another_board_is_refused_before_anything_is_erased(board: World) -> None:
    with MiniServer(files_of(make_container(board="ESP32_GENERIC"))).running() as server:
        told = board.preboot(board.config(server.port))
    assert told.outcome == "refused"
    assert "ESP32_GENERIC" in told.detail
    assert is_untouched(board)


def test_an_image_larger_than_the_slot_is_refused(board: World) -> None:
    board.nor("ota_1").size_bytes = 16384
    with MiniServer(files_of(make_container(20000))).running() as server:
        told = board.preboot(board.config(server.port))
    assert told.outcome == "refused"
    assert "16384" in told.detail
    assert is_untouched(board)


@pytest.mark.parametrize(
    ("at", "reason"),
    [(0, "bad_magic"), (4, "header_damaged"), (200, "header_damaged"), (1020, "header_damaged")],
)
def test_a_damaged_header_is_not_believed(board: World, at: int, reason: str) -> None:
    header = bytearray(make_container().data[:1024])
    header[at] ^= 1
    with MiniServer({"image.hdr": bytes(header)}).running() as server:
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.detail) == ("refused", reason)
    assert not told.reset
    assert is_untouched(board)


def test_a_file_too_short_for_a_header_is_refused(board: World) -> None:
    with MiniServer({"image.hdr": b"x" * 100}).running() as server:
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.detail) == ("refused", "bad_magic")
    assert is_untouched(board)


def test_a_silent_server_is_left_after_a_moment(board: World) -> None:
    server = MiniServer({})
    server.first = lambda _request: []
    with server.running():
        told = board.preboot(board.config(server.port, ask_ms=400))
    assert told.outcome == "failed"
    assert "no answer" in told.detail
    assert not told.reset
    assert is_untouched(board)


def test_a_refusal_other_than_not_found_is_a_failure(board: World) -> None:
    server = MiniServer({})
    server.first = lambda _request: [wire.pack_error(wire.ERR_ACCESS, "not for you")]
    with server.running():
        told = board.preboot(board.config(server.port))
    assert told.outcome == "failed"
    assert "not for you" in told.detail


def test_nonsense_for_an_answer_is_survived(board: World) -> None:
    answers = [b"\0", b"\0\6blksize\0", b"\xff" * 40, b"", wire.pack_ack(7), wire.pack_data(9, b"x")]
    server = MiniServer({})
    server.first = lambda _request: [answers[len(server.requests) % len(answers)]]
    with server.running():
        told = board.preboot(board.config(server.port, ask_ms=1500))
    assert told.outcome == "failed"
    assert is_untouched(board)


def test_a_server_that_knows_no_hdr_gives_the_head_of_the_container(board: World) -> None:
    container = make_container()
    server = MiniServer({"image.gap": bytes(container.data)})
    server.knows_ranges = False
    with server.running():
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.reset) == ("updated", True)
    assert set(server.asked) == {"image.hdr", "image.gap"}


def test_a_content_name_that_is_gone_falls_back_to_the_containers_name(board: World) -> None:
    container = make_container()
    files = files_of(container)
    del files[f"gap/{container.content_id}"]
    with MiniServer(files).running() as server:
        told = board.preboot(board.config(server.port))
    assert told.reset
    assert server.asked == ["image.hdr", f"gap/{container.content_id}", "image.gap"]


def damage_once(blocks: set[int]) -> Any:
    """The first time that one of these blocks of the image is sent, a bit of it is wrong."""
    left = set(blocks)

    def damage(name: str, block: int, payload: bytes) -> bytes:
        if name.endswith(".hdr") or block not in left:
            return payload
        left.discard(block)
        return bytes([payload[0] ^ 0x10]) + payload[1:]

    return damage


@pytest.mark.parametrize("blocks", [{2}, {5, 6, 13}, {22}])
def test_a_chunk_that_came_damaged_is_fetched_again(board: World, blocks: set[int]) -> None:
    """Block 22 is the digest table: with it no chunk can be judged."""
    container = make_container()
    assert len(container.data) == 22 * 1024
    server = MiniServer(files_of(container), damage_once(blocks))
    with server.running():
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.reset) == ("updated", True)
    assert len(told.bad) == 1
    assert len(server.requests) == 3  # the header, the image, and once more what was bad
    stored = bytes(container.payload) + bytes(container.table)
    assert board.read("ota_1", len(stored)) == stored


def test_a_chunk_that_stays_damaged_is_given_up_after_bounded_rounds(board: World) -> None:
    def damage(name: str, block: int, payload: bytes) -> bytes:
        return payload if name.endswith(".hdr") or block != 7 else b"\0" * len(payload)

    server = MiniServer(files_of(make_container()), damage)
    with server.running():
        told = board.preboot(board.config(server.port))
    assert told.outcome == "failed"
    assert "damaged" in told.detail
    assert told.bad == [1] * board.updating.VERIFY_ROUNDS
    assert not told.reset
    assert board.power_on() == 0


def test_who_spoils_the_stream_spoils_nothing_in_the_end(board: World) -> None:
    """However much is bad after some streams, the rest comes by unicast: forging there needs the TID."""
    server = MiniServer(files_of(make_container()))

    def damage(name: str, block: int, payload: bytes) -> bytes:
        in_stream = server.requests[-1][1] == "" and not name.endswith(".hdr")
        return b"\0" * len(payload) if in_stream and 1 < block < 22 else payload  # 22: the digest table

    server.damage = damage
    with server.running():
        told = board.preboot(board.config(server.port))
    assert (told.outcome, told.reset) == ("updated", True)
    images = [ranges for name, ranges in server.requests if not name.endswith(".hdr")]
    streams = 1 + board.updating.STREAM_ROUNDS
    assert images == [""] * streams + [None]
    assert len(told.bad) == streams


def sealed(image: bytes, **named: Any) -> bytes:
    """A container around any bytes."""
    payload = image + b"\xff" * (-len(image) % SECTOR)
    chunks = [payload[at : at + SECTOR] for at in range(0, len(payload), SECTOR)]
    table = b"".join(chunk_digest(chunk) for chunk in chunks)
    table += b"\xff" * (-len(table) % 1024)
    digests = hashlib.sha256(table).digest(), named.pop("image_digest", hashlib.sha256(image).digest())
    named.setdefault("image_head", image[:288])
    return Header("image", "9", "SIM", len(image), *digests, **named).pack() + payload + table


def test_an_image_that_the_boot_loader_would_refuse_never_boots(board: World) -> None:
    """Right to the last digest, but set_boot says no: the old one starts; and there is an end to trying."""
    image = bytearray(build_sample(8192, "9", CHIP))
    image[5000] ^= 1
    data = sealed(bytes(image))
    with MiniServer({"image.hdr": data[:1024], "image.gap": data}).running() as server:
        for attempt in range(board.trial.MAX_TRIES):
            told = board.preboot(board.config(server.port))
            assert told.outcome == "failed"
            assert "5379" in told.detail
            assert ("kept" in told.calls) == (attempt > 0)
            assert board.power_on() == 0
        told = board.preboot(board.config(server.port))
    assert told.outcome == "refused"
    assert told.detail.startswith("rolled_back_before")


@pytest.mark.parametrize(
    "named", [{"image_digest": bytes(32)}, {"image_head": build_sample(8192, "8", CHIP)[:288]}]
)
def test_a_header_that_lies_about_the_image_is_found_before_it_boots(
    board: World, named: dict[str, bytes]
) -> None:
    data = sealed(build_sample(8192, "9", CHIP), **named)
    with MiniServer({"image.hdr": data[:1024], "image.gap": data}).running() as server:
        told = board.preboot(board.config(server.port))
    assert told.outcome == "refused"
    assert told.detail.startswith("bad_image")
    assert board.power_on() == 0


def test_a_network_that_stays_down_is_left(board: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board.net.network.WLAN, "isconnected", lambda _self: False)
    told = board.preboot(board.config(1, network_timeout_ms=120))
    assert told.outcome == "failed"
    assert "120 ms" in told.detail


def test_power_saving_is_switched_off(board: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(board.net.network.WLAN, "config", lambda _self, *_asked, **named: seen.update(named))
    link = board.net.Link()
    link.up(board.config(1), board.port.Clock())
    assert seen == {"pm": board.net.network.WLAN.PM_NONE, "reconnects": board.net.RECONNECTS}
    link.release()
    assert seen == {"pm": board.net.network.WLAN.PM_PERFORMANCE, "reconnects": -1}


def test_settings_come_over_the_defaults(board: World, tmp_path: Path) -> None:
    path = tmp_path / "gapcast.json"
    path.write_text('{"server": "192.0.2.1", "image": "lab"}')
    config = board.agent.load_config(str(path))
    assert (config["server"], config["image"], config["port"]) == ("192.0.2.1", "lab", 69)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[1, 2]", "7", '{"server": 5}', "{}", '{"server": "127.0.0.1"}']
)
def test_a_bad_configuration_never_keeps_the_application_from_starting(
    board: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """agent.run never raises: an exception in boot.py would be the end of the board."""
    if text is not None:
        (tmp_path / "gapcast.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    told = board.preboot({})
    assert told.outcome == "failed"
    assert told.detail


@pytest.mark.parametrize(
    "error", [MemoryError(), TypeError("x"), KeyError("x"), RuntimeError("x"), IndexError("x")]
)
def test_no_exception_keeps_the_application_from_starting(
    board: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A fragmented heap, or a bug of ours."""

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(board.net.Link, "up", fail)
    told = board.preboot(board.config(1))
    assert told.outcome == "failed"


def test_no_second_update_while_one_is_not_confirmed(board: World) -> None:
    """Facts, section 9.13: it would destroy the fallback."""
    first, second = make_container(), make_container(version="3.0.0", seed=7)
    with MiniServer(files_of(first)).running() as server:
        assert board.preboot(board.config(server.port)).reset
    assert board.power_on() == 1
    with MiniServer(files_of(second)).running() as server:
        told = board.preboot(board.config(server.port))
    assert told.outcome == "on_trial"
    assert server.asked == []
    assert board.read("ota_0", len(FACTORY)) == FACTORY
    assert board.power_on() == 0

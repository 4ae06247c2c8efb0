"""An application that watches for images: what makes it reset, and what does not."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, make_container
from watch_bench import Watching, becomes

from gapcast.image.build import build_container
from gapcast.image.keys import board_key_text, make_key
from gapcast.image.sample import build_sample


def test_a_new_image_makes_the_board_come_in_and_pre_boot_takes_it(watching: Watching) -> None:
    watching.publish(make_container())
    assert watching.run()
    told = watching.boot()
    assert (told.outcome, told.detail, told.reset) == ("updated", "2.0.0", True)
    assert watching.world.power_on() == 1


def test_without_a_new_image_it_asks_and_asks(watching: Watching) -> None:
    assert not watching.run(until=lambda: watching.counts("questions") >= 3)
    assert set(watching.server.asked) == {
        f"{watching.image}.hdr",
        f"{watching.image}.gap",
    }  # as pre-boot does
    assert watching.counts("offers") == 0


def test_the_application_says_when(watching: Watching) -> None:
    watching.publish(make_container(version="2.7.1"))
    offers: list[Any] = []

    def allow(offer: Any) -> bool:
        offers.append(offer)
        return len(offers) == 4

    assert watching.run(allow)
    assert [offer.version for offer in offers] == ["2.7.1"] * 4
    assert len(offers[0].id) == 32
    assert watching.counts("offers") == 1


def test_a_coroutine_function_may_take_its_time(watching: Watching) -> None:
    watching.publish(make_container())
    calls = 0

    async def allow(_offer: Any) -> bool:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return calls == 2

    assert watching.run(allow)
    assert calls == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_exception_of_allow_ends_nothing(
    watching: Watching, asynchronous: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    watching.publish(make_container())
    calls = 0

    def fail(_offer: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise RuntimeError("not now")
        return True

    async def fail_later(offer: Any) -> bool:
        return fail(offer)

    assert watching.run(fail_later if asynchronous else fail)
    assert watching.counts("errors") == 4
    assert capsys.readouterr().out == "gapcast: watch: RuntimeError: not now\n"


def test_it_neither_confirms_nor_reports(watching: Watching) -> None:
    watching.publish(make_container())
    assert watching.run()
    assert watching.world.ota.active(watching.world.nor("otadata"))[1] == 1
    journal = watching.world.journal.Journal()
    assert [journal.get(key) for key in ("news", "trial", "counter", "error")] == [b""] * 4
    assert all(name.endswith((".hdr", ".gap")) for name in watching.server.asked)


# ---- what is not believed ----


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        ({"board": "OTHER"}, {}),
        ({}, {"allow_unsigned": False}),
        ({}, {"allow_unsigned": False, "keys": ["own"]}),
        ({"key": "other"}, {"allow_unsigned": False, "keys": ["own"]}),
        ({"size": 0x40000}, {}),  # larger than the slot
        ({"counter": 4}, {"journal": 5}),
    ],
)
def test_a_header_that_pre_boot_would_refuse_is_no_offer(
    watching: Watching, tmp_path: Path, make: dict[str, Any], settings: dict[str, Any]
) -> None:
    keys = {name: make_key(tmp_path / f"{name}.pem") for name in ("own", "other")}
    own = board_key_text(keys["own"].public_key())
    settings = {**settings, **({"keys": [own]} if "keys" in settings else {})}
    if "journal" in settings:
        watching.world.journal.Journal().put_number("counter", settings.pop("journal"))
    data = build_sample(make.get("size", 20000), "2.0.0", CHIP)
    key = keys.get(make.get("key", ""))
    container = build_container(
        data, "image", make.get("board", "SIM"), CHIP, key=key, counter=make.get("counter", 0)
    )
    assert watching.verdict(container, **settings) is None
    assert watching.counts("refused") == 1
    told = watching.boot()
    assert (told.outcome, told.reset) == ("refused", False)  # and so does pre-boot


def test_a_signed_header_is_an_offer(watching: Watching, tmp_path: Path) -> None:
    key = make_key(tmp_path / "own.pem")
    own = board_key_text(key.public_key())
    container = build_container(build_sample(20000, "2.0.0", CHIP), "image", "SIM", CHIP, key=key)
    offer = watching.verdict(container, allow_unsigned=False, keys=[own])
    assert (offer.version, offer.signed, offer.id) == ("2.0.0", True, container.content_id)


def test_what_runs_already_is_no_offer(watching: Watching) -> None:
    container = make_container()
    watching.publish(container)
    assert watching.boot().reset
    watching.world.power_on()
    watching.boot()
    assert watching.world.health.alive()
    assert watching.verdict(container) is None
    assert watching.counts("refused") == 0


def test_what_was_rolled_back_is_no_offer(watching: Watching) -> None:
    container = make_container()
    header = bytes(container.data[:1024])
    table = header[32:48]
    watching.world.journal.Journal().add_failed(table, bytes.fromhex(container.content_id))
    assert watching.verdict(container) is None
    assert watching.counts("refused") == 1


def test_a_damaged_header_is_asked_for_again(watching: Watching) -> None:
    container = make_container()
    damaged = bytearray(container.data[:1024])
    damaged[200] ^= 1
    watching.server.files[f"{watching.image}.hdr"] = bytes(damaged)

    async def mend(_watch: Any) -> None:
        await becomes(lambda: watching.counts("errors") >= 2)
        watching.publish(container)

    assert watching.run(beside=mend)


def test_a_verdict_that_failed_is_made_again(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVS or flash that cannot be read for a moment must not hide an image for good."""
    container = make_container()
    watching.publish(container)
    for name in ("_judged", "_accept"):
        failing = [OSError(errno.EIO, "not now")] * 2
        method = getattr(watching.module.Watch, name)

        def fail(*arguments: Any, failing: Any = failing, method: Any = method) -> Any:
            if failing:
                raise failing.pop()
            return method(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(watching.module.Watch, name, fail)
            assert watching.run()
        watching.world.journal.Journal().drop("watch")
    assert watching.counts("errors") == 4


# ---- on trial ----


def test_nothing_is_asked_while_the_firmware_is_on_trial(watching: Watching) -> None:
    watching.publish(make_container())
    assert watching.boot().reset
    watching.world.power_on()
    assert watching.boot().outcome == "on_trial"
    watching.server.requests.clear()
    watching.publish(make_container(version="3.0.0", seed=3))

    async def confirm(_watch: Any) -> None:
        for _poll in range(100):
            await asyncio.sleep(0.002)
        assert watching.server.asked == []
        assert watching.world.health.alive()

    assert watching.run(beside=confirm)
    assert watching.server.asked != []


# ---- a reset that does not help ----


def test_a_reset_that_brought_nothing_is_not_repeated_soon(watching: Watching) -> None:
    """A download that fails each time must not keep the application from its work."""
    watching.publish(make_container())
    assert watching.run()
    watches: list[Any] = []

    async def look(watch: Any) -> None:
        watches.append(watch)

    offers = watching.counts("offers")
    assert not watching.run(until=lambda: watching.counts("offers") > offers, beside=look)
    assert watches[0]._come_ms == 600_000
    watching.publish(make_container(version="2.0.1", seed=4))
    assert watching.run()  # another image is another matter


def test_however_many_images_are_offered_resets_become_rare(watching: Watching) -> None:
    """Somebody answers with headers that he recorded, one after the other."""
    resets = watching.world.modules["gapcast_boot.watching_resets"]
    journal = watching.world.journal.Journal()
    waits = []
    for number in range(20):
        content = bytes([number % 3 + 1]) * 16
        waits.append(resets.wait_ms(journal, content))
        resets.note(journal, content)
    minutes = [wait_ms // 60_000 for wait_ms in waits]
    assert minutes == [0, 0, 0, 0, 80, 160, 320, 640, 1280] + [1440] * 11  # a day
    assert resets.wait_ms(journal, bytes([2]) * 16) == 86_400_000
    # Other firmware starts anew.
    watching.publish(make_container())
    assert watching.boot().reset
    watching.world.power_on()
    assert resets.wait_ms(journal, bytes([2]) * 16) == 0


def test_a_board_that_cannot_remember_does_not_reset(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = watching.world.journal.Journal.put

    def full(journal: Any, key: str, value: bytes) -> None:
        if key == "watch":
            raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")
        put(journal, key, value)

    monkeypatch.setattr(watching.world.journal.Journal, "put", full)
    watching.publish(make_container())
    assert not watching.run(until=lambda: watching.counts("errors") >= 3)

"""An application that watches for images: networks, servers and datagrams as they should not be."""

from __future__ import annotations

import errno
import time
from typing import Any

import pytest
from boot_world import make_container
from watch_bench import HOUR_MS, Watching, announce, becomes, sender

from gapcast_core import wire
from gapcast_core.announcement import pack_announcement

# ---- the network and the server ----


def test_a_network_that_comes_and_goes_is_joined_anew(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = True
    joined: list[Any] = []
    open_public = watching.world.port.open_public

    def note(*arguments: Any) -> Any:
        joined.append(open_public(*arguments))
        return joined[-1]

    monkeypatch.setattr(watching.world.port, "open_public", note)
    monkeypatch.setattr(type(watching.world.health.interface()), "isconnected", lambda _nic: up)

    async def flap(watch: Any) -> None:
        nonlocal up
        for turn in range(1, 4):
            await becomes(lambda: watch.hearing.group is not None)
            assert len(joined) == turn
            up = False
            await becomes(lambda: watch.hearing.group is None)
            watching.server.requests.clear()
            up = True
        watching.publish(make_container())

    assert watching.run(beside=flap)
    assert all(sock._sock.fileno() == -1 for sock in joined)  # closed


def test_a_group_that_cannot_be_joined_leaves_the_questions(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: Any) -> None:
        raise OSError(errno.ENODEV, "no such device")

    monkeypatch.setattr(watching.world.port, "open_public", fail)
    watching.publish(make_container())
    assert watching.run()
    assert capsys.readouterr().out.count("\n") == 1


def test_a_server_that_is_gone_ends_nothing(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gapcast_boot.watching_question.ANSWER_MS", 20)
    watching.server.first = lambda _request: []

    async def come_back(_watch: Any) -> None:
        await becomes(lambda: watching.counts("errors") >= 3)
        watching.publish(make_container())
        watching.server.first = lambda _request: None

    assert watching.run(beside=come_back)
    assert capsys.readouterr().out == "gapcast: watch: the server does not answer\n"


def test_it_does_not_reset_for_an_answer_of_old(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server went while the application was busy: there would be nothing to fetch."""
    monkeypatch.setattr("gapcast_boot.watching_question.ANSWER_MS", 20)
    monkeypatch.setattr(watching.module, "FRESH_MS", -1)
    watching.publish(make_container())
    allowed = 0

    def allow(_offer: Any) -> bool:
        nonlocal allowed
        allowed += 1
        watching.server.first = lambda _request: []
        return True

    assert not watching.run(allow, until=lambda: watching.counts("errors") >= 2)
    assert allowed
    watching.server.first = lambda _request: None
    assert watching.run(lambda _offer: True)


def test_an_offer_that_is_withdrawn_is_none(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching.module, "FRESH_MS", -1)
    watching.publish(make_container())

    def allow(_offer: Any) -> bool:
        watching.server.files.clear()
        return True

    assert not watching.run(allow, until=lambda: watching.counts("questions") >= 4)
    assert watching.counts("offers") == 1


def test_another_image_is_another_question_to_the_application(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching.module, "FRESH_MS", -1)
    watching.publish(make_container(version="2.0.0"))
    asked: list[str] = []

    def allow(offer: Any) -> bool:
        asked.append(offer.version)
        if len(asked) == 1:
            watching.publish(make_container(version="3.0.0", seed=9))
        return True

    assert watching.run(allow)
    assert asked == ["2.0.0", "3.0.0"]


# ---- announcements ----


def test_what_is_announced_is_asked_for_at_once(watching: Watching) -> None:
    container = make_container()

    async def publish(watch: Any) -> None:
        await becomes(lambda: watch.hearing.group is not None)
        assert watching.server.asked == []
        watching.publish(container)
        with sender() as sock:
            announce(sock, pack_announcement(watching.image, container.content_id, 0))

    assert watching.run(every_ms=HOUR_MS * 24, beside=publish)
    assert watching.counts("announcements") >= 1


def test_an_empty_datagram_costs_the_socket_and_no_more(watching: Watching) -> None:
    container = make_container()

    async def publish(watch: Any) -> None:
        await becomes(lambda: watch.hearing.group is not None)
        first = watch.hearing.group
        with sender() as sock:
            announce(sock, b"")
            await becomes(lambda: watch.hearing.group not in (first, None))
            watching.publish(container)
            announce(sock, pack_announcement(watching.image, container.content_id, 0))

    assert watching.run(every_ms=HOUR_MS * 24, beside=publish)


def test_nothing_is_ever_waited_for_but_in_asyncio(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No socket that waits, and no sleep: the application's event loop goes on."""

    def forbidden(*_arguments: Any) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(time, "sleep_ms", forbidden)
    monkeypatch.setattr(watching.world.port, "sleep_ms", forbidden)
    sockets: list[Any] = []
    host = watching.world.modules["gapcast_boot.port"].socket
    ready = host.socket._ready
    monkeypatch.setattr(host.socket, "_ready", lambda sock: sockets.append(sock) or ready(sock))
    watching.publish(make_container())
    assert watching.run()
    assert sockets
    assert all(sock._timeout_ms == 0 for sock in sockets)


# ---- the exchange ----


@pytest.mark.parametrize("kind", ["plain", "stock", "gap only"])
def test_servers_of_all_kinds_are_asked(watching: Watching, kind: str) -> None:
    container = make_container()
    watching.server.plain = kind == "plain"  # knows no options at all: blocks of 512
    watching.server.knows_ranges = False
    watching.publish(container)
    if kind == "gap only":
        del watching.server.files[f"{watching.image}.hdr"]
    assert watching.run()


def test_nonsense_for_an_answer_is_survived(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gapcast_boot.watching_question.ANSWER_MS", 20)
    answers = [b"\0", b"\0\6blksize\0", b"\xff" * 40, b"", wire.pack_ack(7), wire.pack_data(9, b"x")]
    answers += [wire.pack_data(1, b"short"), wire.pack_oack([("blksize", "8"), ("tsize", "1024")])]
    answers += [wire.pack_error(wire.ERR_ACCESS, "not for you")]
    left = list(answers)

    def first(_request: bytes) -> list[bytes] | None:
        return [left.pop(0)] if left else None

    monkeypatch.setattr("gapcast_boot.watching_question.LIMIT_MS", 300)
    watching.server.first = first
    watching.publish(make_container())
    assert watching.run()
    assert not left

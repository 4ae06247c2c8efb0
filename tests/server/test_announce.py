"""When images are announced (PROTOCOL.md section 13), in virtual time."""

from __future__ import annotations

import itertools
from typing import Any

from gapcast.protocol import announcer as announcing
from gapcast.protocol.announcer import Announcer, Found
from gapcast.protocol.events import Announced
from gapcast_core.announcement import MAX_BYTES, parse_announcement

LOOK_S = 1.0
A, B = "aa" * 16, "bb" * 16


class Run:
    """A store that is looked at each second, and what is sent: (time, name, content id, wait in s)."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.announcer = Announcer(self.now)
        self.store: dict[str, Found] = {}
        self.sent: list[tuple[float, str, str, float]] = []
        self.events: list[Announced] = []
        self.look()

    def look(self) -> None:
        self.announcer.look(self.store, self.now)
        self._take()

    def put(self, name: str, content_id: str, version: int = 1) -> None:
        self.store = {**self.store, name: Found((name, version), content_id)}

    def run(self, seconds: float) -> Run:
        end = self.now + seconds
        next_look = self.now
        while True:
            deadline = self.announcer.deadline()
            self.now = min(next_look, deadline if deadline is not None else next_look)
            if self.now > end:
                self.now = end
                return self
            if deadline is not None and deadline <= self.now:
                self.announcer.on_time(self.now)
                self._take()
            if self.now == next_look:
                self.look()
                next_look += LOOK_S

    def _take(self) -> None:
        for effect in self.announcer.take():
            if isinstance(effect, Announced):
                self.events.append(effect)
            else:
                assert len(effect) <= MAX_BYTES
                name, content_id, wait_ms = parse_announcement(effect)
                self.sent.append((self.now, name, content_id, wait_ms / 1000))


def test_without_images_nothing_is_sent_and_nothing_is_waited_for() -> None:
    run = Run().run(600)
    assert run.sent == []
    assert run.announcer.deadline() is None


def test_a_new_image_is_announced_when_it_has_settled_and_all_say_the_same_moment() -> None:
    run = Run()
    run.run(10)
    put_at = run.now
    run.put("lab", A)
    run.run(15)
    assert [event.content_id for event in run.events] == [A]
    assert len(run.sent) == len(announcing.BURST_AT_S)
    first = run.sent[0][0]
    assert announcing.SETTLE_S <= first - put_at <= announcing.SETTLE_S + 2 * LOOK_S
    assert {round(when + wait, 2) for when, _name, _id, wait in run.sent} == {first + announcing.MEET_S}
    assert [round(when - first, 3) for when, *_rest in run.sent] == list(announcing.BURST_AT_S)


def test_then_it_is_repeated_once_a_minute_and_nobody_waits_any_more() -> None:
    run = Run()
    run.put("lab", A)  # after the first look
    run.run(630)
    later = run.sent[len(announcing.BURST_AT_S) :]
    assert 9 <= len(later) <= 11
    assert {wait for *_rest, wait in later} == {0.0}
    assert min(b[0] - a[0] for a, b in itertools.pairwise(later)) >= announcing.AGAIN_S
    assert len(run.events) == 1


def test_what_is_there_at_the_start_is_not_new() -> None:
    run = Run.__new__(Run)
    run.now, run.sent, run.events = 50.0, [], []
    run.announcer = Announcer(run.now)
    run.store = {"lab": Found(1, A)}
    run.run(59)
    assert run.sent == []
    run.run(30)
    assert [(name, wait) for _when, name, _id, wait in run.sent] == [("lab", 0.0)]
    assert run.events == []
    run.put("lab", B)
    run.run(10)
    assert run.events == [Announced("lab", B)]


def test_a_file_that_changes_is_waited_for() -> None:
    run = Run()
    for version in range(20):  # it grows for 20 s, or is written in place
        run.put("lab", A if version < 10 else B, version)
        run.run(1)
        assert run.sent == []
    run.run(10)
    assert {content_id for _when, _name, content_id, _wait in run.sent} == {B}


def test_the_same_bytes_written_anew_are_no_news() -> None:
    run = Run()
    run.put("lab", A)
    run.run(30)
    before = len(run.events)
    run.put("lab", A, version=2)
    run.run(20)
    assert len(run.events) == before


def test_an_image_that_is_replaced_or_removed_is_not_announced_any_more() -> None:
    run = Run()
    run.put("lab", A)
    run.run(4)
    assert len(run.sent) >= 1
    run.put("lab", B)
    sent = len(run.sent)
    run.run(20)
    assert all(content_id == B for _when, _name, content_id, _wait in run.sent[sent:])
    run.store = {}
    run.look()
    sent = len(run.sent)
    run.run(300)
    assert len(run.sent) == sent
    assert run.announcer.deadline() is None
    run.put("lab", B)  # and is new again when it comes back
    run.run(10)
    assert len(run.events) == 3


def test_the_rate_is_bounded_however_many_images_there_are() -> None:
    """At most 20 a second: 11 kB/s on the air, with the longest names."""
    run = Run()
    run.store = {f"i{number}": Found(number, f"{number:032x}") for number in range(2000)}
    run.run(120)
    times = [when for when, *_rest in run.sent]
    assert len(times) > 1000
    assert max(sum(start <= when < start + 0.99 for when in times) for start in times[::20]) <= 20
    assert len({name for _when, name, *_rest in run.sent}) <= announcing.MAX_IMAGES


def test_a_name_that_is_too_long_for_a_datagram_is_left_out() -> None:
    run = Run()
    run.put("n" * 500, A)
    run.put("short", B)
    run.run(30)
    assert {name for _when, name, *_rest in run.sent} == {"short"}
    assert run.announcer.deadline() is not None


def test_a_store_in_turmoil_costs_no_memory() -> None:
    run = Run()
    for version in range(5000):
        run.put("lab", f"{version:032x}", version)
        run.run(3 if version % 50 == 0 else 0)
    held: list[Any] = run.announcer._due
    assert len(held) < 500

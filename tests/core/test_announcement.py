"""Announcements (PROTOCOL.md section 13) against a datagram laid out by hand, and forged ones."""

import binascii
import json

from core_helpers import Dice, misused, refused, survives

from gapcast_core import announcement, wire

HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
with open(HERE + "/../vectors/announcement.json") as file:
    VECTOR = json.load(file)
GOLDEN = binascii.unhexlify(VECTOR["datagram"].replace(" ", ""))


def test_the_golden_datagram():
    assert announcement.pack_announcement(VECTOR["name"], VECTOR["gap"], VECTOR["wait_ms"]) == GOLDEN
    assert (VECTOR["group"], VECTOR["port"]) == (announcement.GROUP, announcement.PORT)


def test_what_was_packed_is_parsed():
    assert announcement.parse_announcement(GOLDEN) == (VECTOR["name"], VECTOR["gap"], VECTOR["wait_ms"])
    assert announcement.parse_announcement(memoryview(GOLDEN)) == announcement.parse_announcement(GOLDEN)


def test_it_is_an_oack_like_any_other():
    assert wire.parse_oack(GOLDEN) == [("image", "lab/sensor"), ("gap", VECTOR["gap"]), ("wait", "10000")]


def test_options_of_later_versions_mean_nothing():
    data = wire.pack_oack(wire.parse_oack(GOLDEN) + [("colour", "blue")])
    assert announcement.parse_announcement(data) == announcement.parse_announcement(GOLDEN)


def test_anything_else_is_refused():
    gap = VECTOR["gap"]
    for pairs in (
        [],
        [("image", "a"), ("gap", gap)],
        [("image", "a"), ("wait", "0")],
        [("gap", gap), ("wait", "0")],
        [("image", ""), ("gap", gap), ("wait", "0")],
        [("image", "a"), ("gap", gap[1:]), ("wait", "0")],
        [("image", "a"), ("gap", gap + "0"), ("wait", "0")],
    ):
        refused("not_an_announcement", announcement.parse_announcement, wire.pack_oack(pairs))
    for wait in ("", "-1", "15001", "1e3", "99999999999"):
        data = wire.pack_oack([("image", "a"), ("gap", gap), ("wait", wait)])
        refused("bad_number", announcement.parse_announcement, data)
    refused("not_an_oack", announcement.parse_announcement, wire.pack_request(wire.OP_RRQ, "a", []))
    refused("short", announcement.parse_announcement, b"")
    refused("no_final_nul", announcement.parse_announcement, GOLDEN[:-1])


def test_misuse():
    misused(announcement.pack_announcement, "a", VECTOR["gap"], -1)
    misused(announcement.pack_announcement, "a", VECTOR["gap"], 15001)
    misused(announcement.pack_announcement, "a" * 500, VECTOR["gap"], 0)
    misused(announcement.pack_announcement, "a\0", VECTOR["gap"], 0)


def test_forged_bytes_are_refused_by_name():
    dice = Dice(5)
    for _round in range(2000):
        data = bytearray(GOLDEN)
        for _change in range(1 + dice.below(3)):
            data[dice.below(len(data))] = dice.below(256)
        survives(announcement.parse_announcement, bytes(data[: len(data) - dice.below(4)]))

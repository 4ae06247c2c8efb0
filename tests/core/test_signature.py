"""Signatures of headers: vectors by `cryptography` (tests/vectors/make_pss.py), and every bit flipped."""

import binascii
import hashlib
import json
import sys

from core_helpers import misused, refused, unhex

from gapcast_core.container import HEADER_BYTES, SIGNED_BYTES, chunk_digest, parse_header, signature_place
from gapcast_core.errors import PeerError
from gapcast_core.signature import MAX_KEYS, PublicKey, check_header, parse_keys, verify_pss

HERE = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
with open(HERE + "/../vectors/pss.json") as file:
    VECTORS = json.load(file)
MODULI = {name: unhex(text) for name, text in VECTORS["keys"].items()}
ONE, TWO = PublicKey(MODULI["one"]), PublicKey(MODULI["two"])
SIGNED = unhex(VECTORS["header"]["bytes"])  # by TWO
UNSIGNED = parse_header(SIGNED).pack()
CHECK_OFFSET = HEADER_BYTES - 16
KEY_ID_BITS = range(516 * 8, 524 * 8)
# A check costs one pow() of a millisecond: CPython flips every bit, MicroPython another one in each byte.
EVERY_BIT = sys.implementation.name == "cpython"


def fits(case):
    return verify_pss(PublicKey(MODULI[case["key"]]), unhex(case["digest"]), unhex(case["signature"]))


def bits(first, end):
    """The numbers of the bits of bytes first..end-1, all or one a byte."""
    if EVERY_BIT:
        return range(first * 8, end * 8)
    return [offset * 8 + offset * 5 % 8 for offset in range(first, end)]


def flipped(raw, bit):
    raw = bytearray(raw)
    raw[bit // 8] ^= 1 << bit % 8
    return bytes(raw)


def resealed(raw):
    """What an attacker does: make the check digest fit again."""
    return raw[:CHECK_OFFSET] + chunk_digest(raw[:CHECK_OFFSET])


def accepted(raw, keys, allow_unsigned=False):
    """A board's whole judgement of header bytes: (parsed header, key id or None)."""
    return parse_header(raw), check_header(raw, keys, allow_unsigned)


def outcome(function, *arguments):
    """The PeerError's reason, or the result."""
    try:
        return function(*arguments)
    except PeerError as error:
        return error.reason


def test_the_vectors():
    seen = {True: 0, False: 0}
    for case in VECTORS["cases"]:
        assert fits(case) == case["valid"], case["name"]
        seen[case["valid"]] += 1
    assert seen[True] == 29
    assert seen[False] == 40


def test_a_signature_fits_its_own_key_and_message_only():
    for case in VECTORS["cases"][:6]:
        digest, signature = unhex(case["digest"]), unhex(case["signature"])
        for name in ("one", "two", "three"):
            assert verify_pss(PublicKey(MODULI[name]), digest, signature) == (name == case["key"])
        assert not verify_pss(PublicKey(MODULI[case["key"]]), flipped(digest, 0), signature)
        assert not verify_pss(PublicKey(MODULI[case["key"]]), digest[:31], signature)


def test_a_signed_header():
    assert accepted(SIGNED, [TWO])[1] == TWO.key_id
    assert accepted(SIGNED, [ONE, TWO], True)[1] == TWO.key_id
    assert accepted(bytearray(SIGNED), [TWO])[1] == TWO.key_id
    assert check_header(memoryview(SIGNED), [TWO]) == TWO.key_id
    header = parse_header(SIGNED)
    assert (header.name, header.counter, header.image_bytes) == ("bench", 7, 5000)
    assert signature_place(SIGNED)[0] == TWO.key_id == hashlib.sha256(MODULI["two"]).digest()[:8]
    assert signature_place(UNSIGNED) is None


def test_who_may_be_taken():
    unknown = resealed(SIGNED[:516] + b"nobody??" + SIGNED[524:])
    ours_but_wrong = resealed(SIGNED[:516] + ONE.key_id + SIGNED[524:])
    damaged = resealed(flipped(SIGNED, 700 * 8))
    for raw, keys, strict, lenient in (
        (SIGNED, [TWO], TWO.key_id, TWO.key_id),
        (SIGNED, [ONE, TWO], TWO.key_id, TWO.key_id),
        (SIGNED, [ONE], "unknown_key", None),
        (SIGNED, [], "unknown_key", None),
        (unknown, [ONE, TWO], "unknown_key", None),
        (UNSIGNED, [ONE, TWO], "unsigned", None),
        (UNSIGNED, [], "unsigned", None),
        (ours_but_wrong, [ONE, TWO], "bad_signature", "bad_signature"),
        (damaged, [ONE, TWO], "bad_signature", "bad_signature"),
        (damaged, [ONE], "unknown_key", None),
    ):
        assert outcome(check_header, raw, keys, False) == strict
        assert outcome(check_header, raw, keys, True) == lenient
        assert outcome(check_header, raw, keys) == strict


def test_a_key_of_another_size_under_a_known_id():
    # Two keys with one id: either may have signed.
    twin = PublicKey(MODULI["one"])
    twin.key_id = TWO.key_id
    assert check_header(SIGNED, [twin, TWO]) == TWO.key_id
    refused("bad_signature", check_header, SIGNED, [twin])


def test_one_form_of_the_signature_place():
    for offset, new in (
        (512, b"\0\0"),  # algorithm 0 with something behind it
        (512, b"\0\2"),
        (512, b"\1\1"),
        (514, b"\0\0"),
        (514, b"\1\x87"),
        (514, b"\1\x89"),
        (514, b"\xff\xff"),
        (908, b"\1"),
        (1007, b"\x80"),
    ):
        raw = resealed(SIGNED[:offset] + new + SIGNED[offset + len(new) :])
        refused("bad_signature_place", parse_header, raw)
        for allowed in (False, True):
            refused("bad_signature_place", check_header, raw, [TWO], allowed)
    for offset in (512, 513, 515, 516, 524, 907, 908, 1007):
        raw = resealed(UNSIGNED[:offset] + b"\4" + UNSIGNED[offset + 1 :])
        refused("bad_signature_place", parse_header, raw)
        refused("bad_signature_place", check_header, raw, [TWO], True)
    for size in (0, 511, 512, 600, 907, 1007):
        refused("bad_signature_place", check_header, SIGNED[:size], [TWO], True)


def test_every_flipped_bit_is_noticed_as_damage():
    for bit in range(8 * HEADER_BYTES):
        expected = "bad_magic" if bit < 32 else "header_damaged"
        assert outcome(parse_header, flipped(SIGNED, bit)) == expected, bit


def test_every_flipped_bit_under_a_fitting_check_digest_is_refused():
    tried = 0
    for bit in bits(0, CHECK_OFFSET):
        raw = resealed(flipped(SIGNED, bit))
        assert isinstance(outcome(accepted, raw, [ONE, TWO]), str), bit
        tried += 1
    assert tried == (8064 if EVERY_BIT else 1008)


def test_the_signature_alone_refuses_every_flipped_bit():
    # Without parse_header, and on a board that takes unsigned images: only an unknown key may pass there.
    for bit in bits(0, CHECK_OFFSET):
        reason = outcome(check_header, flipped(SIGNED, bit), [ONE, TWO], True)
        if bit in KEY_ID_BITS:
            assert reason is None, bit
        elif bit < 8 * SIGNED_BYTES or 8 * 524 <= bit < 8 * 908:
            assert reason == "bad_signature", bit
        else:
            assert reason == "bad_signature_place", bit


def test_moduli_that_are_none():
    good = MODULI["one"]
    for raw in (b"", good[:-1], good + b"\1", b"\0" + good, bytes(384), b"\x7f" + good[1:], MODULI["short"]):
        misused(PublicKey, raw)
    misused(PublicKey, good[:-1] + b"\2")
    assert PublicKey(bytearray(good)).modulus == ONE.modulus


def test_keys_as_they_stand_in_a_boards_configuration():
    texts = [binascii.b2a_base64(MODULI[name]).decode() for name in ("one", "two")]
    keys = parse_keys([texts[0], texts[1].strip()])
    assert [key.key_id for key in keys] == [ONE.key_id, TWO.key_id]
    assert parse_keys([]) == []
    for wrong in (None, "text", texts[0], 5, {}):
        misused(parse_keys, wrong)
    misused(parse_keys, texts * (MAX_KEYS // 2) + texts[:1])
    assert len(parse_keys(texts * (MAX_KEYS // 2))) == MAX_KEYS
    for wrong in (
        "",
        "?",
        None,
        5,
        texts[0][:-6],
        texts[0].replace("A", "-"),
        "AAAA" + texts[0],
        "-" + texts[0],  # a decoder skips what is no base64
        texts[0].strip() + "!",
        texts[0] + "A",
        [],
        b"\xff",
    ):
        misused(parse_keys, [texts[0], wrong])

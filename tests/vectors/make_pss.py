"""Makes pss.json, the vectors of tests/core/test_signature.py, with the package `cryptography`:

    python tests/vectors/make_pss.py        # overwrites tests/vectors/pss.json

The keys are made for this run and thrown away, so every run gives other vectors; only moduli are kept. What
cryptography signs by itself it signs; encodings that no library makes (a wrong trailer, a leading bit) are
laid out here after RFC 8017 section 9.1.1 and put through the private exponent.

    keys     moduli, hex; e = 65537 except for `e3`, and 3072 bits except for `short`
    cases    name, key, SHA-256 of the message, signature, and whether it is to be accepted (all hex)
    header   a whole signed container header, and the name of its key
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gapcast.image.keys import board_key
from gapcast_core.container import Header

FILE = Path(__file__).with_name("pss.json")
SHA256 = hashes.SHA256()
EM_BYTES, HASH_BYTES, SALT_BYTES = 384, 32, 32
LONGEST_SALT = EM_BYTES - HASH_BYTES - 2
Case = dict[str, Any]


def signed(
    key: rsa.RSAPrivateKey,
    message: bytes,
    salt_bytes: int = SALT_BYTES,
    digest: hashes.HashAlgorithm = SHA256,
    mask: hashes.HashAlgorithm = SHA256,
) -> bytes:
    return key.sign(message, padding.PSS(padding.MGF1(mask), salt_bytes), digest)


def encoded(message: bytes, **changes: Any) -> bytes:
    """EMSA-PSS-ENCODE (RFC 8017 section 9.1.1) with something wrong in it."""
    salt = os.urandom(SALT_BYTES)
    prefix = changes.get("prefix", bytes(8))
    inner = bytearray(hashlib.sha256(prefix + hashlib.sha256(message).digest() + salt).digest())
    for offset, bit in changes.get("inner", {}).items():
        inner[offset] ^= bit
    db = bytearray(EM_BYTES - HASH_BYTES - 1 - SALT_BYTES - 1) + b"\1" + salt
    for offset, value in changes.get("db", {}).items():
        db[offset] = value
    mask = b"".join(hashlib.sha256(bytes(inner) + bytes([0, 0, 0, number])).digest() for number in range(11))
    masked = bytearray(a ^ b for a, b in zip(db, mask, strict=False))
    masked[0] = masked[0] & 0x7F | changes.get("leading", 0)
    return bytes(masked) + bytes(inner) + bytes([changes.get("trailer", 0xBC)])


def raw_signature(key: rsa.RSAPrivateKey, message: bytes, **changes: Any) -> bytes:
    """Whatever `encoded` gives, signed; other salts until it is smaller than the modulus."""
    numbers = key.private_numbers()
    modulus = numbers.public_numbers.n
    while True:
        number = int.from_bytes(encoded(message, **changes), "big")
        if number < modulus:
            return pow(number, numbers.d, modulus).to_bytes(EM_BYTES, "big")


def with_a_second_form(key: rsa.RSAPrivateKey, message: bytes) -> int:
    """A good signature s with s + n < 2**3072, so that 384 bytes hold s + n too."""
    modulus = key.public_key().public_numbers().n
    while True:
        number = int.from_bytes(signed(key, message), "big")
        if number + modulus < 1 << (8 * EM_BYTES):
            return number


def fixed(number: int) -> bytes:
    return number.to_bytes(EM_BYTES, "big")


def wrong_signatures(keys: dict[str, rsa.RSAPrivateKey], message: bytes) -> dict[str, bytes]:
    one = keys["one"]
    modulus = one.public_key().public_numbers().n
    good = with_a_second_form(one, message)
    return {
        "salt of 0 bytes": signed(one, message, 0),
        "salt of 20 bytes": signed(one, message, 20),
        "salt of 31 bytes": signed(one, message, 31),
        "salt of 33 bytes": signed(one, message, 33),
        "the longest salt": signed(one, message, LONGEST_SALT),
        "PKCS#1 v1.5": one.sign(message, padding.PKCS1v15(), SHA256),
        "SHA-512": signed(one, message, digest=hashes.SHA512(), mask=hashes.SHA512()),
        "SHA-384 and a salt of 32": signed(one, message, digest=hashes.SHA384()),
        "SHA3-256": signed(one, message, digest=hashes.SHA3_256(), mask=hashes.SHA3_256()),
        "MGF1 with SHA-1": signed(one, message, mask=hashes.SHA1()),
        "another message": signed(one, message + b"."),
        "another key": signed(keys["two"], message),
        "a key with e = 3": signed(keys["e3"], message),
        "a key of 2048 bits": signed(keys["short"], message).rjust(EM_BYTES, b"\0"),
        "truncated by a byte": signed(one, message)[:-1],
        "truncated to nothing": b"",
        "one byte more": signed(one, message) + b"\0",
        "a zero byte before": b"\0" + signed(one, message),
        "s + n": fixed(good + modulus),
        "n - s": fixed(modulus - good),
        "0": fixed(0),
        "1": fixed(1),
        "n - 1": fixed(modulus - 1),
        "n": fixed(modulus),
        "all bits set": b"\xff" * EM_BYTES,
        "trailer bd": raw_signature(one, message, trailer=0xBD),
        "trailer cc": raw_signature(one, message, trailer=0xCC),
        "trailer 3c": raw_signature(one, message, trailer=0x3C),
        "leading bit set": raw_signature(one, message, leading=0x80),
        "separator 0": raw_signature(one, message, db={318: 0}),
        "separator 2": raw_signature(one, message, db={318: 2}),
        "separator 3": raw_signature(one, message, db={318: 3}),
        "separator 81": raw_signature(one, message, db={318: 0x81}),
        "the first bit of H": raw_signature(one, message, inner={0: 0x80}),
        "the last bit of H": raw_signature(one, message, inner={31: 1}),
        "a bit in the first byte of the zeros": raw_signature(one, message, db={0: 0x40}),
        "a bit in the second byte of the zeros": raw_signature(one, message, db={1: 1}),
        "a bit in the last byte of the zeros": raw_signature(one, message, db={317: 0x80}),
        "M' begins with a one": raw_signature(one, message, prefix=bytes(7) + b"\1"),
    }


def case(name: str, key: str, message: bytes, signature: bytes, valid: bool) -> Case:
    digest = hashlib.sha256(message).hexdigest()
    return {"name": name, "key": key, "digest": digest, "signature": signature.hex(), "valid": valid}


def make_vectors() -> dict[str, Any]:
    keys = {name: rsa.generate_private_key(65537, 3072) for name in ("one", "two", "three")}
    keys["e3"] = rsa.generate_private_key(3, 3072)
    keys["short"] = rsa.generate_private_key(65537, 2048)
    cases = []
    for number, message in enumerate([b"", b"abc", *(os.urandom(512) for _ in range(7))]):
        for key in ("one", "two", "three"):
            cases.append(case(f"good {number}", key, message, signed(keys[key], message), True))
    message = os.urandom(512)
    # What raw_signature makes without a change must be right, or its other cases would prove nothing.
    cases.append(case("laid out by hand", "one", message, raw_signature(keys["one"], message), True))
    good = fixed(with_a_second_form(keys["one"], message))
    cases.append(case("s, of s + n", "one", message, good, True))
    for name, signature in wrong_signatures(keys, message).items():
        cases.append(case(name, "one", message, signature, False))
    cases.append(case("e = 3 under its own key", "e3", message, signed(keys["e3"], message), False))
    moduli = {name: f"{key.public_key().public_numbers().n:x}" for name, key in keys.items()}
    return {"keys": moduli, "cases": cases, "header": {"key": "two", "bytes": header(keys["two"]).hex()}}


def header(key: rsa.RSAPrivateKey) -> bytes:
    digests = bytes(range(32)), bytes(range(100, 132))
    plain = Header("bench", "1.2.0", "SIM", 5000, *digests, counter=7, image_head=bytes(range(256)) + b"head")
    return bytes(plain.pack(board_key(key.public_key()).key_id, signed(key, plain.signed_part())))


if __name__ == "__main__":
    FILE.write_text(json.dumps(make_vectors(), indent=1) + "\n")

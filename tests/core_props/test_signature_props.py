"""Our RSA-PSS and that of `cryptography` agree on everything: what it signs, and what was bent afterwards."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.image.keys import board_key, sign
from gapcast_core import container
from gapcast_core.errors import PeerError
from gapcast_core.signature import check_header, verify_pss

PRIVATE = [rsa.generate_private_key(65537, 3072) for _ in range(3)]
PUBLIC = [board_key(key.public_key()) for key in PRIVATE]
SHA256 = hashes.SHA256()
PSS = padding.PSS(padding.MGF1(SHA256), 32)
WHO = st.integers(0, 2)
NAMES = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1, max_size=32)
HEADERS = st.builds(
    container.Header,
    NAMES,
    NAMES,
    NAMES,
    st.integers(1, container.MAX_PAYLOAD_BYTES - container.CHUNK_BYTES),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.integers(0, container.MAX_COUNTER),
    st.just("app"),
    st.binary(max_size=288),
    st.integers(0, 1),
)


def ours(who: int, message: bytes, signature: bytes) -> bool:
    return bool(verify_pss(PUBLIC[who], hashlib.sha256(message).digest(), signature))


def theirs(who: int, message: bytes, signature: bytes) -> bool:
    try:
        PRIVATE[who].public_key().verify(signature, message, PSS, SHA256)
    except InvalidSignature:
        return False
    return True


@given(HEADERS, WHO)
@settings(deadline=None)
def test_a_signed_header_verifies(header: container.Header, who: int) -> None:
    raw = header.pack(PUBLIC[who].key_id, sign(PRIVATE[who], header.signed_part()))
    assert check_header(raw, PUBLIC) == PUBLIC[who].key_id
    assert vars(container.parse_header(raw)) == vars(header)
    others = [key for key in PUBLIC if key is not PUBLIC[who]]
    with pytest.raises(PeerError, match="unknown_key"):
        check_header(raw, others)
    assert check_header(raw, others, True) is None


@given(st.binary(max_size=600), WHO, WHO, st.integers(0, 350), st.sampled_from([SHA256, hashes.SHA1()]))
@settings(deadline=None)
def test_signatures_of_any_salt_and_mask(
    message: bytes, signer: int, who: int, salt_bytes: int, mask: hashes.HashAlgorithm
) -> None:
    scheme = padding.PSS(padding.MGF1(mask), salt_bytes)
    signature = PRIVATE[signer].sign(message, scheme, SHA256)
    good = signer == who and salt_bytes == 32 and mask is SHA256
    assert ours(who, message, signature) == theirs(who, message, signature) == good


@given(WHO, st.binary(max_size=400))
@settings(deadline=None)
def test_any_bytes_as_a_signature(who: int, signature: bytes) -> None:
    assert not ours(who, b"message", signature)
    assert not theirs(who, b"message", signature)
    padded = signature[:384].rjust(384, b"\0")
    assert ours(who, b"message", padded) == theirs(who, b"message", padded)


BENT = st.lists(st.tuples(st.integers(0, 383), st.integers(0, 255)), max_size=3)


@given(st.binary(max_size=40), WHO, st.booleans(), BENT, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=200)
def test_an_encoding_bent_by_the_owner_of_the_key(
    message: bytes, who: int, masked: bool, changes: list[tuple[int, int]], salt: int
) -> None:
    """EMSA-PSS by hand (RFC 8017 section 9.1.1), bent before or behind the mask, then signed as it is."""
    raw_salt = salt.to_bytes(32, "big")
    inner = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + raw_salt).digest()
    mask = b"".join(hashlib.sha256(inner + number.to_bytes(4, "big")).digest() for number in range(11))[:351]
    plain = bytearray(bytes(318) + b"\1" + raw_salt)
    if not masked:
        bend(plain, changes)
    encoded = bytearray(bytes(a ^ b for a, b in zip(plain, mask, strict=True)) + inner + b"\xbc")
    encoded[0] &= 0x7F
    if masked:
        bend(encoded, changes)
    signature = raw_signature(PRIVATE[who].private_numbers(), int.from_bytes(encoded, "big"))
    verdict = ours(who, message, signature)
    assert verdict == theirs(who, message, signature)
    if not changes:
        assert verdict


def raw_signature(numbers: rsa.RSAPrivateNumbers, number: int) -> bytes:
    """number ** d modulo n by the Chinese remainders (RFC 8017 section 5.1.2)."""
    first, second = pow(number, numbers.dmp1, numbers.p), pow(number, numbers.dmq1, numbers.q)
    root = second + numbers.q * ((first - second) * numbers.iqmp % numbers.p)
    return root.to_bytes(384, "big")


def bend(raw: bytearray, changes: list[tuple[int, int]]) -> None:
    for offset, value in changes:
        raw[offset % len(raw)] = value

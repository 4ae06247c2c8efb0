"""Who signed a container header: RSA-3072 PSS (RFC 8017 sections 5.2.2, 8.1.2, 9.1.2, B.2.1).

SHA-256, MGF1 with SHA-256, 32 bytes of salt, public exponent 65537, over the header's bytes 0..511.
It is the scheme of ESP32 secure boot v2, so its keys will do. Everything here is public, so
nothing needs to take constant time. The cost is that of one three-argument pow().
"""

import binascii
import hashlib

from .container import KEY_ID_BYTES, SIGNATURE_BYTES, SIGNED_BYTES, signature_place
from .errors import PeerError, UsageError

MODULUS_BYTES = 384
EXPONENT = 65537
MAX_KEYS = 8  # 512 bytes of a board's heap each

_HASH_BYTES = 32
_SALT_BYTES = 32
_DB_BYTES = MODULUS_BYTES - _HASH_BYTES - 1  # 351: zeros, 01, salt
_ONE_AT = _DB_BYTES - _SALT_BYTES - 1
_TRAILER = 0xBC
# MGF1's counters, 4 bytes each (RFC 8017 B.2.1): 11 hashes give 352 bytes
_COUNTERS = [bytes((0, 0, 0, number)) for number in range(11)]


class PublicKey:
    """An RSA-3072 public key with e = 65537.

    raw: the modulus, 384 bytes, big-endian. key_id: 8 bytes.

    Raises UsageError: not 384 bytes, the top bit clear (then it has fewer than 3072 bits), or even.
    """

    def __init__(self, raw):
        raw = bytes(raw)
        if len(raw) != MODULUS_BYTES or raw[0] < 0x80 or not raw[-1] & 1:
            raise UsageError("this is no RSA modulus of 3072 bits")
        self.key_id = hashlib.sha256(raw).digest()[:KEY_ID_BYTES]
        self.modulus = int.from_bytes(raw, "big")


def parse_keys(texts):
    """The PublicKeys of a list of base64 moduli, as `keys` in gapcast.json.

    Raises UsageError: not a list of texts, more than MAX_KEYS, or one of them is no key.
    """
    if not isinstance(texts, (list, tuple)) or len(texts) > MAX_KEYS:
        raise UsageError("keys: a list of at most %d" % MAX_KEYS)
    keys = []
    for text in texts:
        keys.append(PublicKey(_unbase64(text)))
    return keys


def _unbase64(text):
    try:
        raw = binascii.a2b_base64(text)
        # a2b_base64 skips what is no base64
        if binascii.b2a_base64(raw).strip() == text.encode().strip():
            return raw
    except (ValueError, TypeError, AttributeError):
        pass
    raise UsageError("a key is not base64")


def verify_pss(key, digest, signature):
    """Whether `signature` (384 bytes) by `key` fits a message whose SHA-256 is `digest` (32 bytes)."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    number = int.from_bytes(signature, "big")
    if number >= key.modulus:
        return False  # else a signature had a second form (RFC 8017 section 5.2.2)
    encoded = pow(number, EXPONENT, key.modulus).to_bytes(MODULUS_BYTES, "big")
    if encoded[0] & 0x80 or encoded[-1] != _TRAILER:
        return False
    seed = encoded[_DB_BYTES:-1]
    mask = b"".join([hashlib.sha256(seed + counter).digest() for counter in _COUNTERS])
    # Unmasked there must be zeros, then 01, then the salt: where the mask hides zeros it shows itself.
    if (encoded[0] ^ mask[0]) & 0x7F or encoded[1:_ONE_AT] != mask[1:_ONE_AT]:
        return False
    if encoded[_ONE_AT] ^ mask[_ONE_AT] != 1:
        return False
    salt = int.from_bytes(encoded[_ONE_AT + 1 : _DB_BYTES], "big")
    salt ^= int.from_bytes(mask[_ONE_AT + 1 : _DB_BYTES], "big")
    return hashlib.sha256(bytes(8) + digest + salt.to_bytes(_SALT_BYTES, "big")).digest() == seed


def check_header(header_bytes, keys, allow_unsigned=False):
    """Whose the 1024 bytes of a header are: the key id (8 bytes), or None: nobody's, but allowed.

    keys: the trusted PublicKeys. allow_unsigned: also take a header without a signature, or with
    an unknown key's. A known key's signature must fit in any case.
    Call parse_header as well: only that looks at the fields and at the check digest.

    Raises PeerError: `bad_signature_place`, `unsigned`, `unknown_key`, `bad_signature`.
    """
    place = signature_place(header_bytes)
    if place is None:
        return _unless("unsigned", allow_unsigned)
    key_id, signature = place
    known = [key for key in keys if key.key_id == key_id]
    if not known:
        return _unless("unknown_key", allow_unsigned)
    digest = hashlib.sha256(header_bytes[:SIGNED_BYTES]).digest()
    if not any(verify_pss(key, digest, signature) for key in known):
        raise PeerError("bad_signature")
    return key_id


def _unless(reason, allowed):
    if not allowed:
        raise PeerError(reason)

"""Signing keys: RSA with 3072 bits and e = 65537, in PEM files.

The same keys as ESP32 secure boot v2: those of `espsecure generate-signing-key --version 2` will do.
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gapcast.errors import OperatorError
from gapcast.image.files import read_bounded, sync_directory
from gapcast_core.signature import EXPONENT, MODULUS_BYTES, PublicKey

KEY_BITS = 3072
SALT_BYTES = 32
MAX_PEM_BYTES = 64 << 10
_MAKE_ONE = "make one with `gapcast keygen -o KEY.pem`"


def make_key(path: Path) -> rsa.RSAPrivateKey:
    """A new key in the file `path` (mode 0600), and its public half beside it (see public_path).

    Neither file is ever overwritten, and neither is ever there half-written.

    Raises:
        OperatorError: One of the files exists or cannot be written, or the file system keeps no permissions.
    """
    public_file = public_path(path)
    for file in (path, public_file):
        if os.path.lexists(file):
            raise OperatorError(f"{file} exists already", "keys are never overwritten: give another name")
    key = rsa.generate_private_key(EXPONENT, KEY_BITS)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(path, private, 0o600)
    try:
        _write_new(public_file, public, 0o644)
    except BaseException:
        path.unlink(missing_ok=True)  # nobody has used it yet, and half a pair is no result
        raise
    return key


def public_path(path: Path) -> Path:
    """Where the public half of a key file stands: KEY.pub.pem beside KEY.pem."""
    return path.with_name(path.name.removesuffix(".pem") + ".pub.pem")


def load_private(path: Path) -> rsa.RSAPrivateKey:
    """The private key in a PEM file.

    Raises:
        OperatorError: The file cannot be read, has a password, or holds no private RSA-3072 key, e = 65537.
    """
    pem = read_bounded(path, MAX_PEM_BYTES)
    if b"PRIVATE KEY-----" not in pem and b"PUBLIC KEY-----" in pem:
        raise OperatorError(f"{path} holds a public key only", "signing needs the private one")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        hint = f"take the password off: openssl pkey -in {path.name} -out PLAIN.pem; chmod 600 PLAIN.pem"
        raise OperatorError(f"{path} is protected by a password", hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"{path} holds no private key in PEM form that fits", _MAKE_ONE) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise OperatorError(f"{path} holds no RSA key", f"images are signed with RSA-3072: {_MAKE_ONE}")
    _check(path, key.public_key())
    return key


def load_public(path: Path) -> rsa.RSAPublicKey:
    """The public key in a PEM file, which may hold the private one as well.

    Raises:
        OperatorError: The file cannot be read, or holds no RSA-3072 key with e = 65537.
    """
    pem = read_bounded(path, MAX_PEM_BYTES)
    if b"PRIVATE KEY-----" in pem:
        return load_private(path).public_key()
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"{path} holds no key in PEM form that fits", _MAKE_ONE) from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise OperatorError(f"{path} holds no RSA key", f"images are signed with RSA-3072: {_MAKE_ONE}")
    _check(path, key)
    return key


def open_to_others(path: Path) -> bool:
    """Whether other users than the owner have any rights to the file."""
    return bool(path.stat().st_mode & 0o077)


def sign(key: rsa.RSAPrivateKey, message: bytes) -> bytes:
    """The 384 bytes of an RSA-PSS signature as boards verify it; each call gives another one."""
    return key.sign(message, PSS(MGF1(SHA256()), SALT_BYTES), SHA256())


def board_key(public: rsa.RSAPublicKey) -> PublicKey:
    """The key as the shared core has it, with its `key_id`."""
    return PublicKey(_modulus(public))


def board_key_text(public: rsa.RSAPublicKey) -> str:
    """The base64 of the modulus: what stands in `keys` of a board's gapcast.json."""
    return base64.b64encode(_modulus(public)).decode()


def _modulus(public: rsa.RSAPublicKey) -> bytes:
    return public.public_numbers().n.to_bytes(MODULUS_BYTES, "big")


def _check(path: Path, public: rsa.RSAPublicKey) -> None:
    if public.key_size != KEY_BITS:
        message = f"{path} holds an RSA key of {public.key_size} bits"
        raise OperatorError(message, f"boards verify {KEY_BITS} bits: {_MAKE_ONE}")
    exponent = public.public_numbers().e
    if exponent != EXPONENT:
        message = f"{path} holds an RSA key with the public exponent {exponent}"
        raise OperatorError(message, f"boards verify with {EXPONENT}: {_MAKE_ONE}")


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet, whole and on disk or not at all."""
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(handle)
            if stat.S_IMODE(temporary.stat().st_mode) & ~mode:
                hint = "choose a folder of a file system that keeps permissions"
                raise OperatorError(f"{path.parent} cannot keep a file private", hint)
            path.hardlink_to(temporary)  # a rename would overwrite; this fails when `path` exists
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError as error:
        raise OperatorError(
            f"{path} exists already", "keys are never overwritten: give another name"
        ) from error
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from error

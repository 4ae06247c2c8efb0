"""Keys: made safely, and every kind that boards cannot use refused with a hint."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gapcast.errors import OperatorError
from gapcast.image import keys
from gapcast_core.signature import parse_keys, verify_pss


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


def pem(
    private: object, form: forms.PrivateFormat = forms.PrivateFormat.PKCS8, password: bytes | None = None
) -> bytes:
    cipher = forms.BestAvailableEncryption(password) if password else forms.NoEncryption()
    return private.private_bytes(forms.Encoding.PEM, form, cipher)  # type: ignore[attr-defined, no-any-return]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_new_key(mask: int, tmp_path: Path) -> None:
    file = tmp_path / "KEY.pem"
    before = os.umask(mask)
    try:
        made = keys.make_key(file)
    finally:
        os.umask(before)
    assert made.key_size == 3072
    assert made.public_key().public_numbers().e == 65537
    assert sorted(os.listdir(tmp_path)) == ["KEY.pem", "KEY.pub.pem"]
    assert mode(file) == 0o600
    assert mode(tmp_path / "KEY.pub.pem") == 0o644 & ~mask
    assert b"PRIVATE" not in (tmp_path / "KEY.pub.pem").read_bytes()
    loaded = keys.load_private(file)
    assert loaded.private_numbers() == made.private_numbers()
    for public in (keys.load_public(file), keys.load_public(tmp_path / "KEY.pub.pem")):
        assert public.public_numbers() == made.public_key().public_numbers()


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    for name in ("KEY.pem", "KEY.pub.pem", "link"):
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        if name == "link":
            (folder / "KEY.pem").symlink_to("nowhere")
        else:
            (folder / name).write_bytes(b"mine")
        with pytest.raises(OperatorError, match="exists already"):
            keys.make_key(folder / "KEY.pem")
        assert len(os.listdir(folder)) == 1
        if name != "link":
            assert (folder / name).read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.os.path, "lexists", lambda path: False)
    (tmp_path / "KEY.pub.pem").write_bytes(b"mine")
    with pytest.raises(OperatorError, match="exists already"):
        keys.make_key(tmp_path / "KEY.pem")
    assert os.listdir(tmp_path) == ["KEY.pub.pem"]  # and no private half of a pair
    (tmp_path / "KEY.pub.pem").rename(tmp_path / "KEY.pem")
    with pytest.raises(OperatorError, match="exists already"):
        keys.make_key(tmp_path / "KEY.pem")
    assert (tmp_path / "KEY.pem").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["KEY.pem"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperatorError, match="cannot write"):
        keys.make_key(tmp_path / "missing" / "KEY.pem")
    calls: list[int] = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:  # private file, its folder, then the public file
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(OperatorError, match="No space left"):
        keys.make_key(tmp_path / "KEY.pem")
    assert len(calls) == 3
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def as_on_fat(path: str | Path, flags: int, permissions: int = 0o777) -> int:
        handle = real(path, flags, permissions)
        if flags & os.O_CREAT:
            os.fchmod(handle, 0o755)
        return handle

    monkeypatch.setattr(keys.os, "open", as_on_fat)
    with pytest.raises(OperatorError, match="cannot keep a file private"):
        keys.make_key(tmp_path / "KEY.pem")
    assert os.listdir(tmp_path) == []


def test_the_boards_form(key: rsa.RSAPrivateKey) -> None:
    modulus = key.public_key().public_numbers().n.to_bytes(384, "big")
    text = keys.board_key_text(key.public_key())
    assert base64.b64decode(text) == modulus
    (parsed,) = parse_keys([text])
    assert parsed.key_id == keys.board_key(key.public_key()).key_id == hashlib.sha256(modulus).digest()[:8]
    signature = keys.sign(key, b"message")
    assert signature != keys.sign(key, b"message")  # the salt
    assert verify_pss(parsed, hashlib.sha256(b"message").digest(), signature)


Load = Callable[[Path], object]


@pytest.mark.parametrize("load", [keys.load_private, keys.load_public])
def test_keys_that_boards_cannot_use(load: Load, key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    password = "protected by a password"
    traditional = forms.PrivateFormat.TraditionalOpenSSL
    wrong = {
        "2048 bits": pem(rsa.generate_private_key(65537, 2048)),
        "1024 bits": pem(rsa.generate_private_key(65537, 1024)),
        "4096 bits": pem(rsa.generate_private_key(65537, 4096)),
        "exponent 3": pem(rsa.generate_private_key(3, 3072)),
        "no RSA key": pem(ec.generate_private_key(ec.SECP256R1())),
        "holds no RSA": pem(ed25519.Ed25519PrivateKey.generate()),
        password: pem(key, password=b"secret"),
        "by a password": pem(key, traditional, b"secret"),
        "holds no": b"",
        "no private key in PEM": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "that fits": pem(key).replace(b"A", b"B", 40),
    }
    for match, text in wrong.items():
        file = tmp_path / "wrong.pem"
        file.write_bytes(text)
        with pytest.raises(OperatorError, match=match) as caught:
            load(file)
        assert caught.value.hint
    with pytest.raises(OperatorError, match="cannot read"):
        load(tmp_path / "missing.pem")
    (tmp_path / "large.pem").write_bytes(bytes(1 << 17))
    with pytest.raises(OperatorError, match="larger"):
        load(tmp_path / "large.pem")


def test_public_keys_that_boards_cannot_use(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    def public_pem(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        public = private.public_key()
        return public.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)

    file = tmp_path / "public.pem"
    for private, match in (
        (rsa.generate_private_key(65537, 2048), "2048 bits"),
        (rsa.generate_private_key(3, 3072), "exponent 3"),
        (ec.generate_private_key(ec.SECP256R1()), "no RSA key"),
    ):
        file.write_bytes(public_pem(private))
        with pytest.raises(OperatorError, match=match):
            keys.load_public(file)
    file.write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(OperatorError, match="no key in PEM form"):
        keys.load_public(file)
    file.write_bytes(public_pem(key))
    with pytest.raises(OperatorError, match="public key only"):
        keys.load_private(file)
    file.write_bytes(key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.PKCS1))
    assert keys.load_public(file).public_numbers() == key.public_key().public_numbers()


def espsecure(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "espsecure", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_keys_of_espsecure(tmp_path: Path) -> None:
    private, public, ecdsa = (str(tmp_path / name) for name in ("k.pem", "p.pem", "e.pem"))
    espsecure("generate-signing-key", "--version", "2", "--scheme", "rsa3072", private)
    made = keys.load_private(Path(private))
    espsecure("extract-public-key", "--version", "2", "--keyfile", private, public)
    assert keys.load_public(Path(public)).public_numbers() == made.public_key().public_numbers()
    espsecure("generate-signing-key", "--version", "2", "--scheme", "ecdsa256", ecdsa)
    with pytest.raises(OperatorError, match="no RSA key"):
        keys.load_private(Path(ecdsa))

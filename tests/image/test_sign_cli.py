"""`gapcast keygen` and `gapcast image build --key`, `sign`, `verify`, `inspect`: a signed image's way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gapcast.cli import main
from gapcast.image.build import read_container
from gapcast.image.keys import board_key, load_private, sign
from gapcast_core.container import chunk_digest
from gapcast_core.signature import check_header, parse_keys

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys a.pem and b.pem, and the firmware fw.bin."""
    folder = tmp_path_factory.mktemp("pairs")
    for name in ("a", "b"):
        assert main(["keygen", "-o", str(folder / f"{name}.pem")]) == 0
    sample = ["image", "sample", "--size", "9000", "--version", "1.2.0", "-o", str(folder / "fw.bin")]
    assert main(sample) == 0
    return folder


@pytest.fixture
def lab(pairs: Path, tmp_path: Path) -> Path:
    """A copy of it to write into, with the image signed.gap by a.pem."""
    shutil.copytree(pairs, tmp_path, dirs_exist_ok=True)
    build = ["image", "build", str(tmp_path / "fw.bin"), "--key", str(tmp_path / "a.pem")]
    assert main([*build, "--counter", "3", "-o", str(tmp_path / "signed.gap")]) == 0
    return tmp_path


def run(capsys: Capture, *arguments: object, code: int = 0) -> dict[str, Any]:
    """The JSON object that a command prints."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_keygen_prints_what_boards_need(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "lab.pem"
    assert main(["keygen", "-o", str(file)]) == 0
    text = capsys.readouterr().out
    facts = run(capsys, "keygen", "--show", file)
    assert facts == run(capsys, "keygen", "--show", tmp_path / "lab.pub.pem")
    (key,) = parse_keys(json.loads("{" + text.splitlines()[-1] + "}")["keys"])
    assert key.key_id.hex() == facts["key_id"]
    assert facts["key_id"] in text
    assert "PRIVATE" not in text
    assert main(["keygen", "-o", str(file)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    for arguments in (["keygen"], ["keygen", "-o", str(tmp_path / "x"), "--show", str(file)]):
        assert main(arguments) == 2
        assert "--show KEY.pem" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_signed_image(lab: Path, capsys: Capture) -> None:
    public = lab / "a.pub.pem"
    facts = run(capsys, "image", "verify", lab / "signed.gap", "--key", public)
    assert (facts["trusted"], facts["reason"], facts["signed_by"]) == (True, None, str(public))
    assert (facts["counter"], facts["retry"], facts["app_chip"]) == (3, False, "esp32")
    shown = run(capsys, "image", "inspect", lab / "signed.gap")
    assert (shown["signature"], shown["key_id"]) == ("RSA-3072 PSS", facts["key_id"])
    assert (shown["image_head"], shown["retry"], shown["counter"]) == ("application for esp32", False, 3)
    both = run(capsys, "image", "verify", lab / "signed.gap", "--key", lab / "b.pem", "--key", public)
    assert both["signed_by"] == str(public)
    assert main(["image", "verify", str(lab / "signed.gap"), "--key", str(public)]) == 0
    assert "intact, and signed by" in capsys.readouterr().out
    assert main(["image", "inspect", str(lab / "signed.gap")]) == 0
    text = capsys.readouterr().out
    assert f"signature by {facts['key_id']} not verified" in text.splitlines()[-1]
    assert "retry                no\n" in text
    assert "problems             none\n" in text


def test_what_verify_refuses(lab: Path, capsys: Capture) -> None:
    data = bytearray((lab / "signed.gap").read_bytes())
    key, file = lab / "a.pub.pem", lab / "changed.gap"
    assert run(capsys, "image", "verify", lab / "signed.gap", "--key", lab / "b.pem", code=1)["reason"] == (
        "unknown_key"
    )
    assert main(["image", "build", str(lab / "fw.bin"), "-o", str(file)]) == 0
    assert "unsigned" in capsys.readouterr().out
    facts = run(capsys, "image", "verify", file, "--key", key, code=1)
    assert (facts["reason"], facts["signed_by"]) == ("unsigned", None)
    for offset, reason, sealed in (
        (30, "header_damaged", False),
        (100, "bad_signature", True),
        (700, "bad_signature", True),
        (1000, "bad_signature_place", True),
        (5000, "damaged", False),
    ):
        changed = data.copy()
        changed[offset] ^= 1
        if sealed:
            changed[1008:1024] = chunk_digest(bytes(changed[:1008]))
        file.write_bytes(changed)
        facts = run(capsys, "image", "verify", file, "--key", key, code=1)
        assert (facts["reason"], facts["trusted"]) == (reason, False)
        assert facts["verdict"].startswith("refused: ")
    file.write_bytes(data[:-1])
    assert run(capsys, "image", "verify", file, "--key", key, code=1)["reason"] == "truncated"
    assert main(["image", "verify", str(lab / "fw.bin"), "--key", str(key)]) == 2
    assert "not a container" in capsys.readouterr().err


def test_signing_again_rotates_the_key(lab: Path, capsys: Capture) -> None:
    image = lab / "signed.gap"
    before = read_container(image)
    first = run(capsys, "image", "verify", image, "--key", lab / "a.pem")
    facts = run(capsys, "image", "sign", image, "--key", lab / "b.pem", "--retry")
    assert facts["content_id"] != first["content_id"]
    assert facts["key_id"] != first["key_id"]
    assert (facts["retry"], facts["counter"]) == (True, 3)
    assert run(capsys, "image", "verify", image, "--key", lab / "b.pub.pem")["trusted"]
    assert read_container(image).data[1024:] == before.data[1024:]
    assert run(capsys, "image", "sign", image, "--key", lab / "b.pem")["retry"]  # stays as it is
    other = lab / "other.gap"
    assert not run(capsys, "image", "sign", image, "--key", lab / "a.pem", "--no-retry", "-o", other)["retry"]
    assert run(capsys, "image", "verify", image, "--key", lab / "b.pem")["trusted"]
    assert run(capsys, "image", "verify", other, "--key", lab / "a.pem")["trusted"]


def test_an_unsigned_image_can_be_signed_later(lab: Path, capsys: Capture) -> None:
    image = lab / "later.gap"
    facts = run(capsys, "image", "build", lab / "fw.bin", "--retry", "-o", image)
    assert (facts["key_id"], facts["retry"]) == (None, True)
    assert run(capsys, "image", "inspect", image)["verdict"] == "intact container, 1.2.0 for SIM, unsigned"
    facts = run(capsys, "image", "sign", image, "--key", lab / "a.pem")
    assert facts["retry"]
    key = parse_keys([run(capsys, "keygen", "--show", lab / "a.pub.pem")["board_key"]])
    assert check_header(image.read_bytes()[:1024], key).hex() == facts["key_id"]


def test_only_what_is_intact_gets_signed(lab: Path, capsys: Capture) -> None:
    data = bytearray((lab / "signed.gap").read_bytes())
    file = lab / "bad.gap"
    for offset in (5000, len(data) - 1, 1024 + 9000):  # image, table, padding
        changed = data.copy()
        changed[offset] ^= 1
        file.write_bytes(changed)
        assert main(["image", "sign", str(file), "--key", str(lab / "b.pem")]) == 2
        assert "not signed" in capsys.readouterr().err
        assert file.read_bytes() == changed
    head = data.copy()
    head[208:496] = bytes(288)
    head[1008:1024] = chunk_digest(bytes(head[:1008]))
    file.write_bytes(head)
    assert main(["image", "sign", str(file), "--key", str(lab / "b.pem")]) == 2
    assert "head of the image" in capsys.readouterr().err


def test_the_key_itself_is_safe(lab: Path, capsys: Capture) -> None:
    key = lab / "a.pem"
    before = key.read_bytes()
    for arguments in (
        ["build", str(lab / "fw.bin"), "--key", str(key), "-o", str(key)],
        ["sign", str(lab / "signed.gap"), "--key", str(key), "-o", str(key)],
    ):
        assert main(["image", *arguments]) == 2
        assert "is the key itself" in capsys.readouterr().err
    assert key.read_bytes() == before
    load_private(key)
    assert main(["image", "sign", str(lab / "signed.gap"), "--key", str(key)]) == 0
    assert capsys.readouterr().err == ""
    key.chmod(0o640)
    assert main(["image", "sign", str(lab / "signed.gap"), "--key", str(key)]) == 0
    assert "chmod 600" in capsys.readouterr().err
    assert main(["image", "sign", str(lab / "signed.gap"), "--key", str(lab / "a.pub.pem")]) == 2
    assert "public key only" in capsys.readouterr().err


def test_no_output_replaces_a_private_key(lab: Path, capsys: Capture) -> None:
    key = lab / "b.pem"
    before = key.read_bytes()
    for command in (
        ["image", "sample", "--size", "9000", "--version", "1"],
        ["image", "build", str(lab / "fw.bin"), "--key", str(lab / "a.pem")],
        ["image", "sign", str(lab / "signed.gap"), "--key", str(lab / "a.pem")],
    ):
        assert main([*command, "-o", str(key)]) == 2
        assert "is a private key" in capsys.readouterr().err
    assert key.read_bytes() == before


def test_an_image_for_another_chip_than_the_boards(lab: Path, capsys: Capture) -> None:
    container, key = read_container(lab / "signed.gap"), load_private(lab / "a.pem")
    header = container.header
    header.board = "ESP32_GENERIC_S3"  # `gapcast image build` would not do that
    key_id = board_key(key.public_key()).key_id
    packed = header.pack(key_id, sign(key, header.signed_part()))
    file = lab / "s3.gap"
    file.write_bytes(packed + container.data[1024:])
    facts = run(capsys, "image", "verify", file, "--key", lab / "a.pub.pem", code=1)
    assert (facts["reason"], facts["signed_by"]) == ("wrong_chip", str(lab / "a.pub.pem"))
    assert "the image is for esp32, the board has esp32s3" in facts["verdict"]

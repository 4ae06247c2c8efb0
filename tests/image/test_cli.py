"""`gapcast image`, as people and scripts use it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gapcast.cli import main
from gapcast.errors import OperatorError
from gapcast.image.files import parse_size, write_atomically

MAIN = "def main(board):\n    board.report(version='mine')\n"


def test_sample_build_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    firmware, image = tmp_path / "fw.bin", tmp_path / "bench.gap"
    assert (
        main(["image", "sample", "--size", "64k", "--version", "1.2.0", "-o", str(firmware), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["bytes"] == 65536
    assert firmware.stat().st_size == 65536
    assert main(["image", "build", str(firmware), "--counter", "3", "-o", str(image), "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["name"], built["version"], built["board"], built["counter"]) == ("bench", "1.2.0", "SIM", 3)
    for file, kind in ((firmware, "application"), (image, "container")):
        assert main(["image", "inspect", str(file), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["kind"], facts["intact"], facts["problems"]) == (kind, True, [])
        assert main(["image", "inspect", str(file)]) == 0
        assert f"intact {kind}, 1.2.0" in capsys.readouterr().out.splitlines()[-1]
    assert sorted(os.listdir(tmp_path)) == ["bench.gap", "fw.bin"]


def test_a_damaged_file_gives_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    firmware = tmp_path / "fw.bin"
    main(["image", "sample", "--size", "4096", "--version", "1", "-o", str(firmware)])
    data = bytearray(firmware.read_bytes())
    data[1000] ^= 1
    firmware.write_bytes(data)
    assert main(["image", "inspect", str(firmware)]) == 1
    assert "refused: checksum" in capsys.readouterr().out
    assert main(["image", "build", str(firmware), "-o", str(tmp_path / "x.gap")]) == 2
    assert "build or download it again" in capsys.readouterr().err
    assert not (tmp_path / "x.gap").exists()


def test_an_application_of_ones_own(tmp_path: Path) -> None:
    source, firmware = tmp_path / "main.py", tmp_path / "fw.bin"
    source.write_text(MAIN)
    options = ["--size", "4k", "--version", "1", "--app", str(source), "-o", str(firmware)]
    assert main(["image", "sample", *options]) == 0
    assert MAIN.encode() in firmware.read_bytes()
    source.write_bytes(b"\xff")
    assert main(["image", "sample", *options]) == 2


def test_the_built_in_applications(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = ["image", "sample", "--size", "4k", "--version", "1", "-o", str(tmp_path / "fw.bin"), "--json"]
    assert main([*sample, "--app", "hang"]) == 0
    assert json.loads(capsys.readouterr().out)["app"] == "hang"
    assert b"while True" in (tmp_path / "fw.bin").read_bytes()
    assert main([*sample, "--app", "fine"]) == 2
    assert "one of ok, exception, hang, offline, silent" in capsys.readouterr().err


def test_the_help_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["--help"], ["image", "--help"]):
        assert main(command) == 0
        assert "Build, sign, verify and inspect firmware images." in capsys.readouterr().out


def test_sizes() -> None:
    sizes = {"0": 0, "4096": 4096, "64k": 65536, "2M": 2 << 20, "2MiB": 2 << 20, " 1K ": 1024, "3mb": 3 << 20}
    for text, size in sizes.items():
        assert parse_size(text) == size
    for text in ("", "k", "-1", "1.5M", "1G", "0x10", "1 2", "\u0661", "9" * 20):
        with pytest.raises(OperatorError, match="is not a size"):
            parse_size(text)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")

    def parts():  # type: ignore[no-untyped-def]
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, parts())
    assert os.listdir(tmp_path) == ["f"]
    assert file.read_bytes() == b"old"
    assert write_atomically(file, [b"a", b"bc"]) == 3
    assert file.read_bytes() == b"abc"
    with pytest.raises(OperatorError, match="cannot write"):
        write_atomically(tmp_path / "missing" / "f", [b""])


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "below" / "target"
    os.mkfifo(pipe)
    target.parent.mkdir()
    (tmp_path / "to-pipe").symlink_to(pipe)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "to-pipe", "below", "loop"):
        with pytest.raises(OperatorError, match=f"{name}.*(a pipe|directory|symbolic links)"):
            write_atomically(tmp_path / name, [b"x"])
    assert pipe.is_fifo()
    link.symlink_to("below/target")
    for data in (b"new", b"again"):  # at first the link leads nowhere
        write_atomically(link, [data])
        assert link.is_symlink()
        assert target.read_bytes() == data
    assert os.listdir(target.parent) == ["target"]

"""The real esptool against simulated chips: what is asked, written, erased and read, and how it fails."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gapcast_sim.chip.faults import Faults
from gapcast_sim.chip.flash import Flash
from gapcast_tools.usb.esptool import Esptool, Identity
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.process import Stop
from provision.usb_chips import FLASH_BYTES, Part, bare_chip, dumb_port, held, is_free, noise, some_parts

Told = list[tuple[str, int, int]]


def tool(port: str | Path, told: Told | None = None, **options: object) -> Esptool:
    def progress(what: str, done: int, total: int) -> None:
        if told is not None:
            told.append((what, done, total))

    return Esptool(str(port), progress=progress, **options)  # type: ignore[arg-type]


def fault_of(call: Callable[[], object]) -> PortFault:
    with pytest.raises(PortFault) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("name", ["esp32", "esp32s2", "esp32s3", "esp32c3", "esp32c6"])
def test_identify(tmp_path: Path, name: str) -> None:
    with bare_chip(tmp_path, name, "240ac4abcdef") as chip:
        found = tool(chip.port).identify()
    assert found == Identity(name, "240ac4abcdef", FLASH_BYTES, found.description)
    assert found.description.startswith("ESP32")


def test_write_compare_erase_and_read(tmp_path: Path) -> None:
    parts = some_parts()
    told: Told = []
    with bare_chip(tmp_path, "esp32s3") as chip:
        old = noise(9, FLASH_BYTES)
        (chip.folder / "flash.bin").write_bytes(old)
        one = tool(chip.port, told)
        assert one.matches(parts) == [False, False, False]
        assert chip.flash == old

        one.write(list(reversed(parts)))
        expected = bytearray(old)
        for part in parts:  # whole sectors are erased, and nothing else is touched
            end = part.offset + len(part.data)
            expected[part.offset : end + -end % 4096] = part.data + b"\xff" * (-end % 4096)
        assert chip.flash == bytes(expected)
        total = sum(len(part.data) for part in parts)
        written = [done for what, done, _ in told if what == "writing"]
        assert written == sorted(written)
        assert (written[0], written[-1]) == (0, total)
        assert any(0 < done < total for done in written)
        assert one.matches(parts) == [True, True, True]

        one.erase(0x11000, 0x1000)
        expected[0x11000:0x12000] = b"\xff" * 0x1000
        assert chip.flash == bytes(expected)
        assert one.matches(parts) == [True, True, False]

        told.clear()
        one.read(0x8000, 0x9000, tmp_path / "read.bin")
        assert (tmp_path / "read.bin").read_bytes() == expected[0x8000:0x11000]
        assert (tmp_path / "read.bin").stat().st_mode & 0o777 == 0o600
        assert told[0] == ("reading", 0, 0x9000)
        assert told[-1] == ("reading", 0x9000, 0x9000)
        assert {total for _, _, total in told} == {0x9000}

        one.erase_all()
        assert chip.flash == b"\xff" * FLASH_BYTES
        one.reset()


def test_nothing_to_compare_is_no_run() -> None:
    assert tool("/dev/nowhere").matches([]) == []


def test_parts_of_any_length_and_name(tmp_path: Path) -> None:
    parts = [Part("-x @'[red]", 0, b":odd"), Part("", 0x1000, b"\xe9"), Part("../a", 0x2000, noise(3, 4097))]
    with bare_chip(tmp_path, "esp32") as chip:
        one = tool(chip.port)
        one.write(parts)
        assert one.matches(parts) == [True, True, True]


def test_the_operators_surroundings_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "esptool.cfg").write_text("[esptool]\nconnect_attempts = 1\ntimeout = 0.000001\n")
    (here / "esptool.py").write_text("raise SystemExit('the wrong esptool')\n")
    monkeypatch.chdir(here)
    for name, value in {
        "CHIP": "esp8266",
        "BAUD": "77",
        "BEFORE": "no-reset",
        "AFTER": "x",
        "FS": "16MB",
    }.items():
        monkeypatch.setenv(f"ESPTOOL_{name}", value)
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(here / "esptool.cfg"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bare_chip(tmp_path / "chip") as chip:
        one = tool(chip.port)
        assert one.identify().chip == "esp32c3"
        one.write(some_parts())
        one.read(0, 0x1000, Path("relative.bin"))
    assert (here / "relative.bin").stat().st_size == 0x1000


def test_another_chip_than_told(tmp_path: Path) -> None:
    with bare_chip(tmp_path, "esp32c3") as chip:
        error = fault_of(tool(chip.port, chip="esp32s3").identify)
    assert error.reason == "wrong_chip"
    assert str(error) == f"the chip on {chip.port} is ESP32-C3, not ESP32-S3"


def test_more_than_the_flash_holds(tmp_path: Path) -> None:
    with bare_chip(tmp_path) as chip:
        error = fault_of(lambda: tool(chip.port).write([Part("app", FLASH_BYTES - 4096, bytes(4097))]))
        assert error.reason == "small_flash"
        assert str(FLASH_BYTES) in str(error)
        assert chip.flash == b"\xff" * FLASH_BYTES


def test_flash_that_does_not_keep_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Flash.program

    def worn_out(self: Flash, offset: int, data: bytes) -> None:
        program(self, offset, data)
        if offset <= 0x12000 < offset + len(data):
            program(self, 0x12000, bytes(16))

    monkeypatch.setattr(Flash, "program", worn_out)
    parts = some_parts()
    with bare_chip(tmp_path) as chip:
        one = tool(chip.port)
        error = fault_of(lambda: one.write(parts))
        assert (error.reason, "does not keep what is written" in str(error)) == ("damaged", True)
        assert one.matches(parts) == [True, True, False]


def test_a_busy_port_names_who_has_it(tmp_path: Path) -> None:
    with bare_chip(tmp_path) as chip, held(chip.port) as pid:
        error = fault_of(tool(chip.port).identify)
    assert error.reason == "busy"
    assert f"(pid {pid}) has it open" in str(error)


@pytest.mark.parametrize(
    ("name", "reason"), [("/dev/nowhere", "gone"), ("/dev/null", "failed"), ("/", "failed")]
)
def test_no_port(name: str, reason: str) -> None:
    error = fault_of(tool(name).identify)
    assert error.reason == reason
    assert "gapcast ports" in error.hint


def test_no_answer() -> None:
    with dumb_port(b"") as port:
        error = fault_of(tool(port, attempts=1).identify)
    assert (error.reason, str(error)) == ("silent", f"no board answers on {port}")
    assert "BOOT" in error.hint


def test_garbage() -> None:
    with dumb_port(b"+++ this is a GPS receiver\r\n") as port:
        assert fault_of(tool(port, attempts=1).identify).reason == "garbage"


@pytest.mark.parametrize("sent", [0, 60, 4_000, 15_000, 40_000])
def test_the_cable_is_pulled_while_writing(tmp_path: Path, sent: int) -> None:
    parts = some_parts()
    with bare_chip(tmp_path, faults=Faults(pull_after_rx=sent)) as chip:
        one = tool(chip.port)
        error = fault_of(lambda: one.write(parts))
        assert error.reason == "interrupted"
        assert "the connection to" in str(error)
        assert error.hint
        chip.plug()
        one.write(parts)  # the same again completes
        assert one.matches(parts) == [True, True, True]


def test_a_board_that_falls_silent(tmp_path: Path) -> None:
    with bare_chip(tmp_path, faults=Faults(stuck_after_rx=10_000)) as chip:
        error = fault_of(lambda: tool(chip.port).write(some_parts()))
    assert error.reason == "interrupted"
    assert "fell silent while writing" in str(error)


def test_another_board_in_the_middle(tmp_path: Path) -> None:
    link = tmp_path / "port"
    parts = some_parts()
    with bare_chip(tmp_path / "one", mac="240ac4000001") as first:
        link.symlink_to(first.port)
        one = tool(link)
        one.identify()
        with bare_chip(tmp_path / "two", mac="240ac4000002") as second:
            link.unlink()
            link.symlink_to(second.port)
            error = fault_of(lambda: one.write(parts))
            assert error.reason == "interrupted"
            assert "240ac4000002, not 240ac4000001" in str(error)
            assert second.flash == b"\xff" * FLASH_BYTES


def test_an_exception_in_the_caller_lets_go_of_the_port(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, _total: int) -> None:
        if what == "reading" and done:
            raise KeyboardInterrupt

    with bare_chip(tmp_path) as chip:
        one = Esptool(str(chip.port), progress=interrupt)
        with pytest.raises(KeyboardInterrupt):
            one.read(0, FLASH_BYTES, tmp_path / "read.bin")
        assert is_free(chip.port)


def test_stop_from_another_thread(tmp_path: Path) -> None:
    stop = Stop()

    def progress(what: str, done: int, _total: int) -> None:
        if what == "reading" and done:
            stop.stop()

    with bare_chip(tmp_path) as chip:
        one = Esptool(str(chip.port), progress=progress, stop=stop)
        error = fault_of(lambda: one.read(0, FLASH_BYTES, tmp_path / "read.bin"))
        assert (error.reason, str(error)) == ("interrupted", "stopped while reading")
        assert fault_of(one.identify).reason == "interrupted"


def test_secrets_in_parts_are_private_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    modes: set[int] = set()

    def progress(_what: str, _done: int, _total: int) -> None:
        modes.update(path.stat().st_mode & 0o777 for path in tmp_path.glob("gapcast-*"))

    with bare_chip(tmp_path / "chip") as chip:
        Esptool(str(chip.port), progress=progress).write(some_parts())
    assert modes == {0o700}
    assert os.listdir(tmp_path) == ["chip"]

"""`gapcast ports`: what is plugged in, asked over a real MicroPython's REPL, or the ROM's loader."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from gapcast import cli
from gapcast_sim.chip.chip import SimChip
from gapcast_sim.chip.program import MicroPythonProgram
from gapcast_tools.usb import ports_list, ports_probe
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.holders import holders
from gapcast_tools.usb.look import Look
from gapcast_tools.usb.mpremote import Mpremote
from gapcast_tools.usb.ports_list import Port, named_ports, usb_ports
from provision.prov_bench import wait_until
from provision.repl_flash import make_flash
from provision.usb_chips import bare_chip, dumb_port, held

SECRET = "correct-horse-7"


def plugged(monkeypatch: pytest.MonkeyPatch, *infos: dict[str, object]) -> None:
    """Have pyserial list these ports."""
    blank = {"vid": None, "pid": None, "manufacturer": None, "product": None, "description": "n/a"}
    found = [SimpleNamespace(**(blank | info)) for info in infos]
    monkeypatch.setattr(ports_list.list_ports, "comports", lambda: found)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a board that does not answer."""
    monkeypatch.setattr(ports_probe, "REPL_FIRST_S", (0.7,))
    monkeypatch.setattr(ports_probe, "ATTEMPTS", 1)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged(
        monkeypatch,
        {"device": "/dev/ttyS0"},
        {"device": "/dev/ttyACM0", "vid": 0x2341, "pid": 0x43, "product": "Uno", "manufacturer": "Arduino"},
        {"device": "/dev/ttyUSB10", "vid": 0x10C4, "pid": 0xEA60, "product": "CP2102 USB to UART"},
        {"device": "/dev/ttyUSB9", "vid": 0x1A86, "pid": 0x7523, "description": "USB Serial"},
        {"device": "/dev/ttyACM1", "vid": 0x303A, "pid": 0x1001, "product": "USB JTAG/serial debug unit"},
    )
    assert usb_ports() == [
        Port("/dev/ttyACM1", "303a:1001", "Espressif native USB: USB JTAG/serial debug unit", True),
        Port("/dev/ttyUSB9", "1a86:7523", "CH340: USB Serial", True),
        Port("/dev/ttyUSB10", "10c4:ea60", "CP210x: CP2102 USB to UART", True),
        Port("/dev/ttyACM0", "2341:0043", "Arduino Uno", False),
    ]
    chosen = named_ports(["/dev/pts/7", "/dev/ttyUSB9", "/dev/pts/7"])
    assert [port.device for port in chosen] == ["/dev/pts/7", "/dev/ttyUSB9"]
    assert chosen[1].known


def test_only_a_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plugged(monkeypatch, {"device": "/dev/ttyUSB0", "vid": 0x10C4, "pid": 0xEA60})
    monkeypatch.setattr(ports_probe, "probe", None)  # asking is an error
    code, out, _ = run(capsys, "ports", "--no-probe")
    assert code == 0
    assert out.splitlines()[1].split() == [
        *("/dev/ttyUSB0", "not", "asked", "-", "-", "-", "10c4:ea60", "CP210x")
    ]
    code, out, _ = run(capsys, "ports", "--no-probe", "--json")
    assert json.loads(out)["ports"][0]["state"] == "not asked"


def test_devices_that_are_no_boards_are_not_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugged(monkeypatch, {"device": "/dev/ttyACM0", "vid": 0x2341, "pid": 0x43})
    monkeypatch.setattr(ports_probe, "probe", None)
    code, out, _ = run(capsys, "ports")
    assert (code, "not asked" in out) == (0, True)


def test_nothing_plugged_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plugged(monkeypatch)
    code, out, _ = run(capsys, "ports")
    assert code == 0
    assert "no USB serial port" in out
    assert run(capsys, "ports", "--json")[:2] == (0, '{"ports": []}\n')


@pytest.mark.usefixtures("quick")
def test_boards_without_micropython_and_ports_in_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        bare_chip(tmp_path / "one", "esp32s3", "240ac4000001") as one,
        bare_chip(tmp_path / "two", "esp32c6", "240ac4000002") as two,
        dumb_port(b"") as silent,
        dumb_port(b"+++ GPS\r\n") as garbage,
        held(two.port) as pid,
    ):
        names = [one.port, two.port, silent, garbage, "/dev/nowhere"]
        plugged(monkeypatch, *({"device": str(name), "vid": 0x303A, "pid": 0x1001} for name in names))
        code, out, _ = run(capsys, "ports", "--json")
        found = json.loads(out)["ports"]
        assert code == 0  # they were listed; nobody asked for one of them
        by_port = {one["device"]: one for one in found}
        assert [by_port[str(name)]["state"] for name in names] == [
            "loader",
            "busy",
            "silent",
            "garbage",
            "gone",
        ]
        first = by_port[str(one.port)]
        assert first["repl"] == "no_micropython"
        assert (first["chip"], first["mac"], first["flash_bytes"]) == ("esp32s3", "240ac4000001", 256 << 10)
        assert f"(pid {pid})" in by_port[str(two.port)]["detail"]
        assert "BOOT" in by_port[silent]["hint"]

        code, out, _ = run(capsys, "ports", "--port", one.port, "--port", two.port)
        assert code == 1
        lines = out.splitlines()
        assert lines[1].split()[:5] == [str(one.port), "esp32s3", "240ac4000001", "none", "?"]
        assert lines[2].split()[:2] == [str(two.port), "busy"]
        assert lines[4].startswith(f"{two.port} is ")
        assert f"(pid {pid})" in lines[4]


@pytest.mark.usefixtures("micropython")
def test_a_provisioned_board_tells_what_is_no_secret_and_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "server": "192.0.2.1",
        "port": 6969,
        "image": "sensor",
        "id": "kitchen",
        "wifi_ssid": "lab",
        "wifi_password": SECRET,
        "report_key": SECRET,
    }
    make_flash(tmp_path)
    program = MicroPythonProgram(tmp_path, "esp32", "240ac4123456")
    with SimChip(tmp_path, "esp32", mac="240ac4123456", program=program, pacing=False) as chip:
        port = str(chip.port)
        write = f"with open('gapcast.json', 'w') as f: f.write({json.dumps(settings)!r})"
        Mpremote(port).run([write])
        resets: list[str] = []
        reset = Mpremote.reset
        monkeypatch.setattr(Mpremote, "reset", lambda self: (resets.append(self.port), reset(self)))

        code, out, err = run(capsys, "ports", "--port", port)
        assert (code, err) == (0, "")
        line = out.splitlines()[1].split()
        assert line[:3] == [port, "?", "240ac4123456"]  # what runs here is MicroPython for "linux"
        assert line[4:8] == ["kitchen:", "sensor", "from", "192.0.2.1:6969"]
        code, plain, _ = run(capsys, "ports", "--port", port, "--json")
        found = json.loads(plain)["ports"][0]
        assert found["state"] == "micropython"
        assert found["micropython"].count(".") == 2
        assert found["settings"] == {name: settings[name] for name in ("id", "image", "server", "port")}
        assert SECRET not in out + plain

        assert resets == [port, port]  # else what was interrupted would not go on
        Mpremote(port).run(["with open('gapcast.json', 'w') as f: f.write('{')"])
        code, out, _ = run(capsys, "ports", "--port", port)
        assert code == 0
        assert "gapcast.json on the board is not JSON" in out


@pytest.mark.parametrize(
    ("machine", "chip"),
    [
        ("Generic ESP32 module with ESP32", "esp32"),
        ("Generic ESP32 module with OTA with ESP32", "esp32"),
        ("ESP32C3 module with ESP32C3", "esp32c3"),
        ("Generic ESP32S3 module with Octal-SPIRAM with ESP32-S3", "esp32s3"),
        ("linux [GCC 14.2.0] version", ""),
    ],
)
def test_the_chip_in_micropythons_name_of_the_machine(machine: str, chip: str) -> None:
    assert ports_probe.chip_of(machine) == chip


@pytest.mark.parametrize(
    ("reason", "shown"), [("old_micropython", "too old"), ("no_micropython", "none"), ("silent", "no answer")]
)
def test_why_micropython_was_not_to_be_talked_to(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reason: str,
    shown: str,
) -> None:
    def look(_tool: Mpremote) -> Look:
        raise PortFault(reason, "MicroPython 1.19.1 is older than 1.23")

    monkeypatch.setattr(ports_probe, "look", look)
    with bare_chip(tmp_path) as chip:
        code, out, _ = run(capsys, "ports", "--port", chip.port)
    assert code == 0
    assert f"240ac4000001  {shown}" in out
    assert ("is older than" in out) == (reason != "silent")


def test_ctrl_c_ends_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look = ports_probe.look
    monkeypatch.setattr(ports_probe, "REPL_FIRST_S", (600.0,))

    def interrupted(tool: Mpremote) -> Look:
        os.kill(os.getpid(), signal.SIGINT)
        return look(tool)

    monkeypatch.setattr(ports_probe, "look", interrupted)
    with dumb_port(b"") as port:
        code, out, err = run(capsys, "ports", "--port", port)
        assert (code, out) == (130, "")
        assert "interrupted" in err
        wait_until(lambda: holders(port) == [], "the port is free")


def test_who_has_a_port_open(tmp_path: Path) -> None:
    with dumb_port(b"") as port:
        assert holders(port) == []  # we have: that is no news
        link = tmp_path / "link"
        link.symlink_to(port)
        with held(port) as pid:
            (found,) = holders(str(link))
            assert found.endswith(f"(pid {pid})")
        assert holders(port) == []
    assert holders(port, proc=tmp_path) == []

"""`gapcast provision` when two want a port, when all is to go, and at what nobody foresaw."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gapcast_tools.boards.definition import load_board
from gapcast_tools.boards.firmware import Part, load_firmware
from gapcast_tools.provision.cli import choose_ports
from gapcast_tools.provision.job import Job, check_same
from gapcast_tools.provision.outcome import Outcome
from gapcast_tools.provision.plan import Network, Plan
from gapcast_tools.usb import look
from gapcast_tools.usb.claim import claimed
from gapcast_tools.usb.esptool import Esptool
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.keep import saved_folder
from gapcast_tools.usb.look import BoardRuntime
from gapcast_tools.usb.process import Stop
from provision.prov_bench import UPSTREAM_OTA, Bench, plugged, table
from provision.test_provision import get_files, put_files

OWN = {"/mine.txt": b"mine"}


def test_a_port_by_two_names_is_one_port(tmp_path: Path) -> None:
    real, other, link, circle = (tmp_path / name for name in ("tty", "tty2", "by-id", "circle"))
    real.touch()
    link.symlink_to(real)
    circle.symlink_to(circle)
    names = [str(path) for path in (link, other, real, link, circle)]
    assert choose_ports(names, all_ports=False) == [str(path) for path in (link, other, circle)]


def test_two_provisionings_do_not_share_a_port(tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(tmp_path / "tty")
    with claimed(str(tmp_path / "tty")):
        outcome = job(tmp_path / "by-id").run()
        assert (outcome.state, outcome.reason) == ("failed", "busy")
        with claimed(str(tmp_path / "other")):
            pass
    with claimed(str(tmp_path / "by-id")):
        pass


def test_a_fault_of_ours_is_one_boards_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_tool: Esptool) -> None:
        raise ValueError("geheim")

    monkeypatch.setattr(Esptool, "identify", broken)
    outcome = job(tmp_path / "tty").run()
    assert (outcome.state, outcome.reason) == ("failed", "failed")
    assert "ValueError in test_provision_reviewed.py" in outcome.message
    assert "geheim" not in outcome.message + outcome.hint


def test_a_board_that_was_swapped_is_noticed() -> None:
    def runtime(unique_id: str) -> BoardRuntime:
        return BoardRuntime((1, 25, 0), 0, "", unique_id, False)

    outcome = Outcome("tty", id="240ac4000001")
    for same in ("", "240ac4000001", "240ac4000001fffe"):
        check_same(runtime(same), outcome)
    with pytest.raises(PortFault, match="another board"):
        check_same(runtime("240ac4000002"), outcome)


def test_an_inventory_that_cannot_be_used_is_told_before_a_board_is_touched(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.state.write_text("no database")
    done = bench.provision(tmp_path / "tty")
    assert done.code == 2
    assert done.err.startswith("gapcast: ")
    assert "fleet.db" in done.err


@pytest.mark.usefixtures("micropython")
def test_another_firmware_that_was_written_and_not_marked_is_replaced(tmp_path: Path) -> None:
    """As by a run that ended before it came to gapcast.json: its mark still tells of the firmware before."""
    bench = Bench(tmp_path)
    other = bench.folder / "other.bin"
    bench.write_firmware(other, 80_000)
    firmware = load_firmware(other, load_board("ESP32_GENERIC"))
    otadata = firmware.table.otadata
    assert otadata is not None
    with plugged(bench.chip("c")) as (line,):
        assert bench.provision(line).code == 0
        blank = Part("otadata", otadata.offset, b"\xff" * otadata.size_bytes)
        Esptool(str(line)).write([blank, firmware.parts[2]], then_reset=True)
        again = bench.provision(line)
    assert (again.board["state"], again.board["changed"]) == ("provisioned", ["app"])


@pytest.mark.usefixtures("micropython")
def test_files_of_a_micropython_that_is_too_old_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system moves, and who has such a board is told to have it written anew."""
    bench = Bench(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", bench.environment()["XDG_STATE_HOME"])
    other = bench.folder / "upstream.bin"
    bench.write_firmware(other, 66_000, table(UPSTREAM_OTA))
    ours = load_firmware(bench.firmware, load_board("ESP32_GENERIC"))
    with plugged(bench.chip("c")) as (line,):
        assert bench.provision(line, firmware=other).code == 0
        put_files(bench, line, OWN)
        with monkeypatch.context() as patch:
            patch.setattr(look, "OLDEST", (99, 0, 0))
            plan = dataclasses.replace(job(line)._plan, firmware=ours, state=bench.state)
            outcome = Job(str(line), plan, lambda _what, _done, _total: None, Stop()).run()
        assert outcome.reason == "old_micropython"  # the simulated one is no newer than before
        again = bench.provision(line)
        assert again.code == 0, again
        assert get_files(bench, line, list(OWN)) == OWN


def test_names_that_no_image_has(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for name in ("", "a b", "x" * 101, "\u00e4"):
        done = bench.run(*bench.command(tmp_path / "tty"), "--image", name)
        assert done.code == 2
        assert "no name of an image" in done.err


@pytest.mark.usefixtures("micropython")
def test_erase_takes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the firmware is right already, and what an earlier run had saved."""
    bench = Bench(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", bench.environment()["XDG_STATE_HOME"])
    with plugged(bench.chip("c")) as (line,):
        mac = bench.provision(line).board["id"]
        put_files(bench, line, OWN)
        saved_folder(mac).mkdir(parents=True)
        again = bench.run(*bench.command(line), "--erase", "--json")
        assert again.board["state"] == "provisioned", again
        assert "app" in again.board["changed"]
        assert not saved_folder(mac).exists()
        with pytest.raises(Exception, match="returned non-zero"):
            get_files(bench, line, list(OWN))


def job(port: Path) -> Job:
    network = Network("lab", None, is_open=True)
    plan = Plan(load_board("ESP32_GENERIC"), None, "i", "h", 69, network, (), True, None)
    return Job(str(port), plan, lambda _what, _done, _total: None, Stop())

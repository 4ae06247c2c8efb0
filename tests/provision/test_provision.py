"""`gapcast provision`: from a bare chip to a member of the fleet, with the real esptool and mpremote."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import serial

from gapcast.fleet.store import Fleet
from gapcast_sim.chip.chip import SimChip
from gapcast_tools.boards.table import NVS, TABLE_OFFSET, parse_binary
from gapcast_tools.usb.mpremote import Mpremote
from provision.inst_world import USER_BOOT, USER_FILES
from provision.prov_bench import (
    ONE_SLOT,
    PASSWORD,
    UPSTREAM_OTA,
    Bench,
    Done,
    free_port,
    plugged,
    serving,
    table,
)

pytestmark = pytest.mark.usefixtures("micropython")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def assert_failed(done: Done, reason: str, *words: str) -> None:
    """The only board failed for that reason, in a sentence with those words, and with a hint."""
    assert done.code == 1
    board = done.board
    assert (board["state"], board["reason"]) == ("failed", reason), board
    assert all(word in board["message"] for word in words), board
    assert board["hint"]


def test_a_bare_chip_becomes_a_member_of_the_fleet(bench: Bench) -> None:
    """Provisioned, provisioned again, updated by multicast twice; and still as provision wants it."""
    port = free_port()
    with plugged(chip := bench.chip("c")) as (line,), watched_secrets() as seen:
        done = bench.provision(line, port=port)
        assert done.code == 0, done
        assert (done.board["state"], done.board["chip"]) == ("provisioned", "esp32")
        assert {"bootloader", "partition table", "app", "/gapcast.json", "inventory"} <= set(
            done.board["changed"]
        )
        mac = done.board["id"]
        assert_unchanged(bench, chip, port)
        assert PASSWORD.encode() in chip.flash  # it is where it belongs
        # Two updates: after the second one the slot that provision wrote holds another image.
        with serving(bench, port):
            for counter, version in ((1, "2.0.0"), (2, "3.0.0")):
                bench.offer(version, counter)
                chip.reset()
                bench.wait_for_state(mac, "confirmed", version)
        assert_unchanged(bench, chip, port)
    assert PASSWORD not in done.out + done.err
    assert not seen, seen


def assert_unchanged(bench: Bench, chip: SimChip, port: int) -> None:
    """One more provisioning changes not one byte, but for what the board itself writes into its NVS."""
    mpremote(chip.port, "exec", "pass")  # it stands still
    before = without_nvs(chip.flash)
    again = bench.provision(chip.port, port=port)
    assert (again.board["state"], again.board["changed"]) == ("unchanged", [])
    assert PASSWORD not in again.out + again.err
    assert without_nvs(chip.flash) == before


def without_nvs(flash: bytes) -> bytes:
    nvs = parse_binary(flash[TABLE_OFFSET:]).data(NVS)
    assert nvs is not None
    return flash[: nvs.offset] + flash[nvs.end :]


def test_files_are_kept_when_the_file_system_moves(bench: Bench) -> None:
    """From MicroPython's own table with two slots to ours: main.py and all else comes back, boot.py too."""
    other = bench.folder / "upstream.bin"
    bench.write_firmware(other, 66_000, table(UPSTREAM_OTA))
    with plugged(chip := bench.chip("c")) as (line,):
        assert bench.provision(line, firmware=other).code == 0
        assert bench.run("unprovision", "--port", str(line), "--state", str(bench.state)).code == 0
        files = {**USER_FILES, "/boot.py": USER_BOOT}
        put_files(bench, line, files)
        old_table = chip.flash[TABLE_OFFSET : TABLE_OFFSET + 0xC00]
        done = bench.provision(line)
        assert done.code == 0, done
        assert set(USER_FILES) <= set(done.board["changed"])
        assert chip.flash[TABLE_OFFSET : TABLE_OFFSET + 0xC00] != old_table
        found = get_files(bench, line, list(files))
    assert found.pop("/boot.py").endswith(USER_BOOT)
    assert found == USER_FILES
    assert not (bench.folder / "gapcast" / "provision" / done.board["id"]).exists()


def test_app_only_keeps_the_firmware(bench: Bench) -> None:
    other = bench.folder / "upstream.bin"
    bench.write_firmware(other, 66_000, table(UPSTREAM_OTA))
    with plugged(chip := bench.chip("c")) as (line,):
        assert bench.provision(line, firmware=other).code == 0
        before = chip.flash[:0x9000]
        assert bench.run("unprovision", "--port", str(line), "--state", str(bench.state)).code == 0
        done = bench.run(*app_only(bench, line), "--json")
        assert done.code == 0, done
        assert chip.flash[:0x9000] == before
    changed = done.board["changed"]
    assert "/gapcast.json" in changed
    assert "app" not in changed


def test_what_cannot_be_is_refused_before_anything_is_erased(bench: Bench) -> None:
    with plugged(chip := bench.chip("c"), small := bench.chip("s", flash_bytes=2 << 20)) as (
        line,
        small_line,
    ):
        blank, small_blank = chip.flash, small.flash
        s3 = bench.folder / "s3.bin"
        made = bench.run(
            *("image", "sample", "--merged", "--board", "ESP32_GENERIC_S3", "--size", "64k"),
            *("--version", "1.0", "-o", str(s3)),
        )
        assert made.code == 0, made
        wrong = bench.provision(line, firmware=s3, board="ESP32_GENERIC_S3")
        assert_failed(wrong, "wrong_chip", "esp32", "esp32s3")
        assert_failed(bench.provision(small_line), "small_flash", "2 MiB", "4 MiB")
        bare = bench.run(*app_only(bench, line), "--json")
        assert_failed(bare, "no_slots", "two slots")
        assert (chip.flash, small.flash) == (blank, small_blank)


def test_files_that_are_no_firmware_are_refused_without_a_board(bench: Bench) -> None:
    line = bench.folder / "no-such-port"
    merged = bench.firmware.read_bytes()
    files = {
        "app.bin": (merged[0x10000 - 0x1000 :], "application"),
        "noise.bin": (os.urandom(5000), ""),
        "cut.bin": (merged[: len(merged) - 5000], ""),
        "empty.bin": (b"", ""),
    }
    for name, (data, word) in files.items():
        (bench.folder / name).write_bytes(data)
        done = bench.run(*bench.command(line, firmware=bench.folder / name))
        assert done.code == 2, name
        assert done.err.startswith("gapcast: ")
        assert word in done.err
    bench.write_firmware(bench.folder / "factory.bin", 66_000, table(ONE_SLOT))
    done = bench.run(*bench.command(line, firmware=bench.folder / "factory.bin"))
    assert done.code == 2
    assert "slot" in done.err


def test_one_bad_board_stops_no_other(bench: Bench) -> None:
    """A port that is not there, one where nothing answers, one that is in use; and a good one."""
    dead, slave = os.openpty()
    missing = bench.folder / "missing"
    try:
        with plugged(bench.chip("good"), bench.chip("busy")) as (good, busy), held(busy):
            done = bench.provision(missing, Path(os.ttyname(slave)), busy, good)
    finally:
        os.close(dead)
        os.close(slave)
    assert done.code == 1
    reasons = [board["reason"] for board in done.boards]
    assert reasons == ["gone", "silent", "busy", ""], done.boards
    assert [board["state"] for board in done.boards] == ["failed"] * 3 + ["provisioned"]
    with Fleet(bench.state) as fleet:
        assert [board.id for board in fleet.boards()] == [done.boards[3]["id"]]


def test_the_table_says_what_to_do(bench: Bench) -> None:
    done = bench.run(*bench.command(bench.folder / "missing"))
    assert done.code == 1
    assert "0 of 1 boards are ready" in done.out
    assert "is not there" in done.out
    assert "gapcast ports" in done.out


# ---- helpers ----


def app_only(bench: Bench, line: Path) -> list[str]:
    words = bench.command(line)
    at = words.index("--firmware")
    return [*words[:at], "--app-only", *words[at + 2 :]]


def put_files(bench: Bench, line: Path, files: dict[str, bytes]) -> None:
    """By mpremote itself."""
    folders = {path.rsplit("/", 1)[0] for path in files} - {""}
    words = [word for folder in folders for word in ("+", "fs", "mkdir", f":{folder}")]
    for number, (path, data) in enumerate(files.items()):
        source = bench.folder / f"put-{number}"
        source.write_bytes(data)
        words += ["+", "fs", "cp", "-f", str(source), f":{path}"]
    mpremote(line, *words)


def get_files(bench: Bench, line: Path, paths: list[str]) -> dict[str, bytes]:
    """By mpremote itself."""
    targets = {path: bench.folder / f"got-{number}" for number, path in enumerate(paths)}
    mpremote(line, *(w for path, to in targets.items() for w in ("+", "fs", "cp", f":{path}", str(to))))
    return {path: target.read_bytes() for path, target in targets.items()}


def mpremote(line: Path, *words: str) -> None:
    Mpremote(str(line)).run([])  # a board that has just been reset does not hear Ctrl-C yet: this asks again
    command = [sys.executable, "-m", "mpremote", "connect", str(line), "resume", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def held(line: Path) -> Iterator[None]:
    """Another program has that port open, as programs of pyserial have."""
    with serial.Serial(str(line), exclusive=True):
        yield


@contextmanager
def watched_secrets() -> Iterator[list[str]]:
    """What shows the Wi-Fi password in a command line or an environment, of any process, while this runs."""
    seen: list[str] = []
    over = threading.Event()
    secret = PASSWORD.encode()

    def watch() -> None:
        while not over.wait(0.01):
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    for file in ("cmdline", "environ"):
                        with suppress(OSError):
                            if secret in (process / file).read_bytes():
                                seen.append(f"{process.name} {file}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()

"""Power cuts, NVS, Wi-Fi and the boot loader of a simulated board, in this process (boards/SIM)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boot_world import CHIP, SECTOR, World, open_world

from gapcast.image.sample import build_sample

SIZE = 4 * SECTOR


@pytest.fixture
def power(world: World) -> Any:
    return importlib.import_module("sim_power")


@pytest.fixture
def nor(world: World, power: Any, tmp_path: Path) -> Iterator[Any]:
    nor = world.flash_file.NorFile(str(tmp_path / "nor.bin"), SIZE)
    nor.program(0, b"\0" * SIZE)
    power.reset()
    yield nor
    nor._file.close()


def read(nor: Any, offset: int, size: int) -> bytes:
    data = bytearray(size)
    nor.read(offset, data)
    return bytes(data)


# -- power ----------------------------------------------------------------------------------------


def test_every_change_of_flash_is_an_operation(world: World, power: Any) -> None:
    power.reset(keep_log=True)
    slot = world.esp32.Partition("ota_1")
    slot.ioctl(6, 0)
    slot.writeblocks(0, b"x", 3)
    slot.writeblocks(0, b"y" * 2 * SECTOR)
    slot.readblocks(0, bytearray(9))
    world.ota.write_entry(world.nor("otadata"), 0, 1, world.ota.VALID)
    store = world.esp32.NVS("gapcast")
    store.set_i32("n", 5)
    store.set_i32("n", 5)  # the same value costs nothing
    store.commit()
    store.set_blob("b", b"z")
    store.erase_key("n")
    assert power.log == [
        "erase ota_1", "program ota_1", "erase ota_1", "erase ota_1", "program ota_1",
        "erase otadata", "program otadata", "nvs gapcast.n", "nvs gapcast.b", "nvs gapcast.n",
    ]  # fmt: skip
    assert power.ops == len(power.log)
    assert power.slot_bytes == 1 + 2 * SECTOR


@pytest.mark.parametrize("half", [False, True])
def test_an_erase_that_is_cut(nor: Any, power: Any, half: bool) -> None:
    power.reset(2, half)
    nor.erase(0)
    with pytest.raises(power.PowerCut):
        nor.erase(2)
    done = SECTOR // 2 if half else 0
    assert read(nor, 2 * SECTOR, SECTOR) == b"\xff" * done + b"\0" * (SECTOR - done)
    assert read(nor, 0, SECTOR) == b"\xff" * SECTOR


@pytest.mark.parametrize("half", [False, True])
def test_a_program_that_is_cut(nor: Any, power: Any, half: bool) -> None:
    nor.erase(1)
    power.reset(1, half)
    with pytest.raises(power.PowerCut):
        nor.program(SECTOR, b"\x11" * 1024)
    done = 512 if half else 0
    assert read(nor, SECTOR, 1024) == b"\x11" * done + b"\xff" * (1024 - done)


def test_without_power_nothing_happens_any_more(world: World, nor: Any, power: Any) -> None:
    power.reset(1)
    store = world.esp32.NVS("gapcast")
    for change in (
        lambda: nor.erase(0),
        lambda: nor.program(0, b"\1"),
        lambda: store.set_i32("n", 1),
        store.commit,
    ):
        with pytest.raises(power.PowerCut):
            change()
    assert read(nor, 0, SIZE) == b"\0" * SIZE
    power.reset()
    with pytest.raises(OSError, match="NOT_FOUND"):
        store.get_i32("n")


def test_a_power_cut_is_no_exception_that_anyone_catches(power: Any) -> None:
    assert not issubclass(power.PowerCut, Exception)


@pytest.mark.parametrize("half", [False, True])
def test_a_value_in_nvs_changes_as_a_whole(world: World, power: Any, half: bool) -> None:
    store = world.esp32.NVS("gapcast")
    store.set_blob("trial", b"old")
    power.reset(1, half)
    with pytest.raises(power.PowerCut):
        store.set_blob("trial", b"newer")
    power.reset()
    world.power_on()
    room = bytearray(9)
    length = store.get_blob("trial", room)
    assert room[:length] == (b"newer" if half else b"old")


def test_another_world_sees_what_was_on_flash(
    world: World, power: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = world.esp32.Partition("ota_1")
    world.esp32.NVS("gapcast").set_i32("n", -7)
    power.reset(2, True)
    slot.writeblocks(0, b"\1" * 100, 0)
    with pytest.raises(power.PowerCut):
        slot.writeblocks(1, b"\2" * 100, 0)
    for again in open_world(tmp_path, monkeypatch):
        assert again.esp32.NVS("gapcast").get_i32("n") == -7
        assert (
            again.read("ota_1", SECTOR + 51) == b"\1" * 100 + b"\xff" * (SECTOR - 100) + b"\2" * 50 + b"\xff"
        )


def test_the_boot_loader_can_lose_its_power_too(world: World, power: Any) -> None:
    image = build_sample(8192, "1", CHIP)
    for label in ("ota_0", "ota_1"):
        world.program(label, image)
    otadata = world.nor("otadata")
    world.ota.write_entry(otadata, 0, 1, world.ota.VALID)
    world.ota.set_boot(otadata, 1)
    assert world.power_on() == 1
    for operation, slot in ((1, 0), (2, 0)):  # marking it ABORTED: an erase, then a program
        power.reset(operation)
        with pytest.raises(power.PowerCut):
            world.power_on()
        power.reset()
        assert world.power_on() == slot
        world.ota.set_boot(otadata, 1)
        assert world.power_on() == 1


# -- the boot loader ------------------------------------------------------------------------------


def test_blank_otadata_is_filled_in(world: World) -> None:
    """set_actual_ota_seq in ESP-IDF's bootloader_utility.c: there is no factory application."""
    world.program("ota_0", build_sample(8192, "1", CHIP))
    assert world.power_on() == 0
    assert world.ota.read_entry(world.nor("otadata"), 0) == (1, world.ota.VALID)
    assert world.ota.read_entry(world.nor("otadata"), 1) is None


def test_a_slot_that_does_not_verify_is_passed_over(world: World) -> None:
    good = build_sample(8192, "1", CHIP)
    world.program("ota_0", good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    world.program("ota_1", good)
    assert world.power_on() == 1
    assert world.ota.read_entry(world.nor("otadata"), 0) == (2, world.ota.VALID)


def test_an_empty_flash_boots_what_otadata_names(world: World) -> None:
    assert world.power_on() == 0
    assert world.ota.active(world.nor("otadata")) is None


# -- NVS ------------------------------------------------------------------------------------------


@pytest.fixture
def store(world: World) -> Any:
    return world.esp32.NVS("gapcast")


def error_of(function: Any, *arguments: Any) -> int:
    with pytest.raises(OSError, match="ESP_ERR_NVS") as caught:
        function(*arguments)
    return int(caught.value.args[0])


def test_what_nvs_refuses(world: World, store: Any) -> None:
    store.set_i32("n", 1)
    store.set_blob("b", b"12345")
    assert error_of(store.get_i32, "none") == -0x1102
    assert error_of(store.erase_key, "none") == -0x1102
    assert error_of(store.get_blob, "n", bytearray(9)) == -0x1103
    assert error_of(store.set_i32, "b", 1) == -0x1103
    assert error_of(store.get_blob, "b", bytearray(4)) == -0x110C
    assert error_of(store.set_i32, "a" * 16, 1) == -0x1109
    assert error_of(store.get_i32, "") == -0x1106
    assert error_of(world.esp32.NVS, "a" * 16) == -0x1106
    for value in (1 << 31, -(1 << 31) - 1):
        with pytest.raises(OverflowError):
            store.set_i32("n", value)
    assert store.get_i32("n") == 1


def test_the_ends_of_an_i32(store: Any) -> None:
    for value in ((1 << 31) - 1, -(1 << 31)):
        store.set_i32("a" * 15, value)
        assert store.get_i32("a" * 15) == value


def test_a_blob_leaves_the_rest_of_the_buffer_alone(store: Any) -> None:
    store.set_blob("b", bytearray(b"abc"))
    room = bytearray(b"xxxxx")
    assert (store.get_blob("b", room), room) == (3, b"abcxx")


def test_namespaces_are_apart(world: World, store: Any) -> None:
    store.set_i32("n", 1)
    world.esp32.NVS("other").set_i32("n", 2)
    assert store.get_i32("n") == 1


def test_nvs_is_small(store: Any) -> None:
    for number in range(5):
        store.set_blob(f"b{number}", bytes(2000))
    assert error_of(store.set_blob, "b5", bytes(3000)) == -0x1105
    store.erase_key("b0")
    store.set_blob("b5", bytes(3000))


# -- timers of a test -----------------------------------------------------------------------------


def test_timers_here_go_off_when_told_to(world: World) -> None:
    machine = world.modules["machine"]
    timers: Any = importlib.import_module("sim_timer")
    seen: list[Any] = []
    timer = machine.Timer(0)  # type: ignore[attr-defined]
    timer.init(mode=timer.ONE_SHOT, period=1, callback=seen.append)
    assert timers.armed()
    timers.fire()
    timers.fire()
    assert seen == [timer]
    assert not timers.armed()
    for number in (-1, 4):
        with pytest.raises(ValueError, match="Timer number"):
            machine.Timer(number)  # type: ignore[attr-defined]
    for arguments in ({"id": 1}, {"timeout": 0}):
        with pytest.raises(ValueError):  # noqa: PT011 - an ESP32 gives it no text either
            machine.WDT(**arguments)  # type: ignore[attr-defined]


def test_reset_is_an_exit_code_here_and_its_cause_comes_from_the_launcher(world: World) -> None:
    machine: Any = world.modules["machine"]
    with pytest.raises(SystemExit) as caught:
        machine.reset()
    assert caught.value.code == 3
    assert machine.reset_cause() == machine.PWRON_RESET == 1
    world.settings["reset_cause"] = machine.WDT_RESET
    assert machine.reset_cause() == 3
    assert (machine.HARD_RESET, machine.DEEPSLEEP_RESET, machine.SOFT_RESET) == (2, 4, 5)


# -- Wi-Fi ----------------------------------------------------------------------------------------


@pytest.fixture
def network(world: World) -> Any:
    return importlib.import_module("network")


def station(network: Any) -> Any:
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    return wlan


def test_whoever_asks_gets_the_same_station(network: Any) -> None:
    wlan = station(network)
    assert (wlan.status(), wlan.isconnected()) == (network.STAT_IDLE, False)
    wlan.connect("x", "y")
    other = network.WLAN()
    assert other.active()
    assert other.isconnected()
    assert other.status() == network.STAT_GOT_IP
    other.disconnect()
    assert not wlan.isconnected()
    wlan.connect("x", "y")
    wlan.active(False)
    assert not wlan.isconnected()
    assert wlan.ifconfig()[0] == "0.0.0.0"


@pytest.mark.parametrize(("fault", "reason"), [("missing", 201), ("wrong_password", 202), ("no_dhcp", 1000)])
def test_a_station_that_cannot_connect_tries_for_ever(
    network: Any, world: World, fault: str, reason: int
) -> None:
    world.settings["wifi"] = fault
    wlan = station(network)
    wlan.connect("x", "y")
    assert (wlan.isconnected(), wlan.status()) == (False, network.STAT_CONNECTING)
    with pytest.raises(OSError, match="Wifi Internal Error"):
        wlan.connect("x", "y")
    wlan.disconnect()
    assert wlan.status() == reason
    wlan.connect("x", "y")


def test_what_needs_an_active_station(network: Any) -> None:
    for call in (network.WLAN().connect, network.WLAN().disconnect):
        with pytest.raises(OSError, match="Not Started"):
            call()
    with pytest.raises(ValueError, match="interface"):
        network.WLAN(network.AP_IF)

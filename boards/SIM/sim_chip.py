"""A chip with one flash file, from power-on to its REPL: what esptool and mpremote find on a serial port.

Started as `micropython -m sim_chip ROM FOLDER`: ROM as for sim_rom.py, without the client, which is on the
chip's own file system. FOLDER has sim.json (see sim_world.py) with the chip's `flash`, a file, and
`partitions`, its table. Exit codes as of sim_main.py. A soft reset starts the same process anew, with two
more arguments: "raw" or "friendly", and the label of the running slot.
"""

import gc
import os
import sys

import sim_map
import vfs

import __main__

_ROM = "/gapcast-rom"
_PATH = ["", ".frozen", "/lib"]  # sys.path of ports/esp32
_SOFT_RESET = 5
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_SIGUSR1 = 10
_IGNORE = 1


def _mount_rom(path):
    with open(path, "rb") as file:
        vfs.mount(vfs.VfsRom(sim_map.open_view(file, os.stat(path)[6])), _ROM)
    sys.path[:] = [_ROM, ".frozen"]
    del sys.modules["sim_map"]  # this one is in the heap


def main(folder, mode="friendly", running=None):
    with open("/proc/self/cmdline", "rb") as file:
        command = file.read().split(b"\0")[:-1]
    if running is not None:
        command = command[:-2]
    os.chdir(folder)
    _forget_names()
    console = _plug_in(running)
    import esp32
    import sim_inisetup
    import sim_repl

    slot = _choose(esp32, running)
    running = esp32.Partition(esp32.Partition.RUNNING).info()[4]
    if not sim_inisetup.mount_root(_ROM):
        sim_repl.guard(console, sim_inisetup.complain)
    sys.path[:] = _PATH
    gc.collect()
    raw = _run(console, slot, mode == "raw")
    _forget_names()  # which closes files
    console.write("MPY: soft reboot\n")
    _execute(command + [b"raw" if raw else b"friendly", running.encode()])


def _forget_names():
    """The REPL has none of its own."""
    __main__.__dict__.clear()
    __main__.__name__ = "__main__"
    gc.collect()


def _plug_in(running):
    """The hardware in place of the PC's; everything that comes from the ROM is loaded here."""
    import sim_exit
    import sim_power
    import sim_world

    sim_world.load(".")
    settings = sim_world.settings
    sim_exit.launched = True
    _die_with(settings["parent"])
    sim_power.reset(settings["cut_at"], settings["cut_half"])
    if running is not None:
        settings["reset_cause"] = _SOFT_RESET
    import random

    import sim_console
    import sim_facade
    import sim_flashfile
    import sim_nvs
    import sim_nvsflash
    import sim_ota
    import sim_select
    import sim_socket

    random.seed(settings["seed"])
    console = sim_console.Console()
    flash = sim_flashfile.map_flash(settings["flash"])
    import esp32
    import machine  # noqa: F401 - for the chip's own code
    import network  # noqa: F401
    import sim_app  # noqa: F401
    import sim_friendly  # noqa: F401
    import sim_inisetup  # noqa: F401

    sim_ota.chip_id = settings["chip_id"]
    esp32._table = settings["partitions"]
    for label, _type, _subtype, address, size_bytes in esp32._table:
        esp32._nor[label] = sim_flashfile.FlashPart(flash + address, size_bytes, label)
    if "otadata" not in esp32._nor:
        esp32._nor["otadata"] = sim_flashfile.no_otadata()
    if esp32.Partition.find(esp32.Partition.TYPE_DATA, label="nvs"):
        sim_nvs.store = sim_nvsflash.Store(esp32._open("nvs"))
    sys.modules["socket"] = sim_socket
    sys.modules["select"] = sim_select
    sim_facade.install(settings["chip"], console)
    return console


def _die_with(parent):
    """The kernel ends this process when `parent` dies, whatever runs here then."""
    import sim_exit

    sim_exit.host().func("i", "prctl", "iL")(_PR_SET_PDEATHSIG, _SIGKILL)
    if sim_exit.host().func("i", "getppid", "")() != parent:  # it has died before
        sim_exit.leave(0)


def _choose(esp32, running):
    """What the boot loader does; the slot that runs."""
    if running is not None:
        if running.startswith("ota_"):
            esp32._running_slot = int(running[-1])
        else:
            esp32._only = running
        return esp32._running_slot
    slot = 0
    esp32._only = _without_choice(esp32)
    if esp32._only is None:
        slot = esp32.sim_power_on()
    import sim_ota

    if sim_ota.image_fault(esp32.Partition(esp32.Partition.RUNNING)._nor) is not None:
        import time

        print("E (30) boot: No bootable app partitions in the partition table")
        while True:
            time.sleep(3600)
    return slot


def _without_choice(esp32):
    """The label of the first application, when that boots whatever otadata says; else None."""
    import sim_ota

    labels = [entry[0] for entry in esp32._table]
    first = next(entry[0] for entry in esp32._table if entry[1] == esp32.Partition.TYPE_APP)
    if "ota_0" not in labels or "ota_1" not in labels or "otadata" not in labels:
        return first
    return first if first == "factory" and sim_ota.active(esp32._open("otadata")) is None else None


def _run(console, slot, raw):
    """Everything between two resets, as ports/esp32/main.c. True: the next one begins in the raw REPL."""
    import sim_friendly
    import sim_repl

    result = sim_repl.run_file(console, "boot.py")
    if result != sim_repl.EXIT and not raw and result == sim_repl.OK:
        result = sim_repl.run_file(console, "main.py")
        if result == sim_repl.OK:
            result = sim_repl.guard(console, lambda: _application(slot))
    while result != sim_repl.EXIT:
        result = sim_repl.raw_repl(console) if raw else sim_friendly.friendly_repl(console)
        if result != sim_repl.EXIT:
            raw = not raw
    return raw


class _Reporter:
    """What an application says of itself, as a line on the serial port."""

    heap_peak_bytes = 0

    def emit(self, event, **fields):
        import json

        fields["event"] = event
        print(json.dumps(fields))


def _application(slot):
    """The one that the running slot holds; firmware without is MicroPython alone."""
    import esp32
    import sim_app

    try:
        sim_app.start(esp32.Partition(esp32.Partition.RUNNING), sim_app.Board(_Reporter(), slot))
    except sim_app.NoApplicationError:
        pass


def _execute(command):
    """This process begins anew: its heap, its threads; what it was given stays."""
    import struct

    import sim_exit
    import sim_timer
    import uctypes

    sim_timer.stop_all()
    sim_exit.host().func("p", "signal", "ip")(
        _SIGUSR1, _IGNORE
    )  # a timer's last call must not end the new one
    keep = [word + b"\0" for word in command]
    places = struct.pack("@%dP" % (len(keep) + 1), *([uctypes.addressof(word) for word in keep] + [0]))
    sim_exit.host().func("i", "execv", "sp")(command[0].decode(), places)
    sim_exit.leave(1)


if __name__ == "__main__":
    _mount_rom(sys.argv[1])
    sys.modules.pop("sim_chip", None)
    import sim_chip  # the same, from the ROM: this one's names are those of the REPL

    sim_chip.main(*sys.argv[2:])

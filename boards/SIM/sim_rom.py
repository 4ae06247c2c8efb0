"""Power-on with the firmware in ROM, as on a board: its bytecode stays where it is, outside the heap.

Started as `micropython -m sim_rom IMAGE FOLDER`, with this file alone taken from a folder. IMAGE is a ROMFS
of the compiled firmware: from memory that is mapped, imports run in place. With FOLDER "" it is only
tried whether this MicroPython can do that. A third argument is a folder that the client is loaded from, into
the heap, as from a board's file system; IMAGE then holds only what plays the hardware.
"""

import gc
import os
import sys

import ffi
import uctypes
import vfs

ROM = "/gapcast-rom"
PROT_READ = 1
MAP_PRIVATE = 2
MAP_FAILED = -1
# Running, imports the client, is not used; and what only a chip with one flash file has (sim_chip.py).
_UNLEARNT = ("sim_rom", "sim_report", "gapcast_core.fec_plain", "sim_chip", "sim_console", "sim_facade")
_UNLEARNT += ("sim_sha", "sim_flashfile", "sim_friendly", "sim_inisetup", "sim_nvsflash", "sim_repl")


def mount(path):
    """The ROM instead of everything else: what is not in it is missing, and not loaded from a file unseen."""
    size = os.stat(path)[6]
    mmap = ffi.open(None).func("p", "mmap", "pLiiil")
    with open(path, "rb") as file:
        address = mmap(None, size, PROT_READ, MAP_PRIVATE, file.fileno(), 0)
    if address == MAP_FAILED:
        raise OSError("the ROM image cannot be mapped")
    vfs.mount(vfs.VfsRom(uctypes.bytearray_at(address, size)), ROM)
    sys.path[:] = [ROM] + sys.argv[3:] + [".frozen"]


def learn_names(root, package=""):
    """Import each module once, and forget it: the names in it stay.

    A frozen module's names are in flash too. Here they are in the heap, in tables each twice as long as the
    one before; grown in the middle of an update the last one, of 9 KB, would lie across what is free.
    """
    for name in os.listdir(root):
        if name.endswith(".mpy"):
            module = package + name[:-4]
            if module not in _UNLEARNT:
                __import__(module)
        elif package == "":
            learn_names(root + "/" + name, name + ".")
        for loaded in list(sys.modules):
            if loaded != "sim_rom":
                del sys.modules[loaded]
        gc.collect()


mount(sys.argv[1])
learn_names(ROM)
import sim_main  # noqa: E402 - from the ROM

if "".join(sys.argv[2:3]):
    sim_main.main(sys.argv[2])

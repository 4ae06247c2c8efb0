"""A chip's file system: LittleFS on its vfs partition, made at the first boot. MicroPython only.

As _boot.py and inisetup.py of ports/esp32 do: a partition that is neither a file system nor blank is left
alone, and complained about.
"""

import time

import esp32
import vfs

BOOT_PY = """\
# This file is executed on every boot (including wake-boot from deepsleep)
#import esp
#esp.osdebug(None)
#import webrepl
#webrepl.start()
"""
_CORRUPTED = """\
The filesystem appears to be corrupted. If you had important data there, you
may want to make a flash snapshot to try to recover it. Otherwise, perform
factory reprogramming of MicroPython firmware (completely erase flash, followed
by firmware programming).
"""
_COMPLAIN_S = 3


def mount_root(rom):
    """Mount the chip's file system in place of everything else. False when it is corrupted.

    rom: where the ROM is mounted; what was imported from it goes on running where it is.
    """
    vfs.umount(rom)
    vfs.umount("/")
    found = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="vfs")
    if not found:
        return True  # MicroPython runs without
    try:
        vfs.mount(found[0], "/")
    except OSError:
        if not _is_blank(found[0]):
            return False
        _format(found[0])
    return True


def _is_blank(partition):
    sector = bytearray(partition.ioctl(5, 0))
    partition.readblocks(0, sector)
    return sector == b"\xff" * len(sector)


def _format(partition):
    print("Performing initial setup")
    vfs.VfsLfs2.mkfs(partition)
    vfs.mount(vfs.VfsLfs2(partition), "/")
    with open("boot.py", "w") as file:
        file.write(BOOT_PY)


def complain():
    """Never returns: Ctrl-C ends it."""
    while True:
        print(_CORRUPTED)
        time.sleep(_COMPLAIN_S)

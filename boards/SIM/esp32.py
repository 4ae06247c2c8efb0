"""The part of MicroPython's `esp32` module that an OTA client uses, over simulated flash.

Semantics as in ports/esp32/esp32_partition.c: the 2-argument writeblocks erases and wants whole
sectors, the 3-argument one only programs; errors are OSError(-esp_err).
"""

import sim_nvs
import sim_ota
import sim_timer
import sim_world
from sim_flash import ESP_ERR_INVALID_SIZE, SECTOR_BYTES, NorFile
from sim_nvs import NVS  # noqa: F401 - esp32.NVS

_ESP_ERR_INVALID_ARG = 0x102
_ESP_ERR_OTA_VALIDATE_FAILED = 0x1503
_ENOENT = 2
_OTADATA_BYTES = 2 * SECTOR_BYTES
_SUBTYPE_OTA_0 = 0x10

_nor = {}
_table = (
    None  # of a chip with one flash: label, type, subtype, address, bytes of each partition (sim_chip.py)
)
_only = None  # the label of the application that such a chip runs when it has no choice
_running_slot = 0


def sim_power_on():
    """The boot loader's choice; called once, before the firmware runs. Returns the slot."""
    global _running_slot
    sim_nvs.forget()
    sim_timer.stop_all()
    _running_slot = sim_ota.select_slot(_open("otadata"), (_open("ota_0"), _open("ota_1")))
    return _running_slot


def _open(label):
    if label not in _nor:
        size_bytes = _OTADATA_BYTES if label == "otadata" else sim_world.settings["slot_bytes"]
        _nor[label] = NorFile(sim_world.folder + "/" + label + ".bin", size_bytes)
    return _nor[label]


def _partitions():
    if _table is not None:
        return _table
    size_bytes = sim_world.settings["slot_bytes"]
    return [
        ("ota_%d" % slot, 0, _SUBTYPE_OTA_0 + slot, 0x10000 + slot * size_bytes, size_bytes)
        for slot in (0, 1)
    ]


def _boot_label():
    entry = sim_ota.active(_open("otadata"))
    return _only or "ota_0" if entry is None else "ota_%d" % ((entry[1] - 1) % 2)


class Partition:
    """One partition; on a board whose flash is a file a slot, an application slot."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, which, block_size=SECTOR_BYTES):
        if which == self.RUNNING:
            which = _only or "ota_%d" % _running_slot
        elif which == self.BOOT:
            which = _boot_label()
        for entry in _partitions():
            if entry[0] == which:
                self._entry = entry
                self._nor = _open(which)
                self._block_size = block_size
                return
        raise OSError(_ENOENT, "ENOENT")

    @classmethod
    def find(cls, type=TYPE_APP, subtype=0xFF, label=None, block_size=SECTOR_BYTES):
        found = []
        for entry in _partitions():
            if entry[1] == type and subtype in (0xFF, entry[2]) and label in (None, entry[0]):
                found.append(cls(entry[0], block_size))
        return found

    @staticmethod
    def mark_app_valid_cancel_rollback():
        if not sim_ota.mark_valid(_open("otadata")):
            raise OSError(-261, "ESP_ERR_NOT_FOUND")

    def info(self):
        label, kind, subtype, address, _size_bytes = self._entry
        return (kind, subtype, address, self._nor.size_bytes, label, False)

    def readblocks(self, block, buf, offset=0):
        self._nor.read(block * self._block_size + offset, buf)

    def writeblocks(self, block, buf, offset=None):
        if offset is None:
            self._erase(block, buf)
            offset = 0
        self._nor.program(block * self._block_size + offset, buf)

    def _erase(self, block, buf):
        if len(buf) % SECTOR_BYTES:
            raise OSError(-ESP_ERR_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
        at = self._at(block, 0, len(buf))
        if at % SECTOR_BYTES:
            raise OSError(-_ESP_ERR_INVALID_ARG, "ESP_ERR_INVALID_ARG")
        for sector in range(at // SECTOR_BYTES, (at + len(buf)) // SECTOR_BYTES):
            self._nor.erase(sector)

    def ioctl(self, command, argument):
        if command == 4:
            return self._nor.size_bytes // self._block_size
        if command == 5:
            return self._block_size
        if command == 6:
            if self._block_size != SECTOR_BYTES:
                return -22
            self._at(argument, 0, SECTOR_BYTES)
            self._nor.erase(argument)
            return 0
        return None

    def get_next_update(self):
        return Partition("ota_0" if _only else "ota_%d" % (1 - _running_slot))

    def set_boot(self):
        if self._entry[2] < _SUBTYPE_OTA_0 or sim_ota.image_fault(self._nor):
            raise OSError(-_ESP_ERR_OTA_VALIDATE_FAILED, "ESP_ERR_OTA_VALIDATE_FAILED")
        sim_ota.set_boot(_open("otadata"), self._entry[2] - _SUBTYPE_OTA_0)

    def _at(self, block, offset, length):
        at = block * self._block_size + offset
        self._nor.check(at, length)
        return at

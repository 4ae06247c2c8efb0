"""The part of MicroPython's `esp32` module that an OTA client uses, over simulated flash.

Semantics as in ports/esp32/esp32_partition.c: the 2-argument writeblocks erases and wants whole
sectors, the 3-argument one only programs; errors are OSError(-esp_err).
"""

import sim_nvs
import sim_ota
import sim_timer
import sim_world
from sim_flash import SECTOR_BYTES, NorFile
from sim_nvs import NVS  # noqa: F401 - esp32.NVS

_ESP_ERR_INVALID_ARG = 0x102
_ESP_ERR_INVALID_SIZE = 0x104
_ESP_ERR_OTA_VALIDATE_FAILED = 0x1503
_ENOENT = 2
_OTADATA_BYTES = 2 * SECTOR_BYTES
_SUBTYPE_OTA_0 = 0x10

_nor = {}
_table = None  # of a chip with one flash: its partitions, as _partitions() gives them
_open_part = None  # and what opens one of them
_running = "ota_0"


def sim_table(partitions, open_part):
    """A chip's own partition table, (label, type, subtype, address, bytes) of each; and what opens one."""
    global _table, _open_part
    _table = partitions
    _open_part = open_part


def sim_power_on():
    """The boot loader's choice; called once, before the firmware runs. Returns the slot."""
    global _running
    sim_nvs.forget()
    sim_timer.stop_all()
    if _boots_factory():
        _running = next(entry[0] for entry in _partitions() if entry[1] == Partition.TYPE_APP)
        return 0
    slot = sim_ota.select_slot(_open("otadata"), (_open("ota_0"), _open("ota_1")))
    _running = "ota_%d" % slot
    return slot


def _boots_factory():
    """True when the first application of a chip's table is what boots, without a choice."""
    if _table is None:
        return False
    labels = _labels()
    if "otadata" not in labels or "ota_1" not in labels:
        return True
    return "factory" in labels and sim_ota.active(_open("otadata")) is None


def sim_soft_reset(label):
    """The boot loader has no part in it: what ran is running."""
    global _running
    _running = label


def _partitions():
    if _table is not None:
        return _table
    size_bytes = sim_world.settings["slot_bytes"]
    return [
        ("ota_%d" % slot, Partition.TYPE_APP, _SUBTYPE_OTA_0 + slot, 0x10000 + slot * size_bytes, size_bytes)
        for slot in (0, 1)
    ]


def _labels():
    return [entry[0] for entry in _partitions()]


def _open(label):
    if label not in _nor:
        if _table is not None:
            _nor[label] = _open_part(*_entry(label))
        else:
            size_bytes = _OTADATA_BYTES if label == "otadata" else sim_world.settings["slot_bytes"]
            _nor[label] = NorFile(sim_world.folder + "/" + label + ".bin", size_bytes)
    return _nor[label]


def _entry(label):
    for entry in _partitions():
        if entry[0] == label:
            return entry
    raise OSError(_ENOENT, "ENOENT")


def _boot_label():
    if _table is not None and "otadata" not in _labels():
        return _running
    entry = sim_ota.active(_open("otadata"))
    if entry is not None:
        return "ota_%d" % ((entry[1] - 1) % 2)
    return "factory" if "factory" in _labels() else "ota_0"


class Partition:
    """One partition; on a board whose flash is a file a slot, an application slot."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, which, block_size=SECTOR_BYTES):
        if which == self.RUNNING:
            which = _running
        elif which == self.BOOT:
            which = _boot_label()
        self._entry = _entry(which)
        self._nor = _open(which)
        self._block_size = block_size

    @classmethod
    def find(cls, type=TYPE_APP, subtype=0xFF, label=None, block_size=SECTOR_BYTES):
        found = []
        for entry in _partitions():
            if entry[1] == type and subtype in (0xFF, entry[2]) and label in (None, entry[0]):
                found.append(cls(entry[0], block_size))
        return found

    @staticmethod
    def mark_app_valid_cancel_rollback():
        if (_table is not None and "otadata" not in _labels()) or not sim_ota.mark_valid(_open("otadata")):
            raise OSError(-261, "ESP_ERR_NOT_FOUND")

    def info(self):
        label, kind, subtype, address, size_bytes = self._entry
        return (kind, subtype, address, size_bytes, label, False)

    # Few values at a time: a function with more than MicroPython has room for on its stack is called
    # with one from the heap, and to look for it there takes longer than all the rest.

    def readblocks(self, block, buf, offset=0):
        size = len(buf)
        at = self._at(block, offset, size)
        self._nor.read(at, buf)

    def writeblocks(self, block, buf, offset=None):
        if offset is None:
            self._erase(block, buf)
            offset = 0
        size = len(buf)
        at = self._at(block, offset, size)
        self._nor.program(at, buf)

    def _erase(self, block, buf):
        if len(buf) % SECTOR_BYTES:
            raise OSError(-_ESP_ERR_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
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
        return Partition("ota_1" if _running == "ota_0" else "ota_0")

    def set_boot(self):
        fault = "no application" if self._entry[1] != self.TYPE_APP else sim_ota.image_fault(self._nor)
        if fault:
            raise OSError(-_ESP_ERR_OTA_VALIDATE_FAILED, "ESP_ERR_OTA_VALIDATE_FAILED")
        if self._entry[2] < _SUBTYPE_OTA_0:  # the factory's: what an otadata that names nobody boots
            for sector in (0, 1):
                _open("otadata").erase(sector)
        else:
            sim_ota.set_boot(_open("otadata"), self._entry[2] - _SUBTYPE_OTA_0)

    def _at(self, block, offset, length):
        at = block * self._block_size + offset
        if at < 0 or at + length > self._nor.size_bytes:
            raise OSError(-_ESP_ERR_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
        return at

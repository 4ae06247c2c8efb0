"""`esp32.NVS`: small values that outlive the power, in one file that is replaced as a whole.

Semantics as in ports/esp32/esp32_nvs.c over ESP-IDF's nvs_flash: a setter is on flash when it
returns (commit adds nothing there), and writes nothing when the value is the same; each change
is atomic. Errors are OSError(-esp_err, name); names are of 1 to 15 characters; a value has the
type that it was written with.
"""

import binascii
import json
import os

import sim_power
import sim_world

_NOT_FOUND = (-0x1102, "ESP_ERR_NVS_NOT_FOUND")
_TYPE_MISMATCH = (-0x1103, "ESP_ERR_NVS_TYPE_MISMATCH")
_NOT_ENOUGH_SPACE = (-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")
_INVALID_NAME = (-0x1106, "ESP_ERR_NVS_INVALID_NAME")
_KEY_TOO_LONG = (-0x1109, "ESP_ERR_NVS_KEY_TOO_LONG")
_INVALID_LENGTH = (-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
_MAX_NAME = 15
# The OTA partition tables have 16 KiB of NVS, of which one page stays free and each page has a head of
# two entries; an entry is 32 bytes, a blob takes its data, an index and a head.
_ENTRY_BYTES = 32
_ROOM_BYTES = 3 * 126 * _ENTRY_BYTES
_PATH = "/nvs.json"

store = None  # of a chip with one flash: what loads and saves the values there (sim_nvsflash.py)
_values = None


def forget():
    """Power-on: nothing of it is in RAM."""
    global _values
    _values = None


def _load():
    global _values
    if _values is None and store is not None:
        _values = store.load()
    elif _values is None:
        try:
            with open(sim_world.folder + _PATH) as file:
                _values = json.load(file)
        except OSError:
            _values = {}
    return _values


def _store(name, value):
    """One atomic change: `value` is [type, data], or None to erase."""
    half = sim_power.begin("nvs", name)
    values = _load()
    if value is None:
        del values[name]
    else:
        values[name] = value
    if store is not None:
        store.save(values)
    else:
        draft = sim_world.folder + "/nvs.new"
        with open(draft, "w") as file:
            json.dump(values, file)
        os.rename(draft, sim_world.folder + _PATH)
    if half:
        sim_power.cut()


def _entry_bytes(value):
    if value[0] == "i32":
        return _ENTRY_BYTES
    return (len(value[1]) // 2 + _ENTRY_BYTES - 1) // _ENTRY_BYTES * _ENTRY_BYTES + 2 * _ENTRY_BYTES


class NVS:
    """One namespace."""

    def __init__(self, namespace):
        if not 0 < len(namespace) <= _MAX_NAME:
            raise OSError(*_INVALID_NAME)
        self._namespace = namespace

    def _name(self, key):
        if not key:
            raise OSError(*_INVALID_NAME)
        if len(key) > _MAX_NAME:
            raise OSError(*_KEY_TOO_LONG)
        return self._namespace + "." + key

    def _get(self, key, kind):
        value = _load().get(self._name(key))
        if value is None:
            raise OSError(*_NOT_FOUND)
        if value[0] != kind:
            raise OSError(*_TYPE_MISMATCH)
        return value[1]

    def _set(self, key, value):
        name = self._name(key)
        values = _load()
        old = values.get(name)
        if old == value:
            return  # nvs_flash finds the same value and leaves the flash alone
        if old is not None and old[0] != value[0]:
            raise OSError(*_TYPE_MISMATCH)
        used = sum([_entry_bytes(values[other]) for other in values if other != name])
        if used + _entry_bytes(value) > _ROOM_BYTES:
            raise OSError(*_NOT_ENOUGH_SPACE)
        _store(name, value)

    def set_i32(self, key, value):
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("overflow converting long int to machine word")
        self._set(key, ["i32", value])

    def get_i32(self, key):
        return self._get(key, "i32")

    def set_blob(self, key, value):
        self._set(key, ["blob", binascii.hexlify(value).decode()])

    def get_blob(self, key, buf):
        """Fill `buf` from its beginning; bytes of the value. Too short a buffer raises."""
        data = binascii.unhexlify(self._get(key, "blob"))
        if len(data) > len(buf):
            raise OSError(*_INVALID_LENGTH)
        buf[: len(data)] = data
        return len(data)

    def erase_key(self, key):
        name = self._name(key)
        if name not in _load():
            raise OSError(*_NOT_FOUND)
        _store(name, None)

    def commit(self):
        if sim_power._dead:
            raise sim_power.PowerCut("no power")

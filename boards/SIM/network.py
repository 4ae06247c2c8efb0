"""The part of MicroPython's `network` module that the client uses, with what can go wrong with Wi-Fi.

Semantics as in ports/esp32/network_wlan.c: there is one station, whoever asks for it; a station
that cannot connect goes on trying for ever and says STAT_CONNECTING, and only after disconnect()
the reason of the last failure; connect() while it tries raises. `wifi` in sim.json: "ok",
"missing" (no such access point), "wrong_password", "no_dhcp" (associated, but never an address).
"""

import time

import sim_world

STA_IF = 0
AP_IF = 1

# ports/esp32/modnetwork.h; 2xx are ESP-IDF's wifi_err_reason_t.
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010

_REASONS = {"missing": STAT_NO_AP_FOUND, "wrong_password": STAT_WRONG_PASSWORD}

_active = False
_requested = False
_since = 0
_reason = 0


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __init__(self, interface=STA_IF):
        if interface != STA_IF:
            raise ValueError("invalid WLAN interface identifier")

    def active(self, is_active=None):
        global _active, _requested
        if is_active is not None:
            _active = bool(is_active)
            if not _active:
                _requested = False
        return _active

    def connect(self, ssid=None, key=None):
        global _requested, _since, _reason
        if not _active:
            raise OSError("Wifi Not Started")
        if _requested and not self.isconnected():
            raise OSError("Wifi Internal Error")  # "sta is connecting, return error"
        _requested = True
        _since = time.ticks_ms()
        _reason = _REASONS.get(sim_world.settings["wifi"], 0)

    def disconnect(self):
        global _requested
        if not _active:
            raise OSError("Wifi Not Started")
        _requested = False

    def isconnected(self):
        if not _requested or sim_world.settings["wifi"] != "ok":
            return False
        return time.ticks_diff(time.ticks_ms(), _since) >= sim_world.settings["wifi_ms"]

    def status(self, parameter=None):
        if parameter is not None:
            raise ValueError("unknown status param")
        if self.isconnected():
            return STAT_GOT_IP
        if _requested:
            return STAT_CONNECTING
        return _reason or STAT_IDLE

    def config(self, *args, **kwargs):
        return None

    def ifconfig(self):
        if not self.isconnected():
            return ("0.0.0.0",) * 4
        return (sim_world.settings["ip"], "255.0.0.0", "0.0.0.0", "0.0.0.0")

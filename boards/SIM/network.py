"""The part of MicroPython's `network` module that the client uses: a link that is always up."""

import sim_world

STA_IF = 0


class WLAN:
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __init__(self, interface=STA_IF):
        self._active = False
        self._connected = False

    def active(self, is_active=None):
        if is_active is not None:
            self._active = is_active
        return self._active

    def connect(self, ssid=None, key=None):
        if not self._active:
            raise OSError("WiFi Internal Error")
        self._connected = True

    def disconnect(self):
        self._connected = False

    def isconnected(self):
        return self._connected

    def config(self, *args, **kwargs):
        return None

    def ifconfig(self):
        return (sim_world.settings["ip"], "255.0.0.0", "0.0.0.0", "0.0.0.0")

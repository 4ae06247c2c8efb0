"""Bring the board's network up: Wi-Fi station or wired LAN, with power saving off."""

import network

from . import port

POLL_MS = 50


class NetworkError(Exception):
    """The network did not come up in time; the text says which."""


class Link:
    """The network while pre-boot needs it."""

    def __init__(self):
        self._wlan = None

    def up(self, config, clock):
        """Connect and return the board's own address.

        config: `wifi_ssid` and `wifi_password`, or `lan` (keyword arguments of network.LAN).
        Raises NetworkError after config["network_timeout_ms"].
        """
        nic = _lan(config["lan"]) if config.get("lan") else self._wifi(config)
        deadline_ms = clock.now_ms() + config["network_timeout_ms"]
        while not nic.isconnected():
            if clock.now_ms() > deadline_ms:
                raise NetworkError("no network within %d ms" % config["network_timeout_ms"])
            port.sleep_ms(POLL_MS)
        return nic.ifconfig()[0]

    def _wifi(self, config):
        nic = network.WLAN(network.STA_IF)
        self._wlan = nic
        nic.active(True)
        if not nic.isconnected():
            nic.connect(config["wifi_ssid"], config.get("wifi_password"))
        # Modem sleep is the ESP32's default: it wakes per beacon and loses multicast.
        nic.config(pm=nic.PM_NONE)
        return nic

    def release(self):
        """Hand the network to the application: connected, with the default power saving.

        A station that is still trying is switched off: the application's own connect() would
        raise "Wifi Internal Error".
        """
        nic = self._wlan
        if nic is None:
            return
        try:
            if nic.isconnected():
                nic.config(pm=nic.PM_PERFORMANCE)
            else:
                nic.disconnect()
                nic.active(False)
        except OSError:
            pass  # the application will find out by itself


def _lan(arguments):
    nic = network.LAN(**arguments)
    nic.active(True)
    return nic

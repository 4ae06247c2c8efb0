"""Bring the board's network up: Wi-Fi station or wired LAN, with power saving off."""

import network

from . import port

POLL_MS = 50
RECONNECTS = 3  # then the station says why, instead of trying for ever
PROBE_MS = 5000  # where it does not: take it down once, and look
# modnetwork.h, and ESP-IDF's wifi_err_reason_t, which status() passes through
_REASONS = {
    15: "wrong password",  # 4WAY_HANDSHAKE_TIMEOUT
    201: "no such access point",
    202: "wrong password",  # AUTH_FAIL
    204: "wrong password",  # HANDSHAKE_TIMEOUT
    210: "no access point with that security",
    211: "no access point with that security",
    212: "the access point is too weak",
}


class NetworkError(Exception):
    """The network did not come up in time; the text says which."""


class Link:
    """The network while pre-boot needs it."""

    def __init__(self):
        self.nic = None
        self._is_wifi = False
        self._says_why = False  # status() will tell the reason by itself

    def up(self, config, clock):
        """Connect and return the board's own address.

        config: `wifi_ssid` and `wifi_password`, or `lan` (keyword arguments of network.LAN).
        Raises NetworkError after config["network_timeout_ms"], or as soon as the reason is known.
        """
        self._is_wifi = not config.get("lan")
        if self._is_wifi:
            self._start_wifi(config)
        else:
            self._start_lan(config["lan"])
        nic = self.nic
        start_ms = clock.now_ms()
        probed = False
        while not nic.isconnected():
            waited_ms = clock.now_ms() - start_ms
            if waited_ms > config["network_timeout_ms"]:
                raise NetworkError("no network within %d ms" % config["network_timeout_ms"])
            if self._is_wifi:
                _check(nic.status())
                if waited_ms > PROBE_MS and not probed and not self._says_why:
                    probed = True
                    nic.disconnect()
                    _check(nic.status())
                    nic.connect(config["wifi_ssid"], config.get("wifi_password"))
            port.sleep_ms(POLL_MS)
        return nic.ifconfig()[0]

    def _start_wifi(self, config):
        self.nic = nic = network.WLAN(network.STA_IF)  # at once: whatever fails below, it is released
        nic.active(True)
        self._says_why = _set_reconnects(nic, RECONNECTS)
        if not nic.isconnected():
            nic.connect(config["wifi_ssid"], config.get("wifi_password"))
        # Modem sleep is the ESP32's default: it wakes per beacon and loses multicast.
        nic.config(pm=nic.PM_NONE)

    def _start_lan(self, arguments):
        self.nic = network.LAN(**arguments)
        self.nic.active(True)

    def release(self):
        """Hand the network to the application: connected, with the default power saving.

        A station that is still trying is switched off: the application's own connect() would
        raise "Wifi Internal Error".
        """
        nic = self.nic
        if nic is None or not self._is_wifi:
            return
        try:
            _set_reconnects(nic, -1)
            if nic.isconnected():
                nic.config(pm=nic.PM_PERFORMANCE)
            else:
                nic.disconnect()
                nic.active(False)
        except Exception:  # whatever a driver raises: the application will find out by itself
            pass


def _check(status):
    """Raises NetworkError when there is no point in waiting on."""
    if status in _REASONS:
        raise NetworkError("Wi-Fi: %s" % _REASONS[status])


def _set_reconnects(nic, count):
    """How often the station tries again by itself; -1 is for ever, the default. True: it obeys."""
    try:
        nic.config(reconnects=count)
        return nic.config("reconnects") == count
    except (ValueError, TypeError, OSError):
        return False  # a port without that setting

"""The physical world of one simulated board: its folder, radio, clock speed and power.

Loaded by sim_main from `sim.json` in the board's folder; read by the other sim_* modules. The
client under test never sees this module: it sees esp32, machine, network and socket.
"""

import json
import sys

DEFAULTS = {
    "ip": "127.0.0.1",
    "loss_1000": 0,  # loss of multicast datagrams, in 1/1000
    "loss_burst": 1,  # datagrams that are lost in a row on average; 1: each by itself
    "seed": 1,
    "rx_queue": 6,  # datagrams an ESP32 socket queues (CONFIG_LWIP_UDP_RECVMBOX_SIZE); 0: as the PC
    "flash_timing": False,  # sleep as long as a NOR flash of the W25Q class would take
    "flash_slowness": 1,  # so many times as long
    "slot_bytes": 0x1800000,
    "mac": "02:00:00:00:00:01",
    "at_s": 0,  # hold the first request until this moment (seconds since 1970)
    "go_file": None,  # hold it until this file is there and the moment in it has come
    "wifi": "ok",  # what is wrong with it: see network.py
    "wifi_ms": 0,  # from connect() to an address
    "reset_cause": 1,  # machine.PWRON_RESET: what the launcher saw the last boot end by
    "cut_at": 0,  # the flash operation of this boot at which the power goes; 0: never (sim_power.py)
    "cut_half": False,
    "raw": None,  # fetch this plain file instead of an image
    "quiet": False,  # tell of no progress between two phases
    "weigh": True,  # look at each change of phase how much of the heap is in use
    "off_when_verified": False,  # the power goes then
}

# A process of MicroPython is one board, which loads them once, and its heap is small.
settings = DEFAULTS if sys.implementation.name == "micropython" else dict(DEFAULTS)
folder = "."


def load(path):
    """Read `path`/sim.json over the defaults."""
    global folder
    folder = path
    settings.update(DEFAULTS)
    with open(path + "/sim.json") as file:
        settings.update(json.load(file))

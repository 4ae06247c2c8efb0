"""The board's settings: gapcast.json over the defaults."""

import json

CONFIG_PATH = "gapcast.json"

DEFAULTS = {
    "server": None,
    "port": 69,
    "image": None,
    "board": None,
    "lan": None,
    "wifi_ssid": None,
    "wifi_password": None,
    "network_timeout_ms": 15000,
    "ask_ms": 1000,  # how long the first question may go unanswered, once the network is up
    "stall_ms": 60000,  # how long a started download may stand still
    "keys": [],  # who may sign images: base64 of RSA-3072 moduli
    "allow_unsigned": False,
    "id": None,  # in reports; None: the chip's unique id in hex
    "report_key": None,  # 64 hex digits; without one nothing is reported
    "health_ms": 60000,  # so long a new image may take to be confirmed
    "health": "app",  # "app": the application confirms (health.py); "boot": an answer of the server does
    "retry_failed": False,  # take a version again although it was rolled back
}


def load_config(path=CONFIG_PATH):
    """The board's settings over the defaults. Raises OSError or ValueError."""
    config = dict(DEFAULTS)
    with open(path) as file:
        config.update(json.load(file))
    return config

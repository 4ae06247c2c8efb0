"""What a test needs from the machine: in CI, as root, a missing thing is a failure, elsewhere a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from gapcast_tools import upy

from . import lab

SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
UNPACKED = Path(__file__).parents[2] / "build" / "peers"  # see .ci/run


def give_up(reason: str) -> None:
    """Skip the test; or fail it where everything should be there."""
    if os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str = "") -> str:
    """The path of a program."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        give_up(f"needs {name} (package {package or name})")
        raise AssertionError
    return found


def tftpd_hpa() -> str:
    """in.tftpd of tftpd-hpa; atftpd installs a program of the same name."""
    unpacked = UNPACKED / "tftpd-hpa" / "usr" / "sbin" / "in.tftpd"
    for path in (str(unpacked), "/usr/sbin/in.tftpd"):
        if os.access(path, os.X_OK) and "tftp-hpa" in _version(path):
            return path
    give_up("needs in.tftpd of tftpd-hpa (see .ci/run)")
    raise AssertionError


@cache
def _version(path: str) -> str:
    return subprocess.run([path, "-V"], capture_output=True, text=True, timeout=10, check=False).stdout


@cache
def _why_no_lab() -> str | None:
    return lab.why_not()


@cache
def _why_no_micropython() -> str | None:
    found, reasons = upy.search(fetch=True, progress=lambda _text: None)
    return None if found else "; ".join(reasons)


def network() -> None:
    """Namespaces, a bridge, iptables."""
    reason = _why_no_lab()
    if reason:
        give_up(reason)


def micropython() -> None:
    """Boards that run in the real thing."""
    reason = _why_no_micropython()
    if reason:
        give_up(f"no MicroPython: {reason}")

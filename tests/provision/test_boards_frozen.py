"""firmware/frozen/boot.py in real MicroPython: pre-boot first, then the user's own, whatever that does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gapcast_tools.upy import Micropython

BOOT = Path(__file__).resolve().parents[2] / "firmware/frozen/boot.py"
# A board: its file system mounted at "/", a client that only says when it runs, and boot.py as MicroPython
# runs it (its exceptions printed, and main.py not run after one).
BOARD = """
import sys
import vfs

class Ram:
    def __init__(self):
        self.data = bytearray(b"\\xff" * 4096 * 16)
    def readblocks(self, n, buf, off=0):
        at = n * 4096 + off
        buf[:] = self.data[at : at + len(buf)]
    def writeblocks(self, n, buf, off=None):
        at = n * 4096 + (off or 0)
        self.data[at : at + len(buf)] = buf
    def ioctl(self, op, arg):
        return {4: 16, 5: 4096, 6: 0}.get(op, 0)

class Agent:
    def __init__(self, fails):
        def run():
            print("pre-boot")
            if fails:
                raise ValueError("pre-boot fails")
        self.run = run

class Package:
    pass

source, own, fails, mounted = %r
with open(source) as file:
    code = file.read()
package = Package()
package.agent = Agent(fails)
sys.modules["gapcast_boot"] = package
vfs.umount("/")
if mounted:
    ram = Ram()
    vfs.VfsLfs2.mkfs(ram)
    vfs.mount(vfs.VfsLfs2(ram), "/")
    if own is not None:
        with open("/boot.py", "w") as file:
            file.write(own)
try:
    exec(code, globals())
    print("main.py")
except Exception as exc:
    print("raised", type(exc).__name__, exc)
except SystemExit:
    print("soft reset")
"""


def boot(
    micropython: Micropython, own: str | None = None, *, fails: bool = False, mounted: bool = True
) -> list[str]:
    """The lines that a board prints whose file system has `own` as boot.py."""
    script = BOARD % ((str(BOOT), own, fails, mounted),)
    done = subprocess.run(
        [*micropython.argv, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_a_boot_py(micropython: Micropython) -> None:
    assert boot(micropython) == ["pre-boot", "main.py"]


def test_without_a_file_system(micropython: Micropython) -> None:
    assert boot(micropython, mounted=False) == ["pre-boot", "main.py"]


def test_the_users_own_runs_after_pre_boot_and_shares_its_names(micropython: Micropython) -> None:
    own = "print('own', __name__)\nmade_here = 1\n"
    assert boot(micropython, own) == ["pre-boot", "own __main__", "main.py"]


def test_a_client_installed_as_files_before_asks_no_second_time(micropython: Micropython) -> None:
    own = "from gapcast_boot import agent\nagent.run()\nprint('own')\n"
    assert boot(micropython, own) == ["pre-boot", "own", "main.py"]


@pytest.mark.parametrize(
    ("own", "last"),
    [
        ("1 / 0", "raised ZeroDivisionError"),
        ("1 +", "raised SyntaxError"),
        ("raise SystemExit", "soft reset"),
    ],
)
def test_a_broken_boot_py_cannot_keep_pre_boot_from_running(
    micropython: Micropython, own: str, last: str
) -> None:
    lines = boot(micropython, own)
    assert lines[0] == "pre-boot"
    assert lines[-1].startswith(last)


def test_a_failing_pre_boot_does_not_keep_the_application_from_running(micropython: Micropython) -> None:
    lines = boot(micropython, "print('own')", fails=True)
    assert lines[0] == "pre-boot"
    assert lines[-3:] == ["ValueError: pre-boot fails", "own", "main.py"]


def test_the_frozen_one_does_what_the_file_does() -> None:
    """But for the user's own boot.py: as a file it is one itself."""
    head = (BOOT.parents[1] / "boot.py").read_text()
    for line in ("from gapcast_boot import agent", "agent.run()", "sys.print_exception(exc)"):
        assert line in head
        assert line in BOOT.read_text()

"""Boards for the tests of the installation: a simulated chip on a pty, whose cable can be pulled."""

from __future__ import annotations

import hashlib
import os
import select
from pathlib import Path
from typing import Any

from gapcast_sim.chip.program import MicroPythonProgram
from gapcast_tools.usb.client import compile_client
from gapcast_tools.usb.look import FOLDERS, BoardRuntime, look
from gapcast_tools.usb.mpremote import Mpremote
from gapcast_tools.usb.scripts import NEW
from gapcast_tools.usb.secrets import Secret
from gapcast_tools.usb.settings import Settings, build_settings
from provision import repl_pty

MAC = "240ac4123456"
PASSWORD = "correct-horse-7"
REPORT_KEY = "5a" * 32
USER_FILES = {
    "/main.py": b"import data\nprint('application', data.VALUE)\n",
    "/data.py": b"VALUE = 7\n",
    "/www/logo.bin": bytes(range(256)) * 19,  # more than a flash block, and every byte
    "/empty.txt": b"",
}
USER_BOOT = b"# mine\r\nimport gc\r\ngc.collect()"


class Cable(repl_pty.Line):
    """A line that is pulled: after so many bytes to the board, or when its power goes (world: cut_at)."""

    def __init__(self, program: MicroPythonProgram, pull_after_bytes: int | None = None) -> None:
        super().__init__(program)
        self._pull_after_bytes = pull_after_bytes
        self.sent_bytes = 0  # to the board
        self.pulled = False

    def __exit__(self, *_exc: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for descriptor in (self._slave, self._stop_read, self._stop_write):
            os.close(descriptor)

    def _run(self) -> None:
        self.program.start()
        try:
            while not self._step():
                pass
        finally:
            self.program.stop()  # USB was its power too
            os.close(self._master)

    def _step(self) -> bool:
        """True at the end."""
        ready, _w, _x = select.select([self._master, self.program.fileno(), self._stop_read], [], [])
        if self._stop_read in ready:
            return True
        if self._master in ready:
            data = os.read(self._master, 4096)
            end = self._pull_after_bytes
            self.program.feed(data if end is None else data[: end - self.sent_bytes])
            self.sent_bytes += len(data)
            self.pulled = end is not None and self.sent_bytes >= end
        if not self.pulled and self.program.fileno() in ready:
            data = self.program.read()
            with self._ready:
                self.pulled = b"POWERON_RESET" in data and b"POWERON_RESET" in self.printed
                self.printed += data
                self._ready.notify_all()
            os.write(self._master, data)
        return self.pulled


def plug(folder: Path, pull_after_bytes: int | None = None, **options: Any) -> Cable:
    """The chip whose flash is in `folder`."""
    return Cable(MicroPythonProgram(folder, "esp32", MAC, **options), pull_after_bytes)


def board(line: repl_pty.Line) -> Mpremote:
    return Mpremote(line.path)


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "server": "127.0.0.1",
        "port": 6969,
        "image": "bench",
        "board": "SIM",
        "wifi_ssid": "lab",
        "wifi_password": Secret(PASSWORD),
        "keys": ["t/vV1DmyoZltA1fgqv95"],
        "board_id": MAC,
        "report_key": Secret(REPORT_KEY),
    }
    return build_settings(None, **{**given, **changes})


def client_of(runtime: BoardRuntime) -> dict[str, bytes]:
    """Path on the board -> SHA-256, of a complete client; as files_on() has it."""
    root = compile_client(runtime)
    return {
        f"/lib/{path.relative_to(root)}": hashlib.sha256(path.read_bytes()).digest()
        for path in root.rglob("*")
        if path.is_file()
    }


def put(line: repl_pty.Line, files: dict[str, bytes], folder: Path) -> None:
    """A user's files, by mpremote itself."""
    words: list[object] = []
    for number, (path, data) in enumerate(files.items()):
        source = folder / f"put-{number}"
        source.write_bytes(data)
        if path.count("/") > 1:
            text = f"import os\ntry:\n os.mkdir({path.rsplit('/', 1)[0]!r})\nexcept OSError: pass"
            words += ["+", "exec", text]
        words += ["+", "cp", "-f", source, f":{path}"]
    line.mpremote("resume", *words)


def files_on(line: repl_pty.Line) -> dict[str, bytes]:
    """Every file of the board, by a script of its own: its content, or its SHA-256 if it is large or ours."""
    script = f"""
import os, hashlib, binascii
def walk(d):
    for e in os.ilistdir(d or "/"):
        p = d + "/" + e[0]
        if e[1] & 0x4000:
            walk(p)
            continue
        h = hashlib.sha256() if any(p.startswith(f) for f in {FOLDERS}) or e[3] > 9999 else None
        print("FILE", p)
        with open(p, "rb") as f:
            while 1:
                part = f.read(512)
                if not part:
                    break
                if h:
                    h.update(part)
                else:
                    print("PART", binascii.hexlify(part).decode())
        if h:
            print("PART", binascii.hexlify(h.digest()).decode())
walk("")
"""
    found: dict[str, bytes] = {}
    path = ""
    for text in line.mpremote("resume", "exec", script).splitlines():
        kind, _, rest = text.partition(" ")
        if kind == "FILE":
            path = rest
            found[path] = b""
        elif kind == "PART":
            found[path] += bytes.fromhex(rest)
    return found


def files_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """User's files as files_on() has them."""
    return {
        path: data if len(data) <= 9999 else hashlib.sha256(data).digest() for path, data in files.items()
    }


def our_files(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if path.startswith(FOLDERS)}


def user_files(files: dict[str, bytes]) -> dict[str, bytes]:
    """All but ours; boot.py too."""
    return {
        path: data
        for path, data in files.items()
        if not path.startswith(FOLDERS) and not path.startswith("/gapcast.json") and not path.endswith(NEW)
    }


def runtime_of(line: repl_pty.Line) -> BoardRuntime:
    return look(board(line)).runtime

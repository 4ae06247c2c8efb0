"""The real mpremote against a simulated chip: its REPL is a real MicroPython process."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pty
import random
import select
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast_tools.upy import Micropython, probe
from provision.repl_flash import make_flash
from provision.repl_pty import Line, make_line

SECONDS = 30


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, micropython: Micropython) -> Iterator[Line]:
    """A chip that has booted for the first time."""
    folder = tmp_path_factory.mktemp("chip")
    make_flash(folder)
    with make_line(folder) as line:
        line.wait_for(b">>> ")
        yield line


def test_exec_and_eval(line: Line) -> None:
    assert line.mpremote("exec", "x = 20\nprint('a\\nb', x + 1)") == "a\nb 21\n"
    assert line.mpremote("eval", "{'k': [1, 2.5, b'\\x00\\xff']}") == "{'k': [1, 2.5, b'\\x00\\xff']}\n"


def test_an_exception_comes_back_as_a_chip_prints_it(line: Line) -> None:
    script = "def f():\n    raise ValueError('bad')\nprint('before')\nf()"
    told = line.mpremote("exec", script, fails=True)
    assert told.splitlines()[:1] == ["before"]
    assert "Traceback (most recent call last):" in told
    assert '  File "<stdin>", line 2, in f' in told
    assert "ValueError: bad" in told
    assert "sim_" not in told
    assert "SyntaxError" in line.mpremote("exec", "a b c", fails=True)


def test_run_a_script(line: Line, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    # longer than several windows of raw paste
    script.write_text("# " + "x" * 3000 + "\nprint('ran', __name__)\n")
    assert line.mpremote("run", script) == "ran __main__\n"


def test_files_go_both_ways(line: Line, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(9000)
    (tmp_path / "there.bin").write_bytes(data)
    line.mpremote("fs", "cp", tmp_path / "there.bin", ":there.bin")
    line.mpremote("fs", "cp", ":there.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == data
    told = line.mpremote("fs", "sha256sum", ":there.bin")
    assert hashlib.sha256(data).hexdigest() in told


def test_folders(line: Line, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "a.txt").write_text("hello")
    line.mpremote("fs", "mkdir", ":things")
    line.mpremote("fs", "cp", "-r", tmp_path / "tree", ":things/")
    assert "a.txt" in line.mpremote("fs", "ls", ":things/tree/deep")
    assert line.mpremote("fs", "cat", ":things/tree/deep/a.txt") == "hello"
    line.mpremote("fs", "rm", "-r", ":things")
    assert "things" not in line.mpremote("fs", "ls", ":")
    assert "No such" in line.mpremote("fs", "cat", ":things/tree/deep/a.txt", fails=True)


def test_only_the_chips_own_files_are_there(line: Line) -> None:
    names = ast.literal_eval(line.mpremote("eval", "__import__('os').listdir('/')"))
    assert "boot.py" in names
    assert not {"proc", "tmp", "gapcast-rom"} & set(names)


def test_mip_installs_a_package(line: Line, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("WORD = 'installed'\n")
    package = {"urls": [["hello_package/hello.py", "hello.py"]], "version": "1.0"}
    (tmp_path / "package.json").write_text(json.dumps(package))
    line.mpremote("mip", "install", tmp_path / "package.json")
    told = line.mpremote("exec", "from hello_package import hello\nprint(hello.WORD, hello.__file__)")
    assert told == "installed /lib/hello_package/hello.py\n"


def test_it_says_who_it_is(line: Line, micropython: Micropython) -> None:
    script = "import machine, os, sys\nprint((machine.unique_id(), sys.implementation._mpy, sys.platform, "
    script += "sys.implementation.version[:3], os.uname().sysname, sys.path))"
    mac, mpy, platform, version, name, path = ast.literal_eval(line.mpremote("exec", script))
    assert mac == bytes.fromhex("240ac4123456")
    assert (mpy, version) == (micropython.mpy, micropython.version)
    assert (platform, name) == ("esp32", "esp32")
    assert path == ["", ".frozen", "/lib"]
    assert probe(micropython.argv, "test").mpy == mpy


def test_soft_reset_forgets_what_was_in_memory(line: Line) -> None:
    line.mpremote("exec", "keep = 1")
    assert line.mpremote("resume", "eval", "keep") == "1\n"
    line.mpremote("soft-reset")
    assert "NameError" in line.mpremote("resume", "eval", "keep", fails=True)
    assert line.mpremote("resume", "eval", "__import__('machine').reset_cause()") == "5\n"


def test_soft_reset_closes_files(line: Line) -> None:
    line.mpremote("exec", "left_open = open('open.txt', 'w')\nleft_open.write('all of it')")
    line.mpremote("soft-reset")
    assert line.mpremote("fs", "cat", ":open.txt") == "all of it"


def test_reset_boots_again(line: Line) -> None:
    since = len(line.printed)
    line.mpremote("resume", "reset")
    line.wait_for(b"rst:0xc (SW_CPU_RESET)", since)
    line.wait_for(b">>> ", since)
    assert line.mpremote("eval", "'alive'") == "alive\n"


def test_a_person_in_mpremotes_repl(line: Line) -> None:
    """Typed at its terminal, up to Ctrl-], which leaves it."""
    ours, its = pty.openpty()
    tty.setraw(its)  # as mpremote does, but some time after it says that one may type
    command = [sys.executable, "-m", "mpremote", "connect", line.path, "repl"]
    with line.heard(), subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        try:
            seen = _until(ours, b"", b"exit this shell")
            os.write(ours, b"print(6 * 7)\r")
            _until(ours, seen, b"42\r\n>>> ")
            os.write(ours, b"\x1d")
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    os.close(ours)
    os.close(its)


def _until(terminal: int, seen: bytes, text: bytes) -> bytes:
    deadline = time.monotonic() + SECONDS
    while text not in seen:
        assert select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0], seen
        seen += os.read(terminal, 4096)
    return seen


def test_a_full_file_system_says_so(line: Line) -> None:
    script = "file = open('/fill', 'w')\nwhile True:\n    file.write('x' * 4096)"
    assert "OSError: 28" in line.mpremote("exec", script, fails=True)
    line.mpremote("fs", "rm", ":fill")
    assert "fill" not in line.mpremote("fs", "ls", ":")

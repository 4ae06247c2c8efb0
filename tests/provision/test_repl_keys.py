"""What a person types at a simulated chip: the friendly REPL, the raw one, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gapcast.image.boards import CHIPS
from gapcast.image.sample import build_sample
from gapcast_tools.upy import Micropython
from provision.repl_flash import make_flash
from provision.repl_pty import Line, make_line

PROMPT = b"\r\n>>> "
RAW = b"raw REPL; CTRL-B to exit\r\n>"


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory, micropython: Micropython) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("chip")
    make_flash(folder)
    with make_line(folder) as line:
        line.wait_for(b">>> ")
        yield line


@pytest.fixture
def line(chip: Line) -> Iterator[Line]:
    """The chip in its friendly REPL, before and after."""
    yield chip
    chip.answer(b"\r\x03\x02", b'Type "help()" for more information.\r\n>>> ')


@pytest.fixture
def raw(line: Line) -> Line:
    line.answer(b"\x01", RAW)
    return line


def test_expressions_show_their_value(line: Line) -> None:
    assert line.answer(b"1 + 2\r", PROMPT) == b"1 + 2\r\n3\r\n>>> "
    assert line.answer(b"n = 5\r", PROMPT) == b"n = 5\r\n>>> "
    assert b"NameError" in line.answer(b"missing\r", PROMPT)


def test_its_names_are_its_own(line: Line) -> None:
    """Nothing of what plays the chip is among them, nor can they disturb it."""
    line.answer(b"\x04", PROMPT)
    assert line.answer(b"sorted(globals())\r", PROMPT).endswith(b"\r\n['__name__']\r\n>>> ")
    line.answer(b"gc = os = sys = console = main = None\r", PROMPT)
    assert b"MPY: soft reboot" in line.answer(b"\x04", PROMPT)


def test_backspace_and_arrow_keys(line: Line) -> None:
    assert line.answer(b"1x\x7f + \x1b[A\x1b[3~1\r", PROMPT).endswith(b"\r\n2\r\n>>> ")


def test_compound_statements_go_on_until_an_empty_line(line: Line) -> None:
    typed = b"for i in range(3):\r    print(i)\r\r"
    assert line.answer(typed, PROMPT).endswith(b"0\r\n1\r\n2\r\n>>> ")
    assert line.answer(b"a = [1,\r2]; print(a)\r", PROMPT).endswith(b"[1, 2]\r\n>>> ")
    assert line.answer(b'"""x\ry"""\r', PROMPT).endswith(b"'x\\ny'\r\n>>> ")


def test_paste_mode(line: Line) -> None:
    line.answer(b"\x05", b"=== ")
    assert line.answer(b"if True:\r    print('pasted')\r\x04", PROMPT).endswith(b"\r\npasted\r\n>>> ")
    line.answer(b"\x05", b"=== ")
    assert b"lost" not in line.answer(b"print('lo' 'st')\r\x03", PROMPT).replace(b"'lo' 'st'", b"")


def paste(line: Line, program: bytes, until: bytes) -> None:
    line.answer(b"\x05", b"=== ")
    line.answer(program + b"\r\x04", until)


@pytest.mark.parametrize("loop", [b"while True: pass", b"import time; time.sleep(600)"])
def test_ctrl_c_interrupts_what_runs(line: Line, loop: bytes) -> None:
    paste(line, b"print('go')\r" + loop, b"\r\ngo\r\n")
    assert b"KeyboardInterrupt" in line.answer(b"\x03", PROMPT)


def test_a_program_may_catch_ctrl_c(line: Line) -> None:
    program = b"n = 0\rwhile n < 2:\r try:\r  print('round', n)\r  while True: pass\r"
    paste(line, program + b" except KeyboardInterrupt: n += 1", b"round 0\r\n")
    line.answer(b"\x03", b"round 1\r\n")
    line.answer(b"\x03", b">>> ")
    assert line.answer(b"n\r", PROMPT).endswith(b"\r\n2\r\n>>> ")


def test_a_program_may_switch_ctrl_c_off(line: Line) -> None:
    program = (
        b"import micropython, time\rmicropython.kbd_intr(-1)\rprint('off')\rtime.sleep(0.3)\rprint('end')"
    )
    paste(line, program, b"\r\noff\r\n")
    told = line.answer(b"\x03", b">>> ")
    assert told == b"end\r\n>>> "


def test_ctrl_c_in_quick_succession(line: Line) -> None:
    """Each of them would end the unix port's process, were it not for what plays the chip."""
    line.answer(b"while True: pass\r\r", b"... ")
    line.type(b"\x03" * 5)
    assert line.answer(b"\r'on' + 'ward'\r", b"'onward'\r\n>>> ")


def test_ctrl_c_behind_the_command_it_is_for(line: Line) -> None:
    """They arrive together, before the command runs."""
    assert b"KeyboardInterrupt" in line.answer(b"\x01while True: pass\x04\x03", b"\x04>")


def test_raw_repl(raw: Line) -> None:
    assert raw.answer(b"print('a')\x04", b"\x04>") == b"OKa\r\n\x04\x04>"
    assert raw.answer(b"1 + 2\x04", b"\x04>") == b"OK\x04\x04>"
    told = raw.answer(b"print('a')\n1 / 0\x04", b"\x04>")
    assert told.startswith(b"OKa\r\n\x04Traceback (most recent call last):\r\n")
    assert told.endswith(b"ZeroDivisionError: divide by zero\r\n\x04>")
    assert raw.answer(b"rubbish\x03print('clear')\x04", b"\x04>") == b"OKclear\r\n\x04\x04>"
    assert raw.answer(b"rubbish\x01", RAW) == RAW


def test_raw_paste(raw: Line) -> None:
    source = b"print('pasted')\n#" + b"x" * 300
    told = raw.answer(b"\x05A\x01", b"R\x01\x80\x00\x01")
    assert told == b"R\x01\x80\x00\x01"
    # 316 bytes: two more windows are granted; then the end is acknowledged
    assert raw.answer(source + b"\x04", b"\x04>") == b"\x01\x01\x04pasted\r\n\x04\x04>"


def test_raw_paste_given_up(raw: Line) -> None:
    raw.answer(b"\x05A\x01", b"R\x01\x80\x00\x01")
    told = raw.answer(b"print('never')\x03", b"\x04>")
    assert told.startswith(b"\x04\x04")
    assert b"KeyboardInterrupt" in told
    assert b"never" not in told


def test_an_unknown_command_of_raw_paste(raw: Line) -> None:
    assert raw.answer(b"\x05B\x01", b">") == b"R\x00>"


def test_soft_reset_from_either_repl(line: Line) -> None:
    told = line.answer(b"\x04", PROMPT)
    assert b"\r\nMPY: soft reboot\r\nMicroPython v" in told
    line.answer(b"\x01", RAW)
    assert line.answer(b"\x04", RAW) == b"OK\r\nMPY: soft reboot\r\n" + RAW
    assert line.answer(b"raise SystemExit\x04", RAW) == b"OK\x04\x04MPY: soft reboot\r\n" + RAW


def test_machine_reset_leaves_the_raw_repl(raw: Line) -> None:
    told = raw.answer(b"import machine; machine.reset()\x04", PROMPT)
    assert b"rst:0xc (SW_CPU_RESET)" in told
    assert b"MicroPython v" in told


def test_ctrl_c_in_boot_py_and_in_the_application(tmp_path: Path, micropython: Micropython) -> None:
    source = "def main(board):\n    print('application')\n    while True:\n        pass\n"
    make_flash(tmp_path, app=build_sample(8192, "1.0.0", CHIPS["esp32"], source=source))
    with make_line(tmp_path) as line:
        line.wait_for(b"\r\napplication\r\n")
        assert b"KeyboardInterrupt" in line.answer(b"\x03", PROMPT)
        line.answer(
            b"f = open('boot.py', 'w'); n = f.write('print(1234)\\nwhile True: pass'); f.close()\r", PROMPT
        )
        line.answer(b"\x04", b"\r\n1234\r\n")
        told = line.answer(b"\x03", PROMPT)
        assert b'File "boot.py", line 2' in told
        assert b"application" not in told  # nor main.py: boot.py has failed

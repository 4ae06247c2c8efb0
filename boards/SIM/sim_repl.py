"""MicroPython's raw REPL on a chip's serial port, and how it runs code.

As shared/runtime/pyexec.c does, raw paste too: what code prints, Ctrl-D, its exception, Ctrl-D.
SystemExit (and Ctrl-D) is a soft reset. MicroPython only.
"""

import io
import sys

import __main__

OK = 0
FAILED = 1
EXIT = 2  # soft reset

_CTRL_A = 1
CTRL_B = 2
CTRL_C = 3
CTRL_D = 4
_CTRL_E = 5
_PASTE = b"\x05A"  # and Ctrl-A
_WINDOW = 128  # half of the buffer that a chip has
_RAW_BANNER = "raw REPL; CTRL-B to exit\n>"


def guard(console, call, eof=False):
    """Call something that Ctrl-C may interrupt; OK, FAILED (its exception is printed) or EXIT."""
    raised = None
    try:
        try:
            if console.take_interrupt():
                raise KeyboardInterrupt
            console.listen(CTRL_C)
            call()
        finally:
            console.listen(-1)
            for _turn in (1, 2):  # where a Ctrl-C of the last moment is noticed
                pass
    except BaseException as exc:
        raised = exc
    console.listen(-1)  # again, for such a Ctrl-C may have come between
    console.take_interrupt()
    if eof:
        console.write("\x04")
    result = OK
    if isinstance(raised, SystemExit):
        result = EXIT
    elif raised is not None:
        result = FAILED
        _print_exception(raised)
    if eof:
        console.write("\x04")
    return result


def _print_exception(exc):
    """As a chip prints it: it has no frames of what plays the chip."""
    try:
        text = io.StringIO()
        sys.print_exception(exc, text)
        for line in text.getvalue().split("\n")[:-1]:
            if not line.startswith('  File "sim_'):
                print(line)
    except MemoryError:
        sys.print_exception(exc)


def run_source(console, source, kind="exec", eof=False):
    return guard(console, lambda: exec(compile(source, "<stdin>", kind), __main__.__dict__), eof)  # noqa: S102


def run_file(console, name):
    """A file of the chip, in the REPL's name space; one that is not there is as good as empty."""
    import os

    try:
        if os.stat(name)[0] & 0x4000:
            return OK
    except OSError:
        return OK
    return guard(console, lambda: execfile(name, __main__.__dict__))  # noqa: F821 - MicroPython's


def raw_repl(console):
    """OK: to the friendly REPL. EXIT: soft reset."""
    console.write(_RAW_BANNER)
    line = bytearray()
    while True:
        key = console.get()
        if key == _CTRL_A and len(line) == 2 and line[0] == _CTRL_E:
            result = _paste(console, bytes(line))
        elif key == _CTRL_A:
            console.write(_RAW_BANNER)
            line = bytearray()
            continue
        elif key == CTRL_B:
            console.write("\n")
            return OK
        elif key == CTRL_C:
            line = bytearray()
            continue
        elif key != CTRL_D:
            line.append(key)
            continue
        else:
            console.write("OK")
            if not line:
                console.write("\n")
                return EXIT
            result = run_source(console, bytes(line), eof=True)
        if result == EXIT:
            return EXIT
        line = bytearray()
        console.write(">")


def _paste(console, command):
    """Raw paste: the source with flow control."""
    if command != _PASTE:
        console.write("R\x00")
        return OK
    console.write_raw(b"R\x01" + bytes((_WINDOW, 0)) + b"\x01")
    source = bytearray()
    while True:
        key = console.get()
        if key in (CTRL_C, CTRL_D):
            break
        source.append(key)
        if len(source) % _WINDOW == 0:
            console.write("\x01")
    console.write("\x04")
    if key == CTRL_C:
        return guard(console, _interrupted, eof=True)
    return run_source(console, bytes(source), eof=True)


def _interrupted():
    raise KeyboardInterrupt

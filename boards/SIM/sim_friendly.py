"""MicroPython's friendly REPL on a chip's serial port: prompts, continued lines, paste mode.

A line is edited by backspace only, and there is no history. MicroPython only.
"""

import sys

from sim_repl import CTRL_B, CTRL_C, CTRL_D, EXIT, OK, run_source

_CTRL_A = 1
_CTRL_E = 5
_BACKSPACES = (8, 127)
_ESCAPE = 27
_COMPOUND = ("@", "if", "while", "for", "try", "with", "def", "class", "async")
_QUOTES = ("'''", '"""')


def friendly_repl(console):
    """OK: to the raw REPL. EXIT: soft reset."""
    _banner(console)
    while True:
        key, line = _read_line(console, ">>> ")
        if key == _CTRL_A:
            console.write("\n")
            return OK
        if key == CTRL_D:
            console.write("\n")
            return EXIT
        if key == CTRL_B:
            console.write("\n")
            _banner(console)
            continue
        kind = "single"
        if key == _CTRL_E:
            key, line = _read_paste(console)
            kind = "exec"
        elif key != CTRL_C:
            key, line = _continue(console, line)
        if key == CTRL_C:
            console.write("\n")
        elif line.strip() and run_source(console, line, kind) == EXIT:
            return EXIT


def _banner(console):
    console.write(sys.version[sys.version.find("MicroPython") :] + "; " + sys.implementation._machine + "\n")
    console.write('Type "help()" for more information.\n')


def _read_line(console, prompt):
    """(key that ended it, text). Control characters end an empty line only, but Ctrl-C any."""
    console.write(prompt)
    line = bytearray()
    while True:
        key = console.get()
        if key == 13:
            console.write("\n")
            return key, line.decode()
        if key == CTRL_C or (not line and key in (_CTRL_A, CTRL_B, CTRL_D, _CTRL_E)):
            return key, ""
        if key in _BACKSPACES and line:
            line = line[:-1]
            console.write("\b \b")
        elif key == _ESCAPE:
            _skip_sequence(console)
        elif key >= 32 and key != 127:
            line.append(key)
            console.write_raw(bytes((key,)))


def _skip_sequence(console):
    """Arrow keys and the like: ESC [ digits letter."""
    if console.get() == ord("["):
        while not 64 <= console.get() <= 126:
            pass


def _continue(console, line):
    """(key that ended it, text): the lines that still belong to this one."""
    key = 13
    while _is_open(line):
        key, more = _read_line(console, "... ")
        if key in (CTRL_C, CTRL_D):
            return (key, "") if key == CTRL_C else (key, line)
        line += "\n" + more
    return key, line


def _is_open(text):
    """As mp_repl_continue_with_input: brackets, triple quotes, a backslash, a compound statement."""
    depth = 0
    quote = ""
    at = 0
    while at < len(text):
        if quote:
            if text.startswith(quote, at):
                at += len(quote) - 1
                quote = ""
            elif text[at] == "\\":
                at += 1
        elif text[at] in "'\"":
            quote = text[at : at + 3] if text[at : at + 3] in _QUOTES else text[at]
            at += len(quote) - 1
        elif text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
        at += 1
    if depth > 0 or quote in _QUOTES or text.endswith("\\"):
        return True
    word = text.lstrip("@ ").split(" ")[0].split(":")[0].split("(")[0]
    compound = text.startswith("@") or word in _COMPOUND
    return compound and not text.endswith("\n")


def _read_paste(console):
    console.write("\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\n=== ")
    line = bytearray()
    while True:
        key = console.get()
        if key in (CTRL_C, CTRL_D):
            if key == CTRL_D:
                console.write("\n")
            return key, line.decode()
        line.append(key)
        if key == 13:
            console.write("\n=== ")
        else:
            console.write_raw(bytes((key,)))

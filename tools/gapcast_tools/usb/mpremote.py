"""mpremote on one port: each call is one bounded process that runs scripts on the board.

A call interrupts what runs there (Ctrl-C) and goes on in that interpreter: mpremote's soft reset would run
boot.py once more, and pre-boot waits for the network for longer than mpremote waits for an answer. A board
that is just starting does not hear Ctrl-C, so a call that was not answered is repeated. Scripts go by a file
without a name and not by the command line, which everybody can read: some hold secrets.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.holders import holders
from gapcast_tools.usb.overhear import no_prompt
from gapcast_tools.usb.process import Ended, Stop, run_tool
from gapcast_tools.usb.scripts import MARK
from gapcast_tools.usb.secrets import unnamed_files

# To the first answer, each time that it is asked for: a running MicroPython takes no longer than mpremote
# needs to start, and a chip that was just reset has booted by the second time.
FIRST_S = (5.0, 10.0)
SILENCE_S = 20.0  # then, between two lines: a script writes 4 KiB of flash, or reads 64
LISTEN_S = 1.5  # a chip that does not start tells that once in a second, or more often
LIMIT_S = 3600.0  # a file system of 16 MiB at 115200 baud
SCRIPTS = 32  # in one call: each is an open file
_HELLO = f"print('{MARK}[\"hello\"]')"
# mpremote's own `reset`: it has let go of the port when the board goes.
_RESET = ("exec", "--no-follow", "import time, machine; time.sleep_ms(100); machine.reset()")
_UNPLUGGED = re.compile(r"SerialException|Errno (?:5|6|19)\b|device disconnected|OSError.*Input/output")

_CORRUPT = 84  # LFS_ERR_CORRUPT: littlefs's own

Answer = list[object]  # ["kind", ...]: what scripts say, see scripts.py


class Mpremote:
    """One port.

    Args:
        first_s: so long the board may take to its first answer, in each attempt.
        silence_s: so long it may say nothing later.
        listen_s: so long it is listened to, if it does not answer, to tell why.
        stop: ends a call from another thread; it then raises PortFault `interrupted`.
    """

    def __init__(
        self,
        port: str,
        *,
        first_s: Sequence[float] = FIRST_S,
        silence_s: float = SILENCE_S,
        listen_s: float = LISTEN_S,
        stop: Stop | None = None,
    ) -> None:
        self.port = port
        self._silence_s = silence_s
        self._listen_s = listen_s
        self._first_s = tuple(first_s)
        self._stop = stop or Stop()

    def run(
        self,
        scripts: Sequence[str],
        on_answer: Callable[[Answer], None] | None = None,
        *,
        reset: bool = False,
    ) -> list[Answer]:
        """Run scripts on the board, one after the other, as long as none fails; what they said.

        Args:
            on_answer: told each answer as it comes.
            reset: restart the board in the end.

        Raises:
            PortFault: `busy`, `gone`, `denied`, `silent`, `garbage`, `no_micropython`, `full`, `damaged`,
                `interrupted`, or `failed` with what the board said last.
        """
        answers: list[Answer] = []
        for start in range(0, len(scripts) or 1, SCRIPTS):
            part = scripts[start : start + SCRIPTS]
            answers += self._run_some(part, on_answer, reset and start + SCRIPTS >= len(scripts))
        return answers

    def reset(self) -> None:
        """Restart the board, as by its button: boot.py runs, then the application. Raises PortFault."""
        self.run([], reset=True)

    def _run_some(
        self, scripts: Sequence[str], on_answer: Callable[[Answer], None] | None, reset: bool
    ) -> list[Answer]:
        """One call of mpremote, repeated as long as the board was not there. Raises PortFault."""
        for first_s in self._first_s:
            heard = _Heard(on_answer)
            ended = self._call(scripts, heard, first_s, reset)
            if ended.cut == "stopped":
                raise PortFault("interrupted", "interrupted", "run the command again: it goes on from there")
            if heard.is_there or _refused(ended) or not _exists(self.port):
                break
        if heard.is_there and not ended.code and not ended.cut:
            return heard.answers
        raise self._fault(heard, ended)

    def _call(self, scripts: Sequence[str], heard: _Heard, first_s: float, reset: bool) -> Ended:
        with unnamed_files([script.encode() for script in scripts]) as paths:
            runs = [word for path in paths for word in ("+", "run", path)]
            if reset:
                runs += ["+", *_RESET]
            return run_tool(
                # resume: without a soft reset, see above
                [sys.executable, "-m", "mpremote", "connect", self.port, "resume", "exec", _HELLO, *runs],
                silence_s=lambda: self._silence_s if heard.is_there else first_s,
                limit_s=LIMIT_S,
                on_line=heard.line,
                stop=self._stop,
            )

    def _fault(self, heard: _Heard, ended: Ended) -> PortFault:
        if _refused(ended):
            return _no_access(self.port)
        if heard.error is not None:
            return _script_fault(heard.error)
        if _UNPLUGGED.search(ended.text) or not _exists(self.port):
            hint = "plug it in again, and run the command again: it goes on from there"
            return PortFault("gone", f"{self.port} went away", hint)
        if heard.is_there:
            return _broken_off(ended)
        if ended.cut or "could not enter raw repl" in ended.text:
            return no_prompt(self.port, self._listen_s)
        if "No module named" in ended.text and "mpremote" in ended.text:
            return PortFault("failed", "mpremote is not installed", "install Gapcast again: `make setup`")
        return PortFault("failed", f"mpremote gave up: {_last_line(ended.text)}", "run the command again")


class _Heard:
    """The answers in mpremote's output."""

    def __init__(self, on_answer: Callable[[Answer], None] | None) -> None:
        self.answers: list[Answer] = []
        self.error: Answer | None = None
        self.is_there = False
        self._on_answer = on_answer

    def line(self, text: str) -> None:
        _, mark, rest = text.partition(MARK)
        if not mark:
            return
        try:
            answer = json.loads(rest)
        except ValueError:
            return  # the application's output got into it; what is missing is noticed by who needs it
        if not isinstance(answer, list) or not answer:
            return
        if answer == ["hello"]:
            self.is_there = True
            return
        if answer[0] == "error":
            self.error = self.error or answer
            return
        self.answers.append(answer)
        if self._on_answer is not None:
            self._on_answer(answer)


def _exists(port: str) -> bool:
    return Path(port).exists() or "://" in port  # pyserial takes URLs too


def _refused(ended: Ended) -> bool:
    return "failed to access" in ended.text


def _no_access(port: str) -> PortFault:
    """Why mpremote could not open it, which it does not say."""
    number = 0
    try:
        os.close(os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        number = error.errno or 0
    if number in (errno.ENOENT, errno.EIO, errno.ENXIO, errno.ENODEV):
        return PortFault("gone", f"{port} is not there", "is it plugged in? `gapcast ports` lists what is")
    if number in (errno.EACCES, errno.EPERM):
        hint = f"join the group that owns it (ls -l {port}; often dialout), and log in again"
        return PortFault("denied", f"{port} may not be opened by this user", hint)
    users = ", ".join(holders(port)) or "another program"
    return PortFault("busy", f"{port} is in use by {users}", "end that, and run the command again")


def _script_fault(error: Answer) -> PortFault:
    """What a script said that went wrong: ["error", type, errno, text]."""
    name, number, text = (*error[1:4], "", 0, "")[:3]
    text = _printable(str(text))
    if name == "damaged":
        hint = "run the command again; if it happens again, try another cable or hub"
        return PortFault("damaged", f"{text} did not arrive as it was sent", hint)
    if number == errno.ENOSPC:
        return full_fault("its file system is full")
    if number in (errno.EIO, errno.EILSEQ, _CORRUPT):
        hint = "save what you need from it (`gapcast backup`), erase it, and provision it anew"
        return PortFault("damaged", f"its file system cannot be read or written: error {number}", hint)
    if name == "MemoryError":
        hint = "press its reset button, and run the command again"
        return PortFault("failed", "the application leaves no memory on the board", hint)
    return PortFault(
        "failed", f"a script on the board failed: {_printable(str(name))}: {text}", "run the command again"
    )


def full_fault(message: str) -> PortFault:
    """The file system has no room."""
    hint = "remove files that nobody needs (mpremote connect PORT rm :FILE), and run the command again"
    return PortFault("full", message, hint)


def _broken_off(ended: Ended) -> PortFault:
    """It was there, and then did not go on."""
    again = "run the command again: it goes on from there"
    if ended.cut:
        return PortFault("silent", "the board stopped answering", f"is its cable in order? {again}")
    last = _last_line(ended.text)
    name, _, text = last.partition(": ")
    if re.fullmatch(r"\w+(Error|Exception|Interrupt)", name):  # no memory for the script, say
        return _script_fault(["error", name, 0, text])
    return PortFault("failed", f"mpremote gave up: {last}", again)


def _last_line(text: str) -> str:
    """The last line that is none of the scripts', which may hold secrets."""
    lines = [line for line in text.splitlines() if line.strip() and MARK not in line]
    return _printable((lines or ["no reason given"])[-1])


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]

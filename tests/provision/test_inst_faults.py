"""What can be wrong with a port: each ends soon, with a clear sentence and what to do."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import look
from gapcast_tools.usb.mpremote import Mpremote
from gapcast_tools.usb.process import Stop
from gapcast_tools.usb.scripts import Move, apply_scripts, write_scripts
from provision import inst_world as world
from provision.repl_flash import make_flash

QUICK_S = (1.0,)  # for boards that are not going to answer


@contextmanager
def line_that(answers: Callable[[bytes], bytes]) -> Iterator[str]:
    """The path of a port behind which something answers to each piece that it gets."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    stop_read, stop_write = os.pipe()

    def run() -> None:
        while stop_read not in (ready := select.select([master, stop_read], [], [])[0]):
            assert ready
            if reply := answers(os.read(master, 4096)):
                os.write(master, reply)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        os.write(stop_write, b"x")
        thread.join()
        for descriptor in (master, slave, stop_read, stop_write):
            os.close(descriptor)


def fault_of(port: str, **options: object) -> PortFault:
    with pytest.raises(PortFault) as raised:
        look(Mpremote(port, **{"first_s": QUICK_S, "listen_s": 0.4, **options}))  # type: ignore[arg-type]
    assert raised.value.hint
    return raised.value


def test_nothing_answers() -> None:
    with line_that(lambda _data: b"") as port:
        fault = fault_of(port)
    assert (fault.reason, str(fault)) == ("silent", f"nothing answers on {port}")


def test_garbage_on_the_line() -> None:
    with line_that(lambda data: bytes(range(128, 256)) * len(data)) as port:
        fault = fault_of(port)
    assert fault.reason == "garbage"


def test_a_boot_loader_without_an_application() -> None:
    with line_that(lambda _data: b"invalid header: 0xffffffff\r\n" * 3 + b"ets_main.c 371\r\n") as port:
        fault = fault_of(port)
    assert fault.reason == "no_micropython"


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    fault = fault_of(str(tmp_path / "ttyUSB9"))
    assert fault.reason == "gone"
    assert "gapcast ports" in fault.hint


def test_a_port_that_another_program_has_open() -> None:
    with line_that(lambda _data: b"") as port:
        descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as pyserial does
            assert fault_of(port).reason == "busy"
        finally:
            os.close(descriptor)


def test_what_is_no_serial_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert fault_of(str(path)).reason in ("busy", "failed")


def test_a_board_that_stops_in_the_middle() -> None:
    def dies(data: bytes) -> bytes:
        if data.endswith(b"\r\x01"):
            return b"raw REPL; CTRL-B to exit\r\n>"
        if data == b"\x05A\x01":
            return b"R\x01\x80\x00\x01" if state.pop() else b""
        return b'\x04@gc ["hello"]\r\n\x04\x04>' if data.endswith(b"\x04") else b""

    state = [False, True]
    with line_that(dies) as port:
        fault = fault_of(port, silence_s=0.5)
    assert (fault.reason, str(fault)) == ("silent", "the board stopped answering")


def test_another_thread_stops_it() -> None:
    stop = Stop()
    with line_that(lambda _data: stop.stop() or b"") as port:  # type: ignore[func-returns-value]
        assert fault_of(port, stop=stop, first_s=(60.0,)).reason == "interrupted"


@pytest.mark.usefixtures("micropython")
def test_an_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    def interrupt(_answer: object) -> None:
        raise KeyboardInterrupt

    make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        with pytest.raises(KeyboardInterrupt):
            Mpremote(line.path).run(["print('@gc [1]')\nwhile True: pass"], interrupt)
        assert look(line.path).runtime.unique_id == world.MAC  # nobody else has the port


@pytest.mark.usefixtures("micropython")
def test_faults_of_scripts(tmp_path: Path) -> None:
    make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = Mpremote(line.path)
        cases = {
            "raise ValueError('what')": ("failed", "ValueError: what"),
            "x = bytearray(1 << 30)": ("failed", "no memory"),
            "this is no Python": ("failed", "SyntaxError"),
        }
        for script, (reason, text) in cases.items():
            with pytest.raises(PortFault, match=text) as raised:
                board.run([script])
            assert raised.value.reason == reason, script
        script = next(iter(apply_scripts([])))
        number_to_reason = {28: "full", 5: "damaged", 84: "damaged", 1: "failed"}
        for number, reason in number_to_reason.items():
            with pytest.raises(PortFault) as raised:
                board.run([script.replace("_gs('done')", f"raise OSError({number})")])
            assert raised.value.reason == reason, number
        # What arrives in another form than it was sent is not renamed.
        board.run([*write_scripts([("/new.txt", b"sent")])])
        with pytest.raises(PortFault, match=r"/new\.txt did not arrive") as raised:
            board.run([*apply_scripts([Move("/new.txt", "/old.txt", "0" * 64)])])
        assert raised.value.reason == "damaged"
        assert "/old.txt" not in world.files_on(line)


def test_old_and_other_pythons() -> None:
    answers = [
        ["implementation", "micropython", [1, 22, 2], 6, "ESP32"],
        ["fixed", False],
        ["space", 4096, 9, 10],
    ]
    for name, version, reason in (
        ("micropython", [1, 22, 2], "old_micropython"),
        ("circuitpython", [9, 0, 0], "no_micropython"),
    ):
        answers[0][1:3] = [name, version]
        with pytest.raises(PortFault) as raised:
            look(_Said(answers))
        assert raised.value.reason == reason
    answers[0][1:3] = ["micropython", [1, 23, 0]]
    assert look(_Said(answers)).runtime.version == (1, 23, 0)
    for broken in (answers[:2], [], [["implementation"]], [*answers, ["file", "/boot.py", 9, "00"]]):
        with pytest.raises(PortFault) as raised:
            look(_Said(broken))
        assert raised.value.reason == "garbage"


class _Said(Mpremote):
    """A board that says what it is told to."""

    def __init__(self, answers: list[list[object]]) -> None:
        super().__init__("/dev/null")
        self._answers = answers

    def run(self, *_arguments: object, **_options: object) -> list[list[object]]:
        return self._answers

"""Child processes with an end: whatever happens, nothing of them is left."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from gapcast_tools.usb import process
from gapcast_tools.usb.process import Ended, Stop, run_tool, tool_environment

LONG_S = 60.0


def python(code: str, **options: object) -> Ended:
    limits = {"silence_s": LONG_S, "limit_s": LONG_S} | options
    return run_tool([sys.executable, "-c", code], **limits)  # type: ignore[arg-type]


def is_dead(pid: int, deadline_s: float = 10.0) -> bool:
    """Whether a process that is not our child has ended (or waits to be reaped by init)."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_lines_come_as_they_are_printed_and_the_end_is_kept() -> None:
    lines: list[str] = []
    code = "import sys; print('one'); sys.stderr.write('50%\\r100%\\rtwo\\n\\n'); print('3', end=''); exit(3)"
    ended = python(code, on_line=lines.append)
    assert sorted(lines) == ["100%", "3", "50%", "one", "two"]
    assert ended.code == 3
    assert ended.cut == ""
    assert sorted(ended.text.split()) == sorted(lines)


def test_output_is_bounded() -> None:
    lines: list[str] = []
    ended = python("print('x' * 3_000_000); print('last')", on_line=lines.append)
    assert max(map(len, lines)) <= process.MAX_LINE_CHARS
    assert len(ended.text) <= process.KEPT_CHARS
    assert ended.text.endswith("\nlast\n")


def test_garbage_is_text_too() -> None:
    assert python("import os; os.write(1, b'\\xff\\xfe ok\\n')").text == "�� ok\n"


def test_silence_ends_it() -> None:
    ended = python("import time; print('a'); time.sleep(600)", silence_s=0.5)
    assert (ended.cut, ended.code) == ("silent", -signal.SIGKILL)
    assert ended.text == "a\n"


def test_dots_without_a_line_are_no_silence_but_the_limit_ends_it() -> None:
    code = "import time\nwhile 1: print('.', end='', flush=True); time.sleep(0.02)"
    ended = python(code, silence_s=5.0, limit_s=1.0)
    assert ended.cut == "slow"
    assert set(ended.text.strip()) == {"."}


def test_a_process_that_only_closes_its_output_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "EXIT_S", 0.2)
    ended = python("import os, time; os.close(1); os.close(2); time.sleep(600)")
    assert (ended.cut, ended.code) == ("silent", -signal.SIGKILL)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_neither_it_nor_its_children(error: type[BaseException]) -> None:
    child = "import subprocess, time; p = subprocess.Popen(['sleep', '600'])"
    seen: list[int] = []

    def on_line(line: str) -> None:
        seen.extend(map(int, line.split()))
        raise error

    with pytest.raises(error):
        python(f"{child}; import os; print(os.getpid(), p.pid, flush=True); time.sleep(600)", on_line=on_line)
    assert len(seen) == 2
    assert all(is_dead(pid) for pid in seen)


def test_children_that_outlive_it_are_ended_too() -> None:
    code = (
        "import subprocess\n"
        "quiet = subprocess.DEVNULL\n"
        "p = subprocess.Popen(['sleep', '600'], stdout=quiet, stderr=quiet)\n"
        "print(p.pid)"
    )
    ended = python(code)
    assert (ended.code, ended.cut) == (0, "")
    assert is_dead(int(ended.text))


def test_stop_ends_those_of_all_threads_and_those_to_come() -> None:
    stop = Stop()
    running = threading.Semaphore(0)
    results: list[Ended] = []

    def work() -> None:
        code = "import time; print('on', flush=True); time.sleep(600)"
        results.append(python(code, stop=stop, on_line=lambda _line: running.release()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert running.acquire(timeout=30)
    stop.stop()
    for thread in threads:
        thread.join(30)
    assert [ended.cut for ended in results] == ["stopped"] * 3
    assert python("print(1)", stop=stop) == Ended(-signal.SIGKILL, "", "stopped")


def test_it_has_no_terminal_and_a_session_of_its_own() -> None:
    ended = python("import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))")
    assert ended.text == "True ''\n"
    assert os.getsid(0) != os.getpid() or ended.code == 0


def test_the_environment_changes_nothing_of_what_tools_print(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ESPTOOL_BAUD", "ESPTOOL_CFGFILE", "FORCE_COLOR", "ESP_IDE_WS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("GAPCAST_KEPT", "1")
    environment = tool_environment()
    assert environment["GAPCAST_KEPT"] == "1"
    assert not {"ESPTOOL_BAUD", "ESPTOOL_CFGFILE", "FORCE_COLOR", "ESP_IDE_WS"} & environment.keys()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        run_tool(["/nowhere/tool"], silence_s=1, limit_s=1)

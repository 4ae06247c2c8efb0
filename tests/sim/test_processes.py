"""However a simulation ends, no process and no folder of it stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sim_help import ENVIRONMENT, SECONDS, gapcast, serving

from gapcast.errors import OperatorError
from gapcast_sim import server as server_module
from gapcast_sim import workdir
from gapcast_sim.fleet import Fleet, FleetSpec
from gapcast_sim.image import BenchImage
from gapcast_sim.runtime import Runtime
from gapcast_sim.server import ServerProcess, free_port

BOARDS = 2


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS / 2
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stat(pid: int) -> list[str]:
    """State, parent and so on, of /proc/PID/stat; a process that is gone is a zombie without a parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", "0"]


def children(pid: int) -> list[int]:
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [one for one in everyone if stat(one)[1] == str(pid) and stat(one)[0] != "Z"]


def running(arguments: list[object], tmp_path: Path, ignore_interrupt: bool) -> subprocess.Popen[str]:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for a job in the background

    return subprocess.Popen(
        [sys.executable, "-m", "gapcast", *map(str, arguments)],
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore if ignore_interrupt else None,
    )


@contextmanager
def bench(
    tmp_path: Path, *, cpython: bool, ignore_interrupt: bool = False
) -> Iterator[tuple[int, list[int]]]:
    """`gapcast sim` at work: its process id, and those of its server and boards."""
    arguments = ["sim", "--boards", BOARDS, "--size", "256k", "--rate", "100k"]
    process = running([*arguments, *(["--cpython"] if cpython else [])], tmp_path, ignore_interrupt)
    try:
        until(lambda: len(children(process.pid)) == BOARDS + 1)
        until(lambda: list(tmp_path.glob("*/boards/*/ota_1.bin")))  # a download runs
        yield process.pid, children(process.pid)
        _out, error = process.communicate(timeout=SECONDS)
        assert "Traceback" not in error
    finally:
        process.kill()
        process.communicate()
    bench.code = process.returncode  # type: ignore[attr-defined]


@pytest.mark.parametrize("ignore_interrupt", [False, True])
def test_sigterm_ends_a_bench_and_cleans_up(tmp_path: Path, ignore_interrupt: bool) -> None:
    with bench(tmp_path, cpython=True, ignore_interrupt=ignore_interrupt) as (pid, others):
        os.kill(pid, signal.SIGTERM)
    assert bench.code == 143  # type: ignore[attr-defined]
    assert all(stat(other)[0] == "Z" for other in others)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_ends_a_bench_and_cleans_up(tmp_path: Path) -> None:
    with bench(tmp_path, cpython=True) as (pid, others):
        os.kill(pid, signal.SIGINT)
    assert bench.code == 130  # type: ignore[attr-defined]
    assert all(stat(other)[0] == "Z" for other in others)
    assert list(tmp_path.iterdir()) == []


def test_sigkill_leaves_no_process(runtime: Runtime, tmp_path: Path) -> None:
    with bench(tmp_path, cpython=False) as (pid, others):
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(stat(other)[0] == "Z" for other in others))


def test_sigterm_ends_a_board(tmp_path: Path, runtime: Runtime) -> None:
    (tmp_path / "file.bin").write_bytes(bytes(300_000))
    with serving(tmp_path, "--rate", "100k") as port:
        arguments = ["board", "--server", f"127.0.0.1:{port}", "--image", "file.bin", "--raw", "--flash"]
        process = running([*arguments, tmp_path / "fl"], tmp_path, False)
        until(lambda: (tmp_path / "fl" / "raw.bin").exists() and children(process.pid))
        others = children(process.pid)
        process.terminate()
        _out, error = process.communicate(timeout=SECONDS)
    assert (process.returncode, error) == (143, "gapcast: terminated\n")
    assert all(stat(other)[0] == "Z" for other in others)


# -- folders --------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(workdir.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_a_folder_goes_at_the_end_also_of_a_failure(base: Path) -> None:
    def fail() -> None:
        with workdir.work_folder() as folder:
            (folder / "x").write_text("x")
            raise OperatorError("no")

    with pytest.raises(OperatorError):
        fail()
    assert list(base.iterdir()) == []


def test_what_a_killed_simulation_left_is_removed_and_what_runs_is_not(base: Path) -> None:
    for name in ("gapcast-sim-dead", "gapcast-sim-young", "other"):
        (base / name).mkdir()
        (base / name / "x").write_text("x")
    (base / "gapcast-sim-link").symlink_to(base / "other")
    (base / "gapcast-sim-file").write_text("x")
    age(base / "gapcast-sim-dead")
    age(base / "other")
    with workdir.work_folder() as running_one:
        age(running_one)
        with workdir.work_folder():
            assert running_one.is_dir()
            assert not (base / "gapcast-sim-dead").exists()
    assert sorted(path.name for path in base.iterdir()) == [
        "gapcast-sim-file", "gapcast-sim-link", "gapcast-sim-young", "other"
    ]  # fmt: skip
    assert (base / "other" / "x").exists()


# -- the server -----------------------------------------------------------------------------------


def test_a_fleet_whose_server_does_not_start_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "START_SECONDS", 0)
    spec = FleetSpec(BenchImage(1, (), allow_unsigned=True), tmp_path, tmp_path, 1, 0.0, 1, "6M", 1 << 17)
    fleet = Fleet(spec, Runtime("none", ("none",)))
    fleet.server = ServerProcess(tmp_path, "127.0.0.1", free_port("127.0.0.1"))
    with pytest.raises(OperatorError, match="no answer"):
        asyncio.run(fleet.run(lambda _fleet: None, 0.1))
    assert fleet.server._process
    assert fleet.server._process.returncode is not None


def test_a_server_that_talks_nonsense_and_much(tmp_path: Path) -> None:
    """Lines of any length and kind, and more on standard error than a pipe holds."""
    code = r"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
sys.stderr.write("e" * 300000 + "\n")
sys.stderr.flush()
print("x" * 200000)
for line in ('{"event": "air"}', '{"event": "stopped", "air_bytes": 5}', "[]", "5", "[" * 50000, "{"):
    print(line)
print('{"event": "listening"}', flush=True)
signal.pause()
"""

    async def run() -> ServerProcess:
        server = ServerProcess(tmp_path, "127.0.0.1", 6969)
        server._argv = [sys.executable, "-c", code]
        try:
            await server.start()
        finally:
            await server.stop()
        return server

    server = asyncio.run(run())
    assert (server.failure, server.counts["listening"]) == ("", 1)
    assert server.air_bytes == {"multicast": 0, "unicast": 0}
    assert len(server._errors.text) <= 4096


# -- results --------------------------------------------------------------------------------------


def test_results_get_their_folders(tmp_path: Path) -> None:
    arguments = ("--picture", tmp_path / "a" / "b" / "p.html", "--json", tmp_path / "c" / "s.json")
    done = gapcast("sim", "--cpython", "--boards", "1", "--size", "16k", *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "b" / "p.html").exists()
    assert (tmp_path / "c" / "s.json").exists()

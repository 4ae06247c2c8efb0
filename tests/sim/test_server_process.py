"""The server of a simulated fleet, as a process (tools/gapcast_sim/server.py)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from gapcast.errors import OperatorError
from gapcast_sim.server import ServerProcess, free_port


async def start_and_stop(server: ServerProcess) -> None:
    try:
        await server.start()
    finally:
        await server.stop()


def test_a_server_comes_up_and_tells_its_counts_when_it_goes(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "127.0.0.1", free_port("127.0.0.1"))
    asyncio.run(start_and_stop(server))
    assert server.counts["listening"] == 1
    assert server.counts["stopped"] == 1
    assert server.air_bytes["multicast"] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [(("--rate", "fast"), "fast"), (("--turns", "0"), "turns"), (("--nonsense",), "nonsense")],
)
def test_a_wrong_option_is_told_in_the_servers_own_words(
    tmp_path: Path, options: tuple[str, ...], text: str
) -> None:
    server = ServerProcess(tmp_path, "127.0.0.1", free_port("127.0.0.1"), options)
    with pytest.raises(OperatorError, match="did not start") as caught:
        asyncio.run(start_and_stop(server))
    assert text in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_server_that_does_not_come_up_leaves_no_process(tmp_path: Path) -> None:
    async def fail() -> int | None:
        server = ServerProcess(tmp_path / "nowhere", "127.0.0.1", free_port("127.0.0.1"))
        try:
            await server.start()
        except OperatorError:
            assert server._process
            return server._process.returncode
        finally:
            await server.stop()
        return None

    assert asyncio.run(fail()) == 2


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        server = ServerProcess(tmp_path, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OperatorError, match="did not start") as caught:
            asyncio.run(start_and_stop(server))
    assert "Traceback" not in str(caught.value)


def test_a_missing_root_is_told(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "nowhere", "127.0.0.1", free_port("127.0.0.1"))
    with pytest.raises(OperatorError, match="does not exist"):
        asyncio.run(start_and_stop(server))


def test_a_server_can_be_killed_and_stopped_afterwards(tmp_path: Path) -> None:
    async def kill() -> None:
        server = ServerProcess(tmp_path, "127.0.0.1", free_port("127.0.0.1"))
        await server.start()
        await server.kill()
        await server.stop()

    asyncio.run(kill())


def test_a_server_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    asyncio.run(ServerProcess(tmp_path, "127.0.0.1", 1).stop())

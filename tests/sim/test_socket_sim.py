"""UDP as an ESP32 has it, in the real MicroPython (facts: esp32-micropython, section 1)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gapcast_tools.upy import Micropython

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(
    command: list[str], tmp_path: Path, world: dict[str, Any], environment: dict[str, str]
) -> dict[str, Any]:
    (tmp_path / "sim.json").write_text(json.dumps(world))
    done = subprocess.run(
        [*command, str(HERE / "upy_socket.py"), str(tmp_path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module", params=["micropython", "cpython"])
def found(
    request: pytest.FixtureRequest, micropython: Micropython, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What tests/sim/upy_socket.py saw, under either Python."""
    path = f"{ROOT / 'firmware' / 'lib'}:{ROOT / 'boards' / 'SIM'}"
    folder = tmp_path_factory.mktemp("socket")
    world = {"loss_1000": 300, "seed": 7, "rx_queue": 6}
    if request.param == "micropython":
        return run([*micropython.argv], folder, world, {"MICROPYPATH": path + ":.frozen"})
    return run([sys.executable], folder, world, {"PYTHONPATH": path})


def test_a_timeout_is_none_from_readinto(found: dict[str, Any]) -> None:
    assert found["timeout"] is None
    assert 90 <= found["timeout_ms"] < 200


def test_no_timeout_is_no_wait(found: dict[str, Any]) -> None:
    value, spent_ms = found["no_timeout"]
    assert value is None
    assert spent_ms < 60


def test_longer_timeouts_come_in_whole_steps_and_one_more_and_raise(found: dict[str, Any]) -> None:
    """modsocket.c: settimeout(t) makes t / 0.1 retries, and its loop runs once more."""
    for kind in ("readinto", "recv"):
        for seconds, least_ms in (("100", 190), ("250", 290)):
            number, spent_ms = found[f"{kind}_{seconds}"]
            assert number == 110
            assert least_ms <= spent_ms < least_ms + 90


def test_a_short_timeout_of_recv_is_eagain(found: dict[str, Any]) -> None:
    number, spent_ms = found["recv_timeout"]
    assert number == 11
    assert 90 <= spent_ms < 200


def test_a_socket_neither_bound_nor_connected_cannot_hear(found: dict[str, Any]) -> None:
    assert found["new"] == 107


def test_addresses_are_tuples(found: dict[str, Any]) -> None:
    assert found["resolved"] == ["127.0.0.1", 6969]
    assert found["from"] == ["127.0.0.1", found["sender_port"]]


def test_a_full_datagram_returns_at_once(found: dict[str, Any]) -> None:
    assert found["full"] == 32
    assert found["full_ms"] < 80


def test_short_datagrams_are_merged(found: dict[str, Any]) -> None:
    assert found["merged"] == [30, "aaaaaaaaaabbbbbbbbbbcccccccccc"]


def test_what_no_longer_fits_is_cut(found: dict[str, Any]) -> None:
    assert found["cut"] == [32, "aaaaaaaaaa" + "b" * 22]
    assert found["oversize"] == [32, "z" * 32]


def test_a_partial_fill_outlives_only_a_short_timeout(found: dict[str, Any]) -> None:
    assert found["partial"] == [10, "aaaaaaaaaa"]
    assert found["partial_late"] == 110


def test_an_empty_datagram_deafens_for_good(found: dict[str, Any]) -> None:
    assert found["deaf"] == [0, 0, 0]
    assert found["deaf_ms"] < 80
    assert found["deaf_recv"] == ["", "", ""]


def test_a_membership_takes_8_bytes(found: dict[str, Any]) -> None:
    assert found["membership"] == "ValueError"


def test_a_connected_group_socket_hears_only_its_server(found: dict[str, Any]) -> None:
    assert found["foreign"] is None


def test_multicast_is_lost_as_often_as_the_settings_say(
    found: dict[str, Any],
) -> None:
    heard, again = found["heard"], found["heard_again"]
    assert heard == again
    assert 0.6 < len(heard) / 300 < 0.8
    assert found["lost"] == 300 - len(heard)


def test_unicast_is_not_lost(found: dict[str, Any]) -> None:
    assert found["unicast"] == 100


def test_the_queue_is_short(found: dict[str, Any]) -> None:
    assert 4 <= found["queued"] <= 8


def test_no_stream_sockets(found: dict[str, Any]) -> None:
    assert found["stream"] == "OSError"


def test_losses_come_in_bursts_of_the_length_that_the_settings_say(found: dict[str, Any]) -> None:
    """Of 100,000 datagrams: what was lost, and in how many runs."""
    for burst, loss, run in ((1, 0.1, 1 / 0.9), (8, 0.1, 8.0), (2, 0.3, 2.0)):
        lost, runs = found[f"burst_{burst}"]
        assert lost / 100_000 == pytest.approx(loss, rel=0.1)
        assert lost / runs == pytest.approx(run, rel=0.1)

"""What an installation decides: boot.py, gapcast.json, and the steps in their order. No board needed."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gapcast_tools.usb import bootfile
from gapcast_tools.usb.client import boot_lines, compile_client
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import Plan, plan_install, plan_uninstall
from gapcast_tools.usb.look import BoardRuntime, Look, OnBoard
from gapcast_tools.usb.scripts import NEW, SCRIPT_BYTES, Move, Remove, apply_scripts, write_scripts
from gapcast_tools.usb.secrets import Secret
from gapcast_tools.usb.settings import build_settings, pack_settings, read_settings, same_settings

START = b"import agent\nagent.run()\n"
CLIENT = {"/lib/gapcast_boot/agent.mpy": b"a", "/lib/gapcast_core/wire.mpy": b"w"}
SETTINGS = {"server": "192.0.2.1"}


def board(files: dict[str, bytes], *, frozen: bool = False) -> Look:
    """A board with these files."""
    found = {path: OnBoard(len(data), hashlib.sha256(data).hexdigest(), data) for path, data in files.items()}
    folders = sorted({path.rsplit("/", 1)[0] for path in files if path.count("/") == 3})
    return Look(BoardRuntime((1, 25, 0), 6, "", "", frozen), 4096, 200, found, tuple(folders))


def carried_out(files: dict[str, bytes], plan: Plan) -> list[dict[str, bytes]]:
    """The files of a board after each step."""
    now = {**files, **plan.writes}
    states = []
    for step in plan.steps:
        if isinstance(step, Move):
            assert hashlib.sha256(now[step.source]).hexdigest() == step.sha256
            now[step.path] = now.pop(step.source)
        elif not step.is_folder:
            now.pop(step.path, None)
        states.append(dict(now))
    return states


# ---- boot.py ----

boots = st.one_of(
    st.none(), st.binary(max_size=60), st.sampled_from([b"", b"\n", b"import x", b"# a\r\nb\r\n"])
)


@given(boots)
def test_boot_py_comes_back_byte_by_byte(own: bytes | None) -> None:
    text = own or b""
    assume(text.split() != START.split() and bootfile.BEGIN not in text and bootfile.END not in text)
    with_ours = bootfile.with_block(own, START)
    assert bootfile.has_block(with_ours)
    assert bootfile.without_block(with_ours) == own
    assert bootfile.with_block(with_ours, START) == with_ours
    newer = bootfile.with_block(with_ours, b"other()")
    assert (b"other()" in newer, bootfile.without_block(newer)) == (True, own)


def test_lines_that_the_user_moved_stay_there() -> None:
    block = bootfile.with_block(b"x", START).removesuffix(b"x")
    moved = b"first()\n" + block + b"last()"
    assert bootfile.with_block(moved, START) == moved
    assert bootfile.without_block(moved) == b"first()\nlast()"


def test_a_boot_py_that_was_copied_by_hand_is_ours() -> None:
    with_ours = bootfile.with_block(START.replace(b"\n", b"\r\n"), START)
    assert with_ours.count(b"agent.run()") == 1
    assert bootfile.without_block(with_ours) is None


def test_lines_that_the_user_added_to_ours_alone_stay() -> None:
    with_ours = bootfile.with_block(None, START) + b"mine()\n"
    assert bootfile.without_block(bootfile.with_block(with_ours, START)) == b"mine()\n"


@pytest.mark.parametrize("text", [b"%s\nx\n", b"x\n%s", b"%s\n%s\n%s\n"])
def test_halves_of_our_lines_are_told(text: bytes) -> None:
    for mark in (bootfile.BEGIN, bootfile.END):
        data = text.replace(b"%s", mark)
        with pytest.raises(PortFault):
            bootfile.without_block(data)
        with pytest.raises(PortFault):
            bootfile.with_block(data, START)


def test_which_boot_py_nobody_wrote() -> None:
    default = b"# This file is executed on every boot (including wake-boot from deepsleep)\n#import esp\n"
    assert bootfile.is_default(None)
    assert bootfile.is_default(default)
    assert bootfile.is_default(bootfile.with_block(default, START))
    assert not bootfile.is_default(default + b"import x\n")
    assert not bootfile.is_default(b"# mine\n")


def test_the_lines_are_those_of_the_firmware_folder() -> None:
    assert b"agent.run()" in boot_lines()
    compile(boot_lines(), "boot.py", "exec")


# ---- gapcast.json ----


def test_what_is_given_goes_over_what_is_there() -> None:
    there = {
        "server": "old",
        "stall_ms": 1,
        "wifi_password": Secret("x"),
        "provisioned": {},
    }
    assert build_settings(there) == there
    found = build_settings(
        there, server="new", wifi_ssid="lab", wifi_open=True, keys=["k"], provisioned={"firmware": "ab"}
    )
    assert found == {
        "server": "new",
        "stall_ms": 1,
        "wifi_ssid": "lab",
        "keys": ["k"],
        "provisioned": {"firmware": "ab"},
    }
    assert there["server"] == "old"


def test_settings_go_to_a_board_and_come_back() -> None:
    settings = build_settings(report_key=Secret("ab" * 32), wifi_password=Secret("geheim-ü"), port=6969)
    data = pack_settings(settings)
    assert json.loads(data)["wifi_password"] == "geheim-ü"
    assert read_settings(data) == settings
    assert same_settings(json.dumps(json.loads(data), indent=3).encode(), settings)
    assert not same_settings(data, {**settings, "port": 69})
    assert not same_settings(None, settings)
    assert not same_settings(b"{", settings)
    assert "geheim" not in repr(read_settings(data))


@pytest.mark.parametrize(
    "data", [b"{", b"[1]", b"\xff", b'{"wifi_password": "geheim"', b'{"mine": "\\ud800"}', b"[" * 9999]
)
def test_settings_that_are_damaged_are_told_without_showing_them(data: bytes) -> None:
    with pytest.raises(PortFault) as raised:
        read_settings(data)
    assert raised.value.reason == "damaged"
    assert "geheim" not in str(raised.value) + raised.value.hint
    assert raised.value.__cause__ is None


def test_no_settings() -> None:
    assert read_settings(None) is None
    assert read_settings(b" \n") is None


# ---- steps ----


@pytest.mark.parametrize("own", [None, b"", b"mine()\n"])
def test_at_no_step_an_incomplete_client_is_started(own: bytes | None) -> None:
    older = {
        **CLIENT,
        "/lib/gapcast_boot/agent.mpy": b"older",
        "/lib/gapcast_boot/gone.mpy": b"x",
        "/gapcast.json": b"{}",
        "/boot.py": bootfile.with_block(own, START),
    }
    ours = {path: data for path, data in older.items() if path.startswith("/lib")}
    for before in (older, {} if own is None else {"/boot.py": own}):
        plan = plan_install(board(before), CLIENT, SETTINGS, START)
        states = carried_out(before, plan)
        for state in states:
            if bootfile.has_block(state.get("/boot.py")):
                found = {p: d for p, d in state.items() if p.startswith("/lib") and not p.endswith(NEW)}
                assert found in (ours, CLIENT)
                assert "/gapcast.json" in state
        assert set(states[-1]) == {*CLIENT, "/gapcast.json", "/boot.py"}
        done = plan_install(board(states[-1]), CLIENT, SETTINGS, START)
        assert (done.writes, done.steps, done.changed) == ({}, [], [])
        off = carried_out(states[-1], plan_uninstall(board(states[-1])))
        assert off[-1] == ({} if own is None else {"/boot.py": own})
        assert plan_uninstall(board(off[-1])).steps == []
        for number, state in enumerate(off[:-1]):  # interrupted there, and again
            assert bootfile.has_block(state.get("/boot.py")) <= (CLIENT.items() <= state.items()), number
            assert carried_out(state, plan_uninstall(board(state)))[-1:] in ([off[-1]], [])


def test_a_frozen_client_needs_settings_only() -> None:
    plan = plan_install(board({"/boot.py": b"mine"}, frozen=True), CLIENT, SETTINGS, START)
    assert plan.changed == ["/gapcast.json"]
    # It had been installed before: then it would run twice.
    before = {**CLIENT, "/boot.py": bootfile.with_block(b"mine", START), "/gapcast.json": b"{}"}
    states = carried_out(before, plan_install(board(before, frozen=True), CLIENT, SETTINGS, START))
    assert states[-1] == {"/boot.py": b"mine", "/gapcast.json": pack_settings(SETTINGS)}
    again = plan_install(board(states[-1], frozen=True), CLIENT, SETTINGS, START)
    assert again.steps == []


def test_only_new_settings_leave_the_client_running() -> None:
    before = {**CLIENT, "/boot.py": bootfile.with_block(b"mine", START), "/gapcast.json": b"{}"}
    plan = plan_install(board(before), CLIENT, SETTINGS, START)
    assert [step.path for step in plan.steps] == ["/gapcast.json"]


def test_what_an_interrupted_run_left_is_cleared_away() -> None:
    done = {**CLIENT, "/boot.py": bootfile.with_block(None, START), "/gapcast.json": pack_settings(SETTINGS)}
    left = {f"/gapcast.json{NEW}": b"{", f"/lib/gapcast_boot/agent.mpy{NEW}": b"half"}
    states = carried_out({**done, **left}, plan_install(board({**done, **left}), CLIENT, SETTINGS, START))
    assert states[-1] == done


# ---- scripts ----


@given(st.lists(st.tuples(st.sampled_from(["/a", "/b/ü'\"\\"]), st.binary(max_size=6000)), max_size=4))
def test_scripts_are_short_and_say_how_far_they_are(files: list[tuple[str, bytes]]) -> None:
    scripts = list(write_scripts(files))
    said = [int(script.split("_gs('at', ")[1].split(")")[0]) for script in scripts]
    assert said == sorted(said)
    assert said[-1] == sum(len(path) + len(data) for path, data in files)
    assert max(len(script) for script in scripts) < 2 * SCRIPT_BYTES
    for script in scripts:
        compile(script, "board", "exec")
    steps = [Move(path + NEW, path, "00" * 32) for path, _ in files] + [Remove("/x"), Remove("/lib", True)]
    for script in apply_scripts(steps):
        compile(script, "board", "exec")


def test_the_client_is_compiled_for_a_board_of_that_kind() -> None:
    esp32 = compile_client(BoardRuntime((1, 25, 0), 10 << 10 | 3 << 8 | 6, "ESP32", "", False))
    files = [path for path in esp32.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".mpy"}
    assert (esp32 / "gapcast_boot" / "agent.mpy").is_file()
    riscv = compile_client(BoardRuntime((1, 26, 0), 11 << 10 | 3 << 8 | 6, "ESP32-C3", "", False))
    assert riscv != esp32

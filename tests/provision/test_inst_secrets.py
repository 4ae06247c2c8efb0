"""Secrets: in no process list, no environment of a child, no output and no file but the board's."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gapcast.errors import OperatorError
from gapcast_tools.usb.client import compile_client
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.install import ask, install, settings_on, uninstall
from gapcast_tools.usb.secrets import PASSWORD_VARIABLE, Secret, fresh_key, unnamed_files, wifi_password
from gapcast_tools.usb.settings import pack_settings
from provision import inst_world as world
from provision.repl_flash import make_flash

SECRETS = (world.PASSWORD.encode(), world.REPORT_KEY.encode())


class Spy:
    """Reads /proc/*/cmdline and environ of all processes but ours, over and over."""

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}  # of processes of mpremote: "PID what" -> content
        self.shown: list[str] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                if folder.name != str(os.getpid()):
                    self._look(folder)

    def _look(self, folder: Path) -> None:
        for name in ("cmdline", "environ"):
            try:
                data = (folder / name).read_bytes()
            except OSError:  # it has ended
                continue
            if name == "cmdline" and b"mpremote" in data:
                self.seen[folder.name] = data
            self.shown += [f"{folder.name} {name}" for secret in SECRETS if secret in data]

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._done.set()
            self._thread.join()


@pytest.mark.usefixtures("micropython")
def test_no_process_file_or_output_shows_a_secret(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    chip, temp, home = (tmp_path / name for name in ("chip", "temp", "home"))
    for folder in (temp, home):
        folder.mkdir()
    for name, value in {"TMPDIR": temp, "HOME": home, "XDG_CONFIG_HOME": home}.items():
        monkeypatch.setenv(name, str(value))
    make_flash(chip)
    spy = Spy()
    with world.plug(chip) as line:
        board = world.board(line)
        client = compile_client(ask(board))
        monkeypatch.setenv(PASSWORD_VARIABLE, world.PASSWORD)  # children must not have it, asked for or not
        with spy.watching():
            install(board, client, world.settings(wifi_password=Secret(world.PASSWORD)))
            install(board, client, world.settings(image="other"))
            found = settings_on(board)
            assert wifi_password(None, "lab") == Secret(world.PASSWORD)
            uninstall(board)
        assert found is not None
        assert found["wifi_password"] == Secret(world.PASSWORD)
    assert len(spy.seen) >= 3  # it did look
    assert not spy.shown
    captured = capfd.readouterr()
    told = captured.out + captured.err + caplog.text + repr(found) + str(world.settings())
    left = [path.read_bytes() for folder in (temp, home) for path in folder.rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert secret.decode() not in told
        assert not any(secret in data for data in left)


@pytest.mark.usefixtures("micropython")
def test_a_fault_in_the_middle_tells_no_secret(tmp_path: Path) -> None:
    make_flash(tmp_path)
    with world.plug(tmp_path) as line:
        board = world.board(line)
        with pytest.raises(PortFault) as raised:
            board.run([f"x = {pack_settings(world.settings()).decode()!a}\nthis is no Python"])
        assert raised.value.reason == "failed"
        told = "".join(traceback.format_exception(raised.value))
        assert not [secret for secret in SECRETS if secret.decode() in told]


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("horse-battery")
    try:
        raise ValueError(secret)
    except ValueError as error:
        texts = [str(secret), repr(secret), f"{secret}", repr({"a": secret})]
        texts += traceback.format_exception(error)
    assert not [text for text in texts if "horse" in text]
    assert secret.reveal() == "horse-battery"
    assert secret == Secret("horse-battery")
    assert secret != Secret("other")
    assert secret != "horse-battery"
    assert len({secret, Secret("horse-battery")}) == 1
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert fresh_key() != fresh_key()
    assert len(bytes.fromhex(fresh_key().reveal())) == 32


def test_unnamed_files_are_read_by_a_child_and_then_gone() -> None:
    with unnamed_files([b"one", b"two"]) as paths:
        assert [Path(path).read_bytes() for path in paths] == [b"one", b"two"]
        assert {Path(path).stat().st_mode & 0o777 for path in paths} == {0o600}
    assert not any(Path(path).exists() for path in paths)


def test_the_password_comes_from_the_file_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text("from the file \n")
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert wifi_password(file, "lab") == Secret("from the file ")
    assert PASSWORD_VARIABLE not in os.environ
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert wifi_password(None, "lab") == Secret("from the environment")
    assert PASSWORD_VARIABLE not in os.environ


def test_the_password_is_asked_for_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(OperatorError, match="no password for the Wi-Fi network 'lab'"):
        wifi_password(None, "lab")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    prompts: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompts.append(prompt) or "as typed in")
    assert wifi_password(None, "lab") == Secret("as typed in")
    assert "lab" in prompts[0]

    def interrupted(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", interrupted)
    with pytest.raises(OperatorError):
        wifi_password(None, "lab")


@pytest.mark.parametrize("text", ["", "short", "x" * 64, "grün-ist-die", "with\ttabulator", "two\nlines12"])
def test_what_is_no_wpa_password_is_refused_without_showing_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(text)
    with pytest.raises(OperatorError) as raised:
        wifi_password(file, "lab")
    assert not text or text not in str(raised.value).replace("password", "")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, data in ((tmp_path / "none", None), (tmp_path / "binary", b"\xff\xfe\x00" * 9)):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(OperatorError):
            wifi_password(path, "lab")

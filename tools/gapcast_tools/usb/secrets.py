"""Secrets of boards: the Wi-Fi password and the report key. Nothing in here shows one by accident."""

from __future__ import annotations

import errno
import getpass
import hmac
import os
import re
import resource
import secrets
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from gapcast.errors import OperatorError
from gapcast_core.report import KEY_BYTES

PASSWORD_VARIABLE = "GAPCAST_WIFI_PASSWORD"
MAX_PASSWORD_FILE_BYTES = 1024
_WAYS = (
    f"--wifi-password-file FILE, the variable {PASSWORD_VARIABLE}, or --wifi-open for a network without one"
)


class Secret:
    """A text that shows itself only to who asks for it: not in str, repr, a traceback, JSON or a pickle."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


def fresh_key() -> Secret:
    """A board's new report key: 64 hex digits."""
    return Secret(secrets.token_hex(KEY_BYTES))


def wifi_password(file: Path | None, ssid: str) -> Secret | None:
    """The password of the network `ssid`: from `file`, else the environment, else asked for on the terminal.

    Call it once, before threads begin: it takes the variable out of the environment. (/proc goes on showing
    what we were started with, but to this user only.)

    Raises:
        OperatorError: There is none to be had, or it is none that WPA takes.
    """
    from_environment = os.environ.pop(PASSWORD_VARIABLE, None)
    if file is not None:
        return _checked(_from_file(file), str(file))
    if from_environment is not None:
        return _checked(from_environment, PASSWORD_VARIABLE)
    return _checked(_asked(ssid), "the input")


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without secrets: what other programs are started with."""
    return {name: value for name, value in environment.items() if name != PASSWORD_VARIABLE}


@contextmanager
def unnamed_files(texts: Sequence[bytes]) -> Iterator[list[str]]:
    """Paths by which a child process reads `texts`. They are in memory only, and end with this process.

    So nothing has to be removed, however we end: there is no name in any folder. Linux shows the paths to
    this user's processes alone (/proc/PID/fd, see ptrace(2) on PTRACE_MODE_READ).
    """
    descriptors: list[int] = []
    try:
        for text in texts:
            descriptor = _new_file()
            descriptors.append(descriptor)
            os.fchmod(descriptor, 0o600)
            _write(descriptor, text)
        yield [f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in descriptors]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _new_file() -> int:
    """Many boards at once are many files: more than a process has by default."""
    try:
        return os.memfd_create("gapcast", os.MFD_CLOEXEC)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft >= hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * soft, hard), hard))
        return _new_file()


def _write(descriptor: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(descriptor, view) :]


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PASSWORD_FILE_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", _WAYS) from error
    except UnicodeDecodeError:
        raise OperatorError(f"{path} holds no Wi-Fi password", "it must be a line of text") from None
    return re.sub(r"\r?\n\Z", "", text)


def _asked(ssid: str) -> str:
    if not sys.stdin.isatty():
        raise OperatorError(f"no password for the Wi-Fi network {ssid!r}", _WAYS)
    try:
        return getpass.getpass(f"Password of the Wi-Fi network {ssid}: ")
    except (EOFError, termios.error):
        raise OperatorError(f"no password for the Wi-Fi network {ssid!r}", _WAYS) from None


def _checked(text: str, origin: str) -> Secret:
    """WPA: 8 to 63 characters of ASCII, or 64 hex digits (IEEE 802.11i, annex H.4)."""
    if not text:
        raise OperatorError(f"{origin} holds an empty Wi-Fi password", _WAYS)
    is_phrase = re.fullmatch(r"[ -~]{8,63}", text) is not None
    if not is_phrase and re.fullmatch(r"[0-9a-fA-F]{64}", text) is None:
        hint = "WPA takes 8 to 63 characters of ASCII, or 64 hex digits"
        raise OperatorError(f"{origin} holds no Wi-Fi password: {len(text)} characters", hint)
    return Secret(text)

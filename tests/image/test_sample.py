"""Sample firmware: exact sizes, and an application inside that both Pythons run."""

from __future__ import annotations

import ast
import os
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS
from gapcast.image.espapp import parse_app
from gapcast.image.sample import application_block, build_sample, main_source, read_application
from gapcast.image.sample_apps import APPS
from gapcast_tools.upy import search

ESP32 = CHIPS["esp32"]
SMALLEST_AIM = 2048
# What the boot loader of a simulated board does: take the source out of the slot, and call its main; with
# something in the place of the modules that only boards have.
RUNNER = """
import hashlib, struct, sys
with open(sys.argv[1], "rb") as file:
    file.seek(288)
    magic, form, size, digest = struct.unpack("<8sII32s", file.read(48))
    source = file.read(size)
assert magic == b"GAPSIMAP" and form == 1 and hashlib.sha256(source).digest() == digest
class Board:
    def report(self, version):
        print("runs", version)
class Health:
    def alive(self, check=None):
        print("alive")
        if len(sys.argv) > 2:
            raise SystemExit
    def run(self, main):
        try:
            main()
        except Exception as error:
            print("failed:", error)
class Network:
    STA_IF = 0
    def WLAN(self, interface):
        return self
    def active(self, on):
        print("network", on)
class Boot:
    health = Health()
sys.modules["gapcast_boot"] = Boot
sys.modules["network"] = Network()
scope = {}
exec(source.decode(), scope)
scope["main"](Board())
"""


@given(st.integers(600, 70000))
@settings(max_examples=60, deadline=None)
def test_any_size_to_the_byte(size: int) -> None:
    data = build_sample(size, "1.0", ESP32)
    assert len(data) == size
    parsed = parse_app(data, ESP32)
    assert parsed.descriptor.version == "1.0"
    assert parsed.trailer_bytes == size % 16
    assert set(data[parsed.image_bytes :]) <= {0xFF}
    assert read_application(data) == main_source("1.0")


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert build_sample(65536, "1.0", ESP32, 5) == build_sample(65536, "1.0", ESP32, 5)
    first, other = build_sample(65536, "1.0", ESP32, 5), build_sample(65536, "1.0", ESP32, 6)
    assert sum(a == b for a, b in zip(first[1024:], other[1024:], strict=True)) < 1000


def test_the_payload_does_not_compress() -> None:
    data = build_sample(1 << 20, "1.0", ESP32)
    assert len(zlib.compress(data)) > len(data) * 0.999


def test_a_size_out_of_range_says_which_would_do() -> None:
    with pytest.raises(OperatorError) as caught:
        build_sample(100, "1.0", ESP32)
    smallest = int(caught.value.hint.split()[1])
    assert smallest <= SMALLEST_AIM
    assert len(build_sample(smallest, "1.0", ESP32)) == smallest
    with pytest.raises(OperatorError, match=str(smallest)):
        build_sample(smallest - 1, "1.0", ESP32)
    with pytest.raises(OperatorError, match="16777215"):
        build_sample(1 << 24, "1.0", ESP32)


@pytest.mark.parametrize("version", ["", "a b", "\n", "ü", "x" * 40, "quote\"'\\"])
def test_versions(version: str) -> None:
    if version.startswith("quote"):
        tree = ast.parse(main_source(version))
        (value,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
        assert ast.literal_eval(value) == version
    else:
        with pytest.raises(OperatorError):
            build_sample(4096, version, ESP32)


def test_a_main_of_ones_own() -> None:
    source = "# grün\ndef main(board):\n    pass\n"
    assert read_application(build_sample(4096, "1.0", ESP32, source=source)) == source
    for wrong in ("def main(:\n", "def start(board):\n    pass\n", "\0"):
        with pytest.raises(OperatorError):
            application_block(wrong)


def test_a_damaged_application_block_is_none() -> None:
    data = bytearray(build_sample(4096, "1.0", ESP32))
    for offset in (288, 296, 300, 310, 340):
        data[offset] ^= 1
        assert read_application(bytes(data)) is None
        data[offset] ^= 1
    assert read_application(bytes(data[:300])) is None


def run_sample(runtime: str, app: str, folder: Path, timeout_s: float = 30) -> str:
    """What the application says when `runtime` runs it."""
    image, runner = folder / "fw.bin", folder / "runner.py"
    image.write_bytes(build_sample(8192, "7.8.9", ESP32, app=app))
    runner.write_text(RUNNER)
    command = ["python3"]
    if runtime == "micropython":
        found, _reasons = search(fetch=False, progress=lambda _text: None)
        if found is None:
            pytest.skip("no MicroPython")
        command = [*found.argv]
    command += [str(runner), str(image)]
    if app == "offline":
        command.append("ends at alive()")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("ok", "alive\n"),
        ("exception", "failed: this sample always fails\n"),
        ("offline", "network False\nalive\n"),
        ("silent", ""),
    ],
)
def test_the_applications_run(runtime: str, app: str, said: str, tmp_path: Path) -> None:
    assert run_sample(runtime, app, tmp_path) == "runs 7.8.9\n" + said


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_the_application_that_hangs(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        run_sample(runtime, "hang", tmp_path, timeout_s=2)
    assert caught.value.stdout == b"runs 7.8.9\n"


def test_every_application_is_python_and_small() -> None:
    assert set(APPS) == {"ok", "exception", "hang", "offline", "silent", "watch"}
    for app in APPS:
        source = main_source("x" * 31, app)
        assert source.splitlines() == [line.rstrip() for line in source.splitlines()]
        assert len(source) < 1024
        assert read_application(build_sample(4096, "1.0", ESP32, app=app)) == main_source("1.0", app)

"""The folders in boards/: complete, of one mind with each other and with the code, buildable out of tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gapcast import __version__
from gapcast.image.boards import BOARD_CHIPS
from gapcast_tools.boards.definition import BoardDef, board_names, load_board
from gapcast_tools.boards.table import parse_csv
from gapcast_tools.data import data_path

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "firmware" / "lib"
MODULES = sorted(path.relative_to(LIB).as_posix() for path in LIB.rglob("*.py"))
BOARDS = [load_board(name) for name in board_names()]
each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
MIB = 1 << 20


def test_the_chips_are_those_of_image_build() -> None:
    assert {board.name: board.chip for board in BOARDS} | {"SIM": "esp32"} == BOARD_CHIPS


def test_every_csv_is_a_boards() -> None:
    used = {layout.partitions.resolve() for board in BOARDS for layout in board.layouts}
    assert used == {path.resolve() for path in (ROOT / "boards").rglob("*.csv")}
    for path in used:
        parse_csv(path.read_text())


@each_board
def test_a_folder_is_complete(board: BoardDef) -> None:
    variants = {"mpconfigvariant_FLASH_8M.cmake", "mpconfigvariant_FLASH_16M.cmake"}
    files = {"board.json", "gapcast.toml", "manifest.py", "mpconfigboard.cmake", "mpconfigboard.h"}
    assert {path.name for path in board.folder.iterdir()} == files | variants | {"sdkconfig.board"}
    facts = json.loads((board.folder / "board.json").read_text())
    assert facts["mcu"] == board.chip
    assert int(facts["deploy_options"]["flash_offset"], 0) == board.chip_facts.boot_address
    assert set(facts["variants"]) == {"FLASH_8M", "FLASH_16M"}
    assert "OTA" in facts["features"]
    for name in (*facts["deploy"], facts["docs"]):
        assert (board.folder / name).is_file()
    header = (board.folder / "mpconfigboard.h").read_text()
    assert f'#include "boards/{board.name}/mpconfigboard.h"' in header
    assert re.search(
        r'#undef MICROPY_HW_BOARD_NAME\n#define MICROPY_HW_BOARD_NAME "[^"]+ with Gapcast"\n', header
    )
    assert board.block_bytes == 1024
    assert f"`{board.name}`" in (ROOT / "boards/README.md").read_text().replace("`_", "`ESP32_GENERIC_")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake: apt install cmake")
@pytest.mark.parametrize("variant", ["", "FLASH_8M", "FLASH_16M"])
@each_board
def test_cmake_finds_everything_from_another_tree(board: BoardDef, variant: str, tmp_path: Path) -> None:
    """As ports/esp32/CMakeLists.txt uses a board's folder: its includes, then all sdkconfig files."""
    upstream = tmp_path / "boards" / board.name
    upstream.mkdir(parents=True)
    (upstream.parent / "sdkconfig.base").write_text(
        'CONFIG_ESPTOOLPY_FLASHSIZE_4MB=y\nCONFIG_PARTITION_TABLE_CUSTOM_FILENAME="partitions-4MiBplus.csv"\n'
    )
    (upstream / "mpconfigboard.cmake").write_text("set(SDKCONFIG_DEFAULTS boards/sdkconfig.base)\n")
    script = ["include(${MICROPY_BOARD_DIR}/mpconfigboard.cmake)"]
    script += ["include(${MICROPY_BOARD_DIR}/mpconfigvariant_" + f"{variant}.cmake)"] if variant else []
    script += ["foreach(name ${SDKCONFIG_DEFAULTS})", "file(READ ${name} text)"]
    script += ['file(APPEND combined "${text}")', "endforeach()"]
    script += [r'file(WRITE facts "${IDF_TARGET}\n${MICROPY_FROZEN_MANIFEST}\n")']
    (tmp_path / "all.cmake").write_text("\n".join(script))
    command = ["cmake", f"-DMICROPY_BOARD_DIR={board.folder}", "-P", "all.cmake"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    target, manifest = (tmp_path / "facts").read_text().split()
    assert target == board.chip
    assert Path(manifest).resolve() == (board.folder / "manifest.py").resolve()
    settings = sdkconfig((tmp_path / "combined").read_text())
    check_settings(settings)
    mib = {"": 4, "FLASH_8M": 8, "FLASH_16M": 16}[variant]
    table = Path(settings["CONFIG_PARTITION_TABLE_CUSTOM_FILENAME"].strip('"'))
    assert settings["CONFIG_PARTITION_TABLE_CUSTOM"] == "y"
    assert table.is_absolute()
    assert table.resolve() == board.layout(mib * MIB).partitions.resolve()
    sizes = {name for name, value in settings.items() if "FLASHSIZE_" in name and value == "y"}
    assert sizes == {f"CONFIG_ESPTOOLPY_FLASHSIZE_{mib}MB"}


@each_board
def test_the_settings(board: BoardDef) -> None:
    """Also where there is no cmake."""
    common = (ROOT / "boards/sdkconfig.gapcast").read_text()
    check_settings(sdkconfig(common + (board.folder / "sdkconfig.board").read_text()))


def sdkconfig(text: str) -> dict[str, str]:
    """What counts: the last line of each name."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r'CONFIG_[A-Z0-9_]+=(y|n||\d+|"[^"]+")', line) for line in lines), lines
    return dict(line.split("=", 1) for line in lines)


def check_settings(settings: dict[str, str]) -> None:
    assert settings["CONFIG_LWIP_UDP_RECVMBOX_SIZE"] == "64"
    assert settings["CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE"] == "y"
    assert settings["CONFIG_COMPILER_OPTIMIZATION_SIZE"] == "y"
    assert settings["CONFIG_COMPILER_OPTIMIZATION_PERF"] == "n"
    assert int(settings["CONFIG_ESP_WIFI_DYNAMIC_RX_BUFFER_NUM"]) in (32, 64)


class Manifest:
    """MicroPython's tools/manifestfile.py, as far as our manifests use it."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.included: list[str] = []

    def run(self, path: Path, **options: object) -> None:
        names = {
            "include": lambda name, **given: self._include(path.parent, name, **given),
            "package": lambda name, base_path: self._package(path.parent / base_path, name),
            "module": lambda name, base_path: self._add(name, path.parent / base_path / name),
            "options": Options(options),
        }
        code = compile(path.read_text(), str(path), "exec")
        exec(code, names)  # noqa: S102 - our own file, executed as MicroPython's build executes it

    def _include(self, folder: Path, name: str, **options: object) -> None:
        self.included.append(name)
        if not name.startswith("$(PORT_DIR)"):
            self.run((folder / name).resolve(), **options)

    def _package(self, base: Path, name: str) -> None:
        found = sorted((base / name).rglob("*.py"))
        assert found
        for path in found:
            self._add(path.relative_to(base).as_posix(), path)

    def _add(self, name: str, path: Path) -> None:
        assert path.is_file()
        assert name not in self.files
        self.files[name] = path


class Options:
    def __init__(self, given: dict[str, object]) -> None:
        self._given = given
        self._defaults: dict[str, object] = {}

    def defaults(self, **defaults: object) -> None:
        self._defaults = defaults

    def __getattr__(self, name: str) -> Any:
        return self._given.get(name, self._defaults.get(name))


@each_board
def test_the_manifest_freezes_the_client_and_its_boot(board: BoardDef) -> None:
    manifest = Manifest()
    manifest.run(board.folder / "manifest.py")
    assert manifest.included[0] == "$(PORT_DIR)/boards/manifest.py"
    assert sorted(manifest.files) == sorted([*MODULES, "boot.py"])
    assert manifest.files["boot.py"].resolve() == ROOT / "firmware/frozen/boot.py"


def test_a_board_may_have_a_boot_of_its_own() -> None:
    manifest = Manifest()
    manifest.run(ROOT / "firmware/manifest.py", boot=False)
    assert sorted(manifest.files) == MODULES


def test_mip_gets_every_module() -> None:
    package = json.loads((ROOT / "firmware/package.json").read_text())
    assert package["urls"] == [[name, f"lib/{name}"] for name in MODULES]
    assert package["version"] == __version__
    assert package["deps"] == []


@pytest.mark.parametrize("where", ["./firmware/package.json", "firmware/package.json", "package.json"])
def test_mpremote_finds_them_from_a_checkout(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """mpremote's own code, up to the file system of the board."""
    written = mip(
        where, monkeypatch, lambda: monkeypatch.chdir(ROOT / "firmware" if "/" not in where else ROOT)
    )
    assert written == {f"/lib/{name}": (LIB / name).read_bytes() for name in MODULES}


def test_mpremote_finds_them_on_a_git_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import urllib.request

    asked = []

    def urlopen(url: str) -> io.BytesIO:
        asked.append(url)
        path = url.removeprefix("https://raw.githubusercontent.com/owner/gapcast/v1/")
        assert path != url
        return io.BytesIO((ROOT / path).read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    written = mip("github:owner/gapcast/firmware/package.json@v1", monkeypatch, lambda: None)
    assert written == {f"/lib/{name}": (LIB / name).read_bytes() for name in MODULES}
    assert len(asked) == len(MODULES) + 1


def mip(package: str, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None]) -> dict[str, bytes]:
    """What `mpremote mip install` of this version writes to a board."""
    module = pytest.importorskip("mpremote.mip")
    written: dict[str, bytes] = {}

    class Transport:
        def fs_exists(self, _path: str) -> bool:
            return True

        def fs_writefile(self, path: str, data: bytes, **_options: object) -> None:
            assert path not in written
            written[path] = data

    before()
    name, _, version = package.partition("@")
    module._install_package(Transport(), name, "https://none.invalid", "/lib", version or None, True)
    return written


def test_the_wheel_has_all_of_it() -> None:
    """Whole folders, so nothing can be forgotten; and they are found there."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]
    assert included["boards"] == "gapcast_sim/_data/boards"
    assert included["firmware"] == "gapcast_sim/_data/firmware"


def test_the_wheels_data_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gapcast_tools.data

    packages = tmp_path / "site-packages"
    shutil.copytree(ROOT / "boards", packages / "gapcast_sim/_data/boards")
    shutil.copytree(ROOT / "firmware", packages / "gapcast_sim/_data/firmware")
    monkeypatch.setattr(gapcast_tools.data, "__file__", str(packages / "gapcast_tools" / "data.py"))
    assert data_path("boards").is_relative_to(packages)
    for name in board_names():
        board = load_board(name)
        assert board.folder.is_relative_to(packages)
        assert board.table(4 * MIB).slots
        manifest = Manifest()
        manifest.run(board.folder / "manifest.py")
        assert manifest.files["boot.py"].is_relative_to(packages)

"""Finding and fetching MicroPython when something is in the way; nothing here touches the network."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gapcast_tools import upy, upy_fetch

RUNS = "#!/bin/sh\necho micropython 1 25 0 1286\n"
FAILS = "#!/bin/sh\nexit 1\n"


@pytest.fixture(autouse=True)
def _no_micropython(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPCAST_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("MICROPYTHON", raising=False)
    monkeypatch.setattr(upy_fetch.platform, "machine", lambda: "x86_64")


def unpacked(root: Path, loader: str = RUNS) -> None:
    """What a fetch leaves, with a shell script for a loader."""
    for name in ("usr/bin/micropython", "lib/libc.so.6", "lib/ld-linux.so.2"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(loader)
        (root / name).chmod(0o755)


@pytest.mark.parametrize(("chosen", "reason"), [("'", "no command line"), (" ", "blank"), ("''", "not run")])
def test_a_choice_that_is_no_command(chosen: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROPYTHON", chosen)
    found, reasons = upy.search(fetch=False, progress=print)
    assert found is None
    assert len(reasons) == 1
    assert reason in reasons[0]


def test_sources_that_cannot_be_used() -> None:
    lines = [
        "deb cdrom:[Debian 12]/ bookworm main",
        "deb [signed-by='/key] http://stray bookworm main",
        "deb [trusted=yes] http://good bookworm main",
    ]
    found = list(upy_fetch.parse_list("\n".join(lines)))
    assert found == [upy_fetch.Source("http://good", ("bookworm",), trusted="yes")]
    stanza = "Types: deb\nURIs: cdrom:[Debian 12]/ http://good\nSuites: bookworm\n"
    assert [source.uri for source in upy_fetch.parse_deb822(stanza)] == ["http://good"]


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(upy_fetch, "fetch", interrupted)
    assert upy.main([]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_leftovers_of_killed_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> list[Path]:
        raise upy_fetch.FetchError("offline")

    monkeypatch.setattr(upy_fetch.shutil, "which", str)
    monkeypatch.setattr(upy_fetch, "_stanza", lambda *_: "")
    monkeypatch.setattr(upy_fetch, "_download", offline)
    old, young, other = (tmp_path / name for name in (".fetch-old", ".fetch-young", "other"))
    for folder in (old, young, other):
        (folder / "lists").mkdir(parents=True)
    for folder in (old, other):
        os.utime(folder, (time.time() - 4000,) * 2)
    with pytest.raises(upy_fetch.FetchError, match="offline"):
        upy_fetch.fetch(tmp_path / "micropython-i386", "i386", print)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fetch-young", "other"]


@pytest.mark.parametrize("outcome", ["slower", "failed"])
def test_another_process_fetches_at_the_same_time(outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(destination: Path, arch: str, _progress: upy_fetch.Progress) -> bool:
        asked.append(arch)
        unpacked(destination)  # the other one's
        if outcome == "failed":
            raise upy_fetch.FetchError("offline")
        return False

    monkeypatch.setattr(upy_fetch, "fetch", fetch)
    found, _ = upy.search(fetch=True, progress=print)
    assert found is not None
    assert (found.version, asked) == ((1, 25, 0), ["i386"])


def test_another_process_fetched_since_we_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def which(_name: str) -> None:  # asked between the look into the cache and the fetch
        unpacked(tmp_path / "micropython-i386")

    def fetch(*_: object) -> bool:
        raise AssertionError("fetched again")

    monkeypatch.setattr(upy.shutil, "which", which)
    monkeypatch.setattr(upy_fetch, "fetch", fetch)
    found, _ = upy.search(fetch=True, progress=print)
    assert found is not None


@pytest.mark.parametrize("ours", [True, False])
def test_only_our_own_fetch_is_thrown_away(
    ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(destination: Path, arch: str, _progress: upy_fetch.Progress) -> bool:
        unpacked(destination, FAILS if arch == "i386" else RUNS)
        return ours

    monkeypatch.setattr(upy_fetch, "fetch", fetch)
    found, reasons = upy.search(fetch=True, progress=print)
    assert found is not None
    assert "micropython-amd64" in found.origin
    assert len(reasons) == 1
    assert (tmp_path / "micropython-i386").exists() != ours


def test_the_quickest_is_that_of_the_machine_itself(tmp_path: Path) -> None:
    for arch in ("i386", "amd64"):
        unpacked(tmp_path / f"micropython-{arch}")
    for quick, arch in ((False, "i386"), (True, "amd64")):
        found, _reasons = upy.search(fetch=False, progress=print, quick=quick)
        assert found is not None
        assert f"micropython-{arch}/" in found.argv[-1]


def test_the_quickest_is_rather_fetched_than_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked(tmp_path / "micropython-i386")

    def fetch(root: Path, _arch: str, _progress: object) -> bool:
        unpacked(root)
        return True

    monkeypatch.setattr(upy_fetch, "fetch", fetch)
    found, _reasons = upy.search(fetch=True, progress=print, quick=True)
    assert found is not None
    assert "micropython-amd64/" in found.argv[-1]


def test_without_a_fetch_the_other_will_do(tmp_path: Path) -> None:
    unpacked(tmp_path / "micropython-i386")
    found, _reasons = upy.search(fetch=False, progress=print, quick=True)
    assert found is not None
    assert "micropython-i386/" in found.argv[-1]

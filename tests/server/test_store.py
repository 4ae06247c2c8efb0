"""Names, virtual names, and contents that never mix (PROTOCOL.md section 5)."""

from __future__ import annotations

import errno
import gc
import os
import socket
import time
from pathlib import Path

import pytest

from gapcast import store
from gapcast.protocol.types import ContentChangedError
from gapcast.store import Store
from gapcast_core.container import Header, content_id
from gapcast_core.errors import PeerError


def container(version: str) -> bytes:
    """A small valid container."""
    header = Header("blink", version, "SIM", 5000, b"\1" * 32, b"\2" * 32)
    packed: bytes = header.pack()
    return packed + bytes(header.container_bytes - 1024)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"inside")
    (folder / "sub" / "deep").write_bytes(b"deep")
    (tmp_path / "secret").write_bytes(b"outside")
    return folder


def read(served: Store, name: str) -> bytes:
    opened = served.open(name)
    return opened.content.read(0, opened.content.size)


def reason(served: Store, name: str) -> str:
    with pytest.raises(PeerError) as caught:
        served.open(name)
    assert caught.value.code in (1, 2)
    return str(caught.value.reason)


def test_files_are_served(root: Path) -> None:
    served = Store(root)
    assert read(served, "file") == b"inside"
    assert read(served, "/sub/deep") == b"deep"
    (root / "näme").write_bytes(b"utf-8")
    assert read(served, "näme") == b"utf-8"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "//file",
        "..",
        "../secret",
        "sub/../../secret",
        "sub/../file",
        "./file",
        "sub//deep",
        "sub/",
        "file/",
        "..\\secret",
        "sub\\deep",
        "\\\\host\\share",
        "fi\tle",
        "fi\nle",
        "fi\x1ble",
        "fi\x7fle",
        "fi\x85le",
        "x" * 501,
        "ä" * 251,
    ],
)
def test_path_tricks_are_refused(root: Path, name: str) -> None:
    assert reason(Store(root), name) == "bad_name"


@pytest.mark.parametrize(
    "name", ["C:/x", "%2e%2e/secret", "file ", "FILE", "x" * 300, "a/" * 200 + "a", "~root"]
)
def test_strange_names_are_just_names(root: Path, name: str) -> None:
    assert reason(Store(root), name) == "not_found"


def test_links_inside_the_root_are_followed_and_others_refused(root: Path) -> None:
    (root / "inner").symlink_to("sub/deep")
    (root / "outer").symlink_to("../secret")
    (root / "absolute").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nowhere")
    served = Store(root)
    assert read(served, "inner") == b"deep"
    for name in ("outer", "absolute", "folder/secret"):
        assert reason(served, name) == "outside_root"
    assert reason(served, "loop") in ("not_found", "outside_root")
    assert reason(served, "dangling") == "not_found"


def test_a_neighbour_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    neighbour = root.with_name("root2")
    neighbour.mkdir()
    (neighbour / "file").write_bytes(b"outside")
    (root / "link").symlink_to("../root2/file")
    assert reason(Store(root), "link") == "outside_root"


def test_only_regular_files_are_opened(root: Path) -> None:
    os.mkfifo(root / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket"))
    (root / "null").symlink_to("/dev/null")
    served = Store(root)
    assert reason(served, "sub") == "not_a_file"
    assert reason(served, "fifo") == "not_a_file"  # and it did not block
    assert reason(served, "socket") == "not_a_file"
    assert reason(served, "null") == "outside_root"
    listener.close()


def test_an_unreadable_file_is_refused(root: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read everything")
    (root / "file").chmod(0)
    assert reason(Store(root), "file") == "no_permission"


def test_headers_are_virtual_files(root: Path) -> None:
    data = container("1")
    (root / "sub" / "fw.gap").write_bytes(data)
    (root / "broken.gap").write_bytes(b"x" * 2000)
    served = Store(root)
    assert read(served, "sub/fw.hdr") == data[:1024]
    assert reason(served, "broken.hdr") == "not_found"
    (root / "sub" / "fw.hdr").write_bytes(b"real")
    assert read(served, "sub/fw.hdr") == b"real"


def test_containers_are_found_by_content_id(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOOKS_AT_ONCE", 100)
    first, second = container("1"), container("2")
    served = Store(root)
    wanted = "gap/" + content_id(first)
    assert reason(served, wanted) == "not_found"
    (root / "sub" / "a.gap").write_bytes(first)
    assert read(served, wanted) == first
    assert served.open(wanted).identity == served.open("sub/a.gap").identity
    (root / "sub" / "a.gap").unlink()
    assert reason(served, wanted) == "not_found"
    (root / "b.gap").write_bytes(second)
    (root / "c.gap").write_bytes(first)
    assert read(served, "gap/" + content_id(second)) == second
    assert read(served, wanted) == first


@pytest.mark.parametrize("change", [-1, -1024, 1, 4096])
def test_a_container_that_is_not_as_long_as_it_says_is_not_offered(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    """It is being copied, or was cut: nor does it hide a whole one with the same header."""
    monkeypatch.setattr(store, "LOOKS_AT_ONCE", 100)
    whole = container("1")
    torn = whole[:change] if change < 0 else whole + bytes(change)
    served = Store(root)
    wanted = "gap/" + content_id(whole)
    (root / "a.gap").write_bytes(torn)
    assert reason(served, "a.hdr") == "not_found"
    assert reason(served, wanted) == "not_found"
    assert read(served, "a.gap") == torn  # a plain file it is
    (root / "b.gap").write_bytes(whole)
    (root / "c.gap").write_bytes(torn)
    assert read(served, wanted) == whole
    assert read(served, "b.hdr") == whole[:1024]
    (root / "b.gap").unlink()
    (root / "a.gap").write_bytes(whole)  # the copy is done
    assert read(served, wanted) == whole
    assert read(served, "a.hdr") == whole[:1024]


def test_an_id_is_not_served_from_a_file_that_was_overwritten_in_place(root: Path) -> None:
    first, second = container("1"), container("2")
    (root / "a.gap").write_bytes(first)
    served = Store(root)
    assert read(served, "gap/" + content_id(first)) == first
    (root / "a.gap").write_bytes(second)
    assert reason(served, "gap/" + content_id(first)) == "not_found"


@pytest.mark.parametrize("name", ["gap/", "gap/x", "gap/" + "0" * 32, "gap/" + "z" * 32, "gap/../gap/x"])
def test_unknown_ids_are_not_found(root: Path, name: str) -> None:
    assert reason(Store(root), name) in ("not_found", "bad_name")


def test_the_scan_is_capped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SCAN_MAX_ENTRIES", 5)
    for number in range(20):
        (root / f"{number}.gap").write_bytes(container(str(number)))
    found = 0
    served = Store(root)
    for number in range(20):
        try:
            served.open("gap/" + content_id(container(str(number))))
            found += 1
        except PeerError:
            pass
    assert found <= 5


def test_a_replaced_file_does_not_mix_with_a_running_transfer(root: Path) -> None:
    served = Store(root)
    before = served.open("file")
    (root / "new").write_bytes(b"INSIDE")
    (root / "new").rename(root / "file")
    after = served.open("file")
    assert before.identity != after.identity
    assert before.content.read(0, 99) == b"inside"
    assert after.content.read(0, 99) == b"INSIDE"


def test_one_identity_is_in_memory_once(root: Path) -> None:
    served = Store(root)
    first = served.open("file")
    assert served.open("/file").content is first.content


def test_large_files_are_read_by_pieces_and_end_when_they_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WHOLE_MAX_BYTES", 3)
    opened = Store(root).open("file")
    assert opened.content.read(2, 2) == b"si"
    with (root / "file").open("ab") as file:
        file.write(b" and more")
    with pytest.raises(ContentChangedError):
        opened.content.read(0, 2)


def test_memory_is_capped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MEMORY_MAX_BYTES", 6)
    served = Store(root)
    first, second = served.open("file"), served.open("sub/deep")
    assert (first.content.held_bytes, second.content.held_bytes) == (6, 0)
    assert second.content.read(0, 9) == b"deep"


def test_descriptors_are_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "WHOLE_MAX_BYTES", 3)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    served = Store(root)
    for name in ("file", "sub/deep", "sub", "nothing"):
        try:
            opened = served.open(name)
            assert opened.content.read(0, 1)
            del opened
        except PeerError:
            pass
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO])
def test_no_descriptor_left_is_not_the_same_as_no_such_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    served = Store(root)

    def fail(*_what: object) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(PeerError) as caught:
        served.open("file")
    assert (caught.value.code, caught.value.reason) == (0, "busy")


def test_invented_ids_do_not_scan_again_and_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Store(root)
    scans: list[int] = []
    monkeypatch.setattr(served._index, "_scan", lambda: scans.append(1))
    for number in range(100):
        assert reason(served, f"gap/{number:032x}") == "not_found"
    assert 1 <= len(scans) <= store.LOOKS_AT_ONCE + 1


def test_a_scan_that_ends_early_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SCAN_MAX_ENTRIES", 2)
    served = Store(root)
    assert not served.scan_truncated
    assert reason(served, "gap/" + "0" * 32) == "not_found"
    assert served.scan_truncated


def test_the_opened_container_has_the_id(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path may get another file between the look and the open."""
    first, second = container("1"), container("2")
    (root / "a.gap").write_bytes(second)
    (root / "b.gap").write_bytes(first)
    served = Store(root)
    monkeypatch.setattr(served._index, "find", lambda _wanted: "a.gap")
    assert reason(served, "gap/" + content_id(first)) == "not_found"
    paths = iter(["a.gap", "b.gap"])
    monkeypatch.setattr(served._index, "find", lambda _wanted: next(paths))
    assert read(served, "gap/" + content_id(first)) == first


def test_a_change_that_hides_its_mtime_is_a_change(root: Path) -> None:
    served = Store(root)
    path = root / "file"
    before = served.open("file")
    status = path.stat()
    deadline = time.monotonic() + 5
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # until the file system's clock has ticked
        assert time.monotonic() < deadline
        path.write_bytes(b"INSIDE")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert served.open("file").identity != before.identity


def test_without_proc_nothing_is_served(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> Path:
        raise FileNotFoundError(errno.ENOENT, "no")

    monkeypatch.setattr(Path, "readlink", fail)
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(PeerError, match="busy"):
        Store(root).open("file")
    assert len(os.listdir("/dev/fd")) == before

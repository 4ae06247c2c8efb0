"""Every trick with names: nothing outside the root leaves, nothing is ever written."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from interop import needs
from interop.lab import Lab

from .forger import ERROR, RRQ, WRQ, Attack, Ear, worded
from .images import Signer
from .world import ask, start_server, state_of, tree, write

pytestmark = [pytest.mark.root, pytest.mark.interop]

TOKEN = b"this must not leave the machine. "
UP = [
    "..",
    "...",
    "....",
    ". .",
    ".. ",
    " ..",
    "..\t",
    "..;",
    "..%00",
    "..\x01",
    "．．",
    "‥",
    "․․",
    "..\u200b",
    "..\u2060",
]
ENCODED = [
    "%2e%2e",
    "%2E%2e",
    "%252e%252e",
    "..%2f..",
    "..%5c..",
    "%c0%ae%c0%ae",
    "%u002e%u002e",
    "&#46;&#46;",
]
SLASHES = ["/", "//", "\\", "\\/", "/./", "∕", "／", "⧵", "%2f", "%5c", "\u2044"]
BYTES = [
    b"\xc0\xae\xc0\xae/secret",  # overlong UTF-8: "." in two bytes
    b"\xe0\x80\xae\xe0\x80\xae/secret",
    b"..\xc0\xafsecret",
    b"..\xef\xbf\xbdsecret",
    b"\xed\xa0\x80/secret",  # half of a surrogate pair
    b"\xff/secret",
    b"\xfe\xff\0.\0.\0/",
    b"f1\0../secret",
    b"f1\0/etc/passwd",
    b"../secret\0.gap",
    b"..\x80/secret",
    b"\xef\xbb\xbf../secret",
]
LINKS = [
    "out",
    "outside/secret",
    "outside",
    "outside/inner.gap",
    "inner.gap",
    "inner",
    "loop",
    "loop/f1",
    "dangling",
]
SPECIAL = [
    "fifo",
    "socket",
    "zero",
    "linked-zero",
    "deep",
    "deep/",
    "deep/er",
    "closed/f1/x",
    "f1/",
    "f1/.",
    "f1/..",
]
ABSOLUTE = [
    *(
        "/etc/passwd",
        "//etc/passwd",
        "///etc///passwd",
        "/etc/./passwd",
        "/../etc/passwd",
        "/proc/self/environ",
    ),
    *("/proc/self/root/etc/passwd", "/proc/self/cwd/secret", "/proc/self/fd/0", "/dev/zero", "/dev/stdin"),
    *(
        "C:\\secret",
        "c:/secret",
        "\\\\server\\share\\secret",
        "file:///etc/passwd",
        "~/secret",
        "~root/.profile",
    ),
    *("tftp://10.77.0.1/f1", "-rf", "--help", "|cat", "$(id)", "`id`", "f1;id", "*", "f?", "[f]1", "{f1,f2}"),
]
CASE = [
    "F1",
    "DEEP/ER/F",
    "f1 ",
    " f1",
    "f1.",
    "f1\u0000".rstrip("\0") + "\u00a0",
    "ｆ1",
    "f¹",
    "ﬁle",
    "e\u0301t",
]
LONG = [
    "x" * 255,
    "x" * 256,
    "x" * 480,
    "deep/" * 90 + "f",
    "../" * 150 + "etc/passwd",
    "/" * 400 + "etc/passwd",
]
OWN_NAMES = [
    "gap/..",
    "gap/../f1",
    "gap/",
    "gap",
    "gap/../../secret",
    "../secret.hdr",
    "out.hdr",
    "inner.hdr",
]
OWN_NAMES += [
    "outside/inner.hdr",
    "report/../f1",
    "report/b-1/../../f1",
    "report/",
    "report/B",
    "report/" + "a" * 33,
]


@dataclass
class Bench:
    """A server with a root full of traps, and one client host."""

    lab: Lab
    folder: Path
    foreign_id: str  # content id of a container outside the root, to which a link inside leads
    names: list[str | bytes]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Bench]:
    needs.network()
    folder = tmp_path_factory.mktemp("paths")
    outside = signer.container(20_000, TOKEN[:31].decode().replace(" ", "-"))
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "inner.gap").write_bytes(outside.data)
    for name in ("secret", "elsewhere/secret", "root-2"):
        (folder / name).write_bytes(TOKEN * 100)
    root = folder / "root"
    _set_traps(root, folder)
    names = all_names(folder, outside.content_id)
    with Lab(2) as lab:
        server = start_server(lab, root)
        yield Bench(lab, folder, outside.content_id, names)
        server.stop()


def _set_traps(root: Path, folder: Path) -> None:
    (root / "deep" / "er").mkdir(parents=True)
    (root / "f1").write_bytes(b"public")
    (root / "deep" / "er" / "f").write_bytes(b"public too")
    (root / "\u00e9t").write_bytes(b"public, composed")
    (root / "out").symlink_to(folder / "secret")
    (root / "outside").symlink_to(folder / "elsewhere")
    (root / "inner.gap").symlink_to(folder / "elsewhere" / "inner.gap")
    (root / "loop").symlink_to(root / "loop")
    (root / "dangling").symlink_to(folder / "new-file")
    (root / "linked-zero").symlink_to("/dev/zero")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    with contextlib.suppress(PermissionError):  # not in every container
        os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))


def all_names(folder: Path, foreign_id: str) -> list[str | bytes]:
    """Every trick there is a name for."""
    climbs = [f"{up}{slash}secret" for up in (*UP, *ENCODED) for slash in SLASHES]
    deep = [f"deep{slash}{up}{slash}{up}{slash}secret" for up in (UP[0], *ENCODED) for slash in SLASHES]
    beside = ["../root-2", "../root/f1", "../root", "root-2", "../elsewhere/secret", "../fleet.db"]
    absolute = [
        str(folder / "secret"),
        str(folder / "secret")[1:],
        "/" + str(folder / "root" / "f1"),
        str(folder / "root" / "f1"),
    ]
    own = [*OWN_NAMES, f"gap/{foreign_id}", f"gap/{foreign_id.upper()}", f"gap/../gap/{foreign_id}"]
    dots = [
        "",
        "/",
        ".",
        "./",
        "./f1",
        "deep//er/f",
        "deep/./er/f",
        "deep\\er\\f",
        "f1\n",
        "f1\r",
        "f1\x1b[2J",
        "f1\x7f",
    ]
    return [
        *climbs,
        *deep,
        *beside,
        *absolute,
        *own,
        *dots,
        *BYTES,
        *LINKS,
        *SPECIAL,
        *ABSOLUTE,
        *CASE,
        *LONG,
    ]


READS = {
    "plain": (),
    "options": ("blksize", "1024", "tsize", "0"),
    "multicast": ("blksize", "1024", "tsize", "0", "multicast", "", "ranges", ""),
    "repair": ("blksize", "1024", "ranges", "1-4"),
}


@contextlib.contextmanager
def listening(bench: Bench) -> Iterator[list[bytes]]:
    """All that reaches the client host meanwhile, on any port."""
    heard: list[bytes] = []
    ear = Ear(bench.lab, 1)

    def step() -> None:
        frame = ear.hear()
        if frame is not None:
            heard.append(frame.payload)

    with contextlib.closing(ear), Attack(step):
        yield heard


@pytest.mark.parametrize("options", READS)
def test_nothing_outside_the_root_is_read(options: str, bench: Bench) -> None:
    with listening(bench) as heard:
        for name in bench.names:
            answer = ask(bench.lab, 1, worded(RRQ, name, "octet", *READS[options]))
            assert answer[:2] == bytes((0, ERROR)), (name, answer[:80])
            assert answer.isascii()
        # The leading slash of stock clients is dropped, and that still leads nowhere else.
        assert ask(bench.lab, 1, worded(RRQ, "/f1", "octet")) == b"\0\3\0\1public"
    assert len(heard) >= len(bench.names)
    assert not any(TOKEN in payload or b"root:x:" in payload for payload in heard)


def test_nothing_is_written(bench: Bench) -> None:
    before = tree(bench.folder / "root"), tree(bench.folder / "elsewhere"), set(bench.folder.iterdir())
    for name in bench.names:
        assert ask(bench.lab, 1, worded(WRQ, name, "octet", "tsize", "5"))[:2] == bytes((0, ERROR)), name
    for name in (
        "f1",
        "new",
        "deep/er/f",
        "out",
        "dangling",
        "inner.gap",
        "gap/" + bench.foreign_id,
        "/tmp/gapcast",
    ):
        for mode in ("octet", "netascii", "mail", "OCTET"):
            assert ask(bench.lab, 1, worded(WRQ, name, mode))[:2] == bytes((0, ERROR)), (name, mode)
    # The one form of a name that may be written leads to no file either.
    for board_id in ("b-1", "fleet", "root", "a" * 32):
        assert write(bench.lab, 1, f"report/{board_id}", TOKEN)[:2] == bytes((0, ERROR))
    after = tree(bench.folder / "root"), tree(bench.folder / "elsewhere"), set(bench.folder.iterdir())
    assert after == before
    assert not state_of(bench.folder / "root").exists()

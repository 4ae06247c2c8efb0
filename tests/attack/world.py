"""What every attack needs: our server with a state file of its own, and questions asked by hand."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from interop.lab import Lab
from interop.peers import PORT, OurServer

from .forger import DATA, WRQ, Address, numbered, worded

ANSWER_S = 10.0
SERVER_LIMIT_BYTES = (
    64 << 20
)  # memory that hours of attack may add: the content of one file is at most as much


def start_server(lab: Lab, root: Path, *options: str) -> OurServer:
    """`gapcast serve` whose reports go to a file beside the root."""
    return OurServer(lab, root, "--state", str(state_of(root)), *options)


def state_of(root: Path) -> Path:
    """That file."""
    return root.parent / "fleet.db"


def server_address(lab: Lab) -> Address:
    """Its main port."""
    return lab.address(0), PORT


def resident_bytes(server: OurServer) -> int:
    """The server's memory (its process is the one that the namespace's command became)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def ask(lab: Lab, index: int, request: bytes) -> bytes:
    """The first answer to a request from a port of its own; a transfer that it starts is ended."""
    with lab.socket(index) as sock:
        sock.settimeout(ANSWER_S)
        sock.sendto(request, server_address(lab))
        answer, tid = sock.recvfrom(65536)
        if answer[:2] != b"\0\5":
            sock.sendto(b"\0\5\0\0enough\0", tid)
        return answer


def write(lab: Lab, index: int, name: str | bytes, payload: bytes) -> bytes:
    """The last answer to a WRQ and its DATA 1: an ERROR, or the ACK of one of them."""
    with lab.socket(index) as sock:
        sock.settimeout(ANSWER_S)
        sock.sendto(worded(WRQ, name, "octet"), server_address(lab))
        answer, tid = sock.recvfrom(2048)
        if answer != b"\0\4\0\0":
            return answer
        sock.sendto(numbered(DATA, 1, payload), tid)
        return sock.recvfrom(2048)[0]


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder, links not followed: kind, size, times, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        content = ""
        if stat.S_ISREG(facts.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(facts.st_mode):
            content = str(path.readlink())
        found[str(path)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ino, content)
    return found

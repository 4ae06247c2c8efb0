"""Images that the operator did sign once, or almost: refused by name, and nothing is erased for them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gapcast.image.build import Container
from gapcast.image.keys import make_key
from gapcast_core.container import CHUNK_BYTES, HEADER_BYTES
from interop.conftest import Labs

from .fleet import Fleet, booted_image
from .images import Signer
from .world import start_server

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.usefixtures("real_boards")]

SIZE = 100_000
STALL_MS = 3000  # a board asks so long for what the server does not have; the default is a minute
CHECKED_BYTES = 1008  # of the header; its digest, which is no signature, follows
SIGNATURE = slice(512, CHECKED_BYTES)
COUNTER = slice(20, 24)


def patched(container: Container, place: slice, value: bytes) -> bytes:
    """The container with other bytes in its header, whose digest is made right again: anybody can."""
    header = bytearray(container.header_bytes[:CHECKED_BYTES])
    assert len(header[place]) == len(value)
    header[place] = value
    digest = hashlib.sha256(header).digest()[: HEADER_BYTES - CHECKED_BYTES]
    return bytes(header) + digest + container.data[HEADER_BYTES:]


def judged_by_header(signer: Signer, stranger: Signer) -> dict[str, bytes]:
    """Reason -> a container that is to be refused for it, before anything is erased."""
    new = signer.container(SIZE, "3.0", 3)
    stripped = bytes(CHECKED_BYTES - SIGNATURE.start)
    no_algorithm = bytes(2) + new.header_bytes[514:CHECKED_BYTES]
    return {
        "old_counter": signer.container(SIZE, "1.0", 1).data,
        "wrong_board": signer.container(SIZE, "3.0", 3, board="OTHER").data,
        "unsigned": patched(new, SIGNATURE, stripped),
        "bad_signature_place": patched(new, SIGNATURE, no_algorithm),
        "unknown_key": stranger.container(SIZE, "3.0", 3).data,
        "bad_signature": patched(signer.container(SIZE, "1.0", 1), COUNTER, (4).to_bytes(4, "big")),
    }


@dataclasses.dataclass
class World:
    """Boards that run 2.0, confirmed, and the folder of the server that is hostile from now on."""

    update: Callable[[str], Fleet]
    root: Path
    now: Container


def updated(labs: Labs, root: Path, flash: Path, signer: Signer, boards: int) -> World:
    now = signer.container(SIZE, "2.0", 2)
    (root / "fw.gap").write_bytes(now.data)
    lab = labs(boards + 1)
    start_server(lab, root)

    def update(image: str) -> Fleet:
        fleet = Fleet(lab, range(1, boards + 1), flash, image, signer.board_key, stall_ms=STALL_MS)
        fleet.go()
        fleet.done()
        return fleet

    update("fw").assert_runs(now)
    return World(update, root, now)


def test_what_the_header_shows_is_refused_and_nothing_is_erased(
    labs: Labs, root: Path, tmp_path: Path, signer: Signer
) -> None:
    stranger = Signer(make_key(tmp_path / "stranger.pem"))
    evil = judged_by_header(signer, stranger)
    world = updated(labs, root, tmp_path / "flash", signer, len(evil))
    for index, data in enumerate(evil.values(), 1):
        (root / f"evil-{index}.gap").write_bytes(data)
    before = world.update("fw").flash()
    fleet = world.update("evil-{}")
    for board, reason in zip(fleet.boards, evil, strict=True):
        result = board.result
        assert (result.outcome, result.version) == ("refused", "2.0"), result
        assert reason in result.detail.replace(":", " ").split(), result
    assert fleet.flash() == before
    print("refused, no byte of flash changed:", ", ".join(evil))


def judged_by_payload(signer: Signer) -> dict[str, bytes]:
    """Containers whose header is the operator's and whose rest is not: only the download shows it."""
    # Versions of their own: all containers with the same header are one to the server (`gap/ID`).
    one, two, three = (signer.container(SIZE, f"3.{number}", 3 + number) for number in range(3))
    other = signer.container(SIZE, "1.0", 1)
    shorter = signer.container(SIZE // 2, "1.0")
    start, end = HEADER_BYTES + CHUNK_BYTES, HEADER_BYTES + 2 * CHUNK_BYTES
    return {
        "payload of another": one.header_bytes + other.data[HEADER_BYTES:],
        "shorter payload": two.header_bytes + shorter.data[HEADER_BYTES:],
        "one chunk of another": three.data[:start] + other.data[start:end] + three.data[end:],
    }


def test_a_signed_header_with_another_payload_never_boots(
    labs: Labs, root: Path, tmp_path: Path, signer: Signer
) -> None:
    evil = judged_by_payload(signer)
    world = updated(labs, root, tmp_path / "flash", signer, len(evil))
    for index, data in enumerate(evil.values(), 1):
        (root / f"evil-{index}.gap").write_bytes(data)
    before = world.update("fw").flash()
    fleet = world.update("evil-{}")
    for board, name in zip(fleet.boards, evil, strict=True):
        result = board.result
        assert (result.outcome, result.version) == ("failed", "2.0"), (name, result)
        running = f"ota_{result.slot}.bin"
        for file in (running, "otadata.bin"):
            assert fleet.flash()[result.id][file] == before[result.id][file], (name, file)
        assert booted_image(board.spec.folder, world.now) == world.now.image
        print(f"{name}: {result.detail}")
    # The real one is taken by all of them afterwards.
    good = signer.container(SIZE, "4.0", 6)
    (root / "good.gap").write_bytes(good.data)
    world.update("good").assert_runs(good)

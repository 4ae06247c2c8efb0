"""Containers (`N.gap`, PROTOCOL.md section 6): built from an application image, read and checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gapcast.errors import OperatorError
from gapcast.image.boards import Chip
from gapcast.image.espapp import parse_app
from gapcast.image.files import read_bounded
from gapcast.image.keys import board_key, sign
from gapcast_core.container import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    FLAG_RETRY,
    HEADER_BYTES,
    IMAGE_HEAD_BYTES,
    MAX_PAYLOAD_BYTES,
    Header,
    chunk_digest,
    content_id,
    parse_header,
    signature_place,
)
from gapcast_core.errors import PeerError, UsageError
from gapcast_core.signature import check_header

MAX_CONTAINER_BYTES = (
    HEADER_BYTES + MAX_PAYLOAD_BYTES + MAX_PAYLOAD_BYTES // CHUNK_BYTES * DIGEST_BYTES + 1024
)
_PAD = b"\xff"  # erased flash


class ContainerDamaged(OperatorError):
    """These bytes are no container.

    reason: a PeerError's reason of parse_header, or `truncated`, or `trailing_bytes`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, "build it again with `gapcast image build`")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Container:
    """One container in memory. The header is checked; the rest when `problems` is called."""

    header: Header
    data: bytes

    @property
    def header_bytes(self) -> bytes:
        return self.data[:HEADER_BYTES]

    @property
    def content_id(self) -> str:
        """32 hex digits: boards ask for `gap/<content id>`."""
        return str(content_id(self.data))

    @property
    def key_id(self) -> str | None:
        """Whose signature the header carries, in 16 hex digits, whether it fits or not; None: unsigned."""
        place = signature_place(self.data)
        return place[0].hex() if place is not None else None

    @property
    def payload(self) -> memoryview:
        """The image with its padding: whole 4 KiB chunks."""
        return memoryview(self.data)[HEADER_BYTES : HEADER_BYTES + self.header.payload_bytes]

    @property
    def image(self) -> memoryview:
        """The application image, as it was given to `build_container`."""
        return self.payload[: self.header.image_bytes]

    @property
    def table(self) -> memoryview:
        """16 bytes a chunk, and padding."""
        return memoryview(self.data)[HEADER_BYTES + self.header.payload_bytes :]

    def chunk(self, number: int) -> memoryview:
        """Chunk `number`, counted from 0: 4096 bytes."""
        return self.payload[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]

    def bad_chunks(self) -> list[int]:
        """The chunks, counted from 0, whose digest is not the table's."""
        table = self.table
        return [
            number
            for number in range(self.header.chunks)
            if chunk_digest(self.chunk(number)) != table[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]
        ]

    def problems(self) -> list[str]:
        """What is wrong with the payload and the table, for people; empty when all digests fit."""
        found = []
        if hashlib.sha256(self.table).digest() != self.header.table_digest:
            found.append("the digest table does not fit its digest in the header")
        if hashlib.sha256(self.image).digest() != self.header.image_digest:
            found.append("the image does not fit its digest in the header")
        if self.header.image_head != bytes(self.image[:IMAGE_HEAD_BYTES]).ljust(IMAGE_HEAD_BYTES, b"\0"):
            found.append("the head of the image is not the copy of it in the header")
        bad = self.bad_chunks()
        if bad:
            shown = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
            found.append(f"{len(bad)} of {self.header.chunks} chunks do not fit the digest table: {shown}")
        if self.payload[self.header.image_bytes :] != _PAD * (len(self.payload) - self.header.image_bytes):
            found.append("the padding after the image is not ff")
        return found


def build_container(
    image: bytes,
    name: str,
    board: str,
    chip: Chip,
    version: str | None = None,
    counter: int = 0,
    key: RSAPrivateKey | None = None,
    retry: bool = False,
) -> Container:
    """The container of an application image.

    Args:
        image: The application's bytes, a `.app-bin`.
        name: What people call it; 1 to 32 printable ASCII characters, no blanks, as `board` and `version`.
        board: The board it is for; a board takes no other's image.
        chip: The board's chip; the image must be built for it.
        version: None takes the version from the image's descriptor.
        counter: Anti-rollback: a board takes no image with a lower counter than the one it runs; below 2**32.
        key: Who signs it (see gapcast.image.keys); None leaves it unsigned, and few boards take it then.
        retry: Boards take it although they went back from the same content before.

    Raises:
        ImageRefused: `image` is no application for that chip.
        OperatorError: A name cannot stand in a header, there is no version, or the image is too large.
    """
    app = parse_app(image, chip)
    if version is None:
        version = app.descriptor.version
    if not version:  # MicroPython's own builds leave it out (CONFIG_APP_EXCLUDE_PROJECT_VER_VAR)
        raise OperatorError("the image does not say its version", "give it one: --version 1.0.0")
    payload = image + _PAD * (-len(image) % CHUNK_BYTES)
    try:
        # The header knows how long the table is; what stands in it does not matter for that.
        sizes = Header(name, version, board, len(image), b"", b"")
        table = _digest_table(payload).ljust(sizes.table_bytes, _PAD)
        digests = hashlib.sha256(table).digest(), hashlib.sha256(image).digest()
        named = {"image_head": image[:IMAGE_HEAD_BYTES], "flags": FLAG_RETRY if retry else 0}
        header = Header(name, version, board, len(image), *digests, counter, **named)
        return _sealed(header, payload + table, key)
    except UsageError as error:
        raise OperatorError(f"this cannot be a container: {error}") from error


def _digest_table(payload: bytes) -> bytes:
    starts = range(0, len(payload), CHUNK_BYTES)
    return b"".join(chunk_digest(payload[start : start + CHUNK_BYTES]) for start in starts)


def sign_container(container: Container, key: RSAPrivateKey, retry: bool | None = None) -> Container:
    """The container with `key`'s signature in place of what it had; its content id changes with that.

    Everything is verified first: a signature vouches for all of it.

    Args:
        retry: Boards take it although they went back from the same content before; None leaves that as it is.

    Raises:
        ContainerDamaged: Something in it does not fit its digests.
        ImageRefused: The image inside is no application.
    """
    problems = container.problems()
    if problems:
        raise ContainerDamaged("damaged", f"this container is damaged and not signed: {problems[0]}")
    parse_app(bytes(container.image))
    header = parse_header(container.data)
    if retry is not None:
        header.flags = FLAG_RETRY if retry else 0
    return _sealed(header, container.data[HEADER_BYTES:], key)


def _sealed(header: Header, rest: bytes, key: RSAPrivateKey | None) -> Container:
    if key is None:
        packed = header.pack()
    else:
        public = board_key(key.public_key())
        packed = header.pack(public.key_id, sign(key, header.signed_part()))
        check_header(packed, [public])  # a fault while signing would be found on the boards only
    return Container(parse_header(packed), packed + rest)


def parse_container(data: bytes) -> Container:
    """The container that `data` is, all of it.

    Raises:
        ContainerDamaged: The header does not parse, or the length is not what it says.
    """
    try:
        header = parse_header(data)
    except PeerError as error:
        raise ContainerDamaged(
            error.reason, f"this is no container: {error.reason.replace('_', ' ')}"
        ) from error
    if len(data) != header.container_bytes:
        reason = "truncated" if len(data) < header.container_bytes else "trailing_bytes"
        raise ContainerDamaged(reason, f"{len(data)} bytes, but the header says {header.container_bytes}")
    return Container(header, data)


def read_container(path: Path) -> Container:
    """The container in a file; its header and length are checked, the digests by `Container.problems`.

    Raises:
        OperatorError: The file cannot be read.
        ContainerDamaged: See parse_container.
    """
    return parse_container(read_bounded(path, MAX_CONTAINER_BYTES))

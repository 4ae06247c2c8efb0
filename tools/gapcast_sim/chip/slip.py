"""SLIP framing (RFC 1055): C0 around each frame, DB DC for a C0 in it, DB DD for a DB."""

from __future__ import annotations

END = b"\xc0"
MAX_FRAME_BYTES = 0x10000  # the largest real one is a stub's block of 0x4000 bytes, each doubled at worst


def encode(frame: bytes) -> bytes:
    """The bytes on the line for one frame."""
    return END + frame.replace(b"\xdb", b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


def decode(body: bytes) -> bytes | None:
    """The frame for what was between two C0; None if an escape is wrong."""
    first, *rest = body.split(b"\xdb")
    out = [first]
    for part in rest:
        if part[:1] not in (b"\xdc", b"\xdd"):
            return None
        out.append((END if part[:1] == b"\xdc" else b"\xdb") + part[1:])
    return b"".join(out)


class Decoder:
    """Frames from a stream. Bytes outside of a frame are dropped."""

    def __init__(self) -> None:
        self._body: list[bytes] | None = None  # None outside of a frame
        self._size = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._body is not None

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ended in `data`, oldest first; empty and broken ones are left out."""
        frames = []
        first, *rest = data.split(END)
        self._add(first)
        for part in rest:
            body = b"".join(self._body) if self._body is not None else b""
            frame = decode(body)
            if frame:
                frames.append(frame)
            self._size = 0
            # C0 C0: the second one begins a frame, so noise costs one frame at most.
            self._body = None if body else []
            self._add(part)
        return frames

    def _add(self, part: bytes) -> None:
        if part and self._body is not None and self._size < MAX_FRAME_BYTES:
            self._body.append(part)
            self._size += len(part)

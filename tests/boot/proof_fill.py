"""Any bytes in a container, on their way into a slot, with the proof that is worked out on the way."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from boot_world import SECTOR, Recording, World

from gapcast_core import offer as offers
from gapcast_core import wire
from gapcast_core.container import Header, chunk_digest

HEADER = 1024
BLOCK = 1024


class Container:
    """A container around any bytes: an image may be smaller than an application can be."""

    def __init__(self, size: int, **named: Any) -> None:
        image = random.Random(size).randbytes(size)
        payload = image + b"\xff" * (-size % SECTOR)
        table = b"".join(chunk_digest(payload[at : at + SECTOR]) for at in range(0, len(payload), SECTOR))
        table += b"\xff" * (-len(table) % 1024)
        digests = hashlib.sha256(table).digest(), hashlib.sha256(image).digest()
        named.setdefault("image_head", image[:288])
        self.header = Header("image", "9", "SIM", size, *digests, **named)
        self.data = self.header.pack() + payload + table

    def block(self, number: int) -> bytes:
        return self.data[(number - 1) * BLOCK : number * BLOCK]


def offer_of(size: int, blksize: int = BLOCK, *more: tuple[str, str]) -> Any:
    oack = wire.pack_oack([("blksize", str(blksize)), ("tsize", str(size)), *more])
    return offers.parse_offer(oack, BLOCK, 8)


class Fill:
    """A download into a slot, with its proof."""

    def __init__(self, world: World, container: Container, blksize: int = BLOCK) -> None:
        self.slot = world.esp32.Partition("ota_1")
        header = container.header
        self.data = container.data
        self.total = -(-len(self.data) // blksize)
        self.sink = world.flash.SlotSink(self.slot, header, self.data[:HEADER])
        self.sink.erase(HEADER, header.payload_bytes + header.table_bytes)
        clock = world.port.Clock()
        self.download = world.transfer.Download(self.sink, clock, Recording(), 1000, 60000, len(self.data))
        self.download.adopt(offer_of(len(self.data), blksize))
        self.proof = self.download.proof = world.updating.Proof(self.sink, header, self.download)

    def write(self, block: int) -> None:
        """A block as it comes in the frame; whatever stood there is lost."""
        blksize = self.download.blksize
        payload = self.data[(block - 1) * blksize : block * blksize]
        self.download.frame[4 : 4 + len(payload)] = payload
        self.download.write(block, 4 + len(payload), 0)
        self.download.gaps.add(block)

    def write_all(self) -> None:
        for block in range(1, self.total + 1):
            self.write(block)

"""What goes wrong on a cable, at a given byte."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Bytes are counted from when the chip was plugged in, or the faults injected.

    rx is what the chip has received from the host, tx what it has sent. None: never.
    """

    pull_after_rx: int | None = None  # the cable is out after so many bytes
    pull_after_tx: int | None = None
    stuck_after_rx: int | None = None  # the chip does nothing from then on; 0: it never answers
    noise_after_rx: int | None = None  # from then on `noise_bytes` bytes arrive as others
    noise_after_tx: int | None = None
    noise_bytes: int = 64
    seed: int = 0  # for the noise, and for what is left of a flash operation


class Meddler:
    """Applies Faults to the two directions of a line."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.rng = random.Random(faults.seed)
        self.rx_bytes = 0
        self.tx_bytes = 0

    @property
    def stuck(self) -> bool:
        limit = self._faults.stuck_after_rx
        return limit is not None and self.rx_bytes >= limit

    def receive(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` reaches the chip, and whether the cable is out after it."""
        data, out = _until(data, self.rx_bytes, self._faults.pull_after_rx)
        data = self._noise(data, self.rx_bytes, self._faults.noise_after_rx)
        taken, _ = _until(data, self.rx_bytes, self._faults.stuck_after_rx)
        self.rx_bytes += len(data)
        return taken, out

    def send(self, data: bytes) -> tuple[bytes, bool]:
        """What of `data` reaches the host, and whether the cable is out after it."""
        data, out = _until(data, self.tx_bytes, self._faults.pull_after_tx)
        data = self._noise(data, self.tx_bytes, self._faults.noise_after_tx)
        self.tx_bytes += len(data)
        return data, out

    def _noise(self, data: bytes, before: int, start: int | None) -> bytes:
        if start is None:
            return data
        first = min(max(start - before, 0), len(data))
        last = min(max(start + self._faults.noise_bytes - before, first), len(data))
        noise = bytes(self.rng.getrandbits(8) for _ in range(last - first))  # the same however it is cut
        return data[:first] + noise + data[last:]


def _until(data: bytes, before: int, limit: int | None) -> tuple[bytes, bool]:
    if limit is None or before + len(data) < limit:
        return data, False
    return data[: max(limit - before, 0)], True

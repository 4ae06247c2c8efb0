"""Images that the operator signed, and what an attacker makes out of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gapcast.image.boards import chip_of_board
from gapcast.image.build import Container, build_container
from gapcast.image.keys import board_key_text
from gapcast.image.sample import build_sample

BOARD = "SIM"


@dataclass(frozen=True)
class Signer:
    """A private key and what it makes."""

    key: RSAPrivateKey

    @cached_property
    def board_key(self) -> str:
        """What stands in `keys` of a board's gapcast.json."""
        return board_key_text(self.key.public_key())

    def container(self, size: int, version: str, counter: int = 0, board: str = BOARD) -> Container:
        """A signed sample image of about `size` bytes; another version has another payload."""
        chip = chip_of_board(BOARD)
        image = build_sample(size, version, chip, seed=counter)
        return build_container(image, "fw", board, chip, version, counter, self.key)

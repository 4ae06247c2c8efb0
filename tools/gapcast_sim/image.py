"""The image of a simulated bench: put where the server finds it, and whom boards must trust to take it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast.image.boards import chip_of_board
from gapcast.image.build import build_container, read_container
from gapcast.image.files import write_atomically
from gapcast.image.keys import board_key_text, make_key
from gapcast.image.sample import build_sample
from gapcast_sim.provision import BOARD_TYPE

DEMO_VERSION = "2.0.0"
NAME = "image"


@dataclass(frozen=True)
class BenchImage:
    """What is served.

    Attributes:
        keys: What boards are given to trust, as in gapcast.json.
        allow_unsigned: Boards are provisioned to take it although nobody signed it.
    """

    container_bytes: int
    keys: tuple[str, ...]
    allow_unsigned: bool
    name: str = NAME


def place_sample(work: Path, size_bytes: int, seed: int, app: str = "ok") -> BenchImage:
    """Sample firmware, signed with a key that was made for this run. Raises OperatorError.

    app: What its application does: see gapcast.image.sample_apps.
    """
    chip = chip_of_board(BOARD_TYPE)
    data = build_sample(size_bytes, DEMO_VERSION, chip, seed, app=app)
    key = make_key(work / "key.pem")
    container = build_container(data, NAME, BOARD_TYPE, chip, key=key)
    write_atomically(_root(work) / f"{NAME}.gap", [container.data])
    return BenchImage(len(container.data), (board_key_text(key.public_key()),), allow_unsigned=False)


def place_image(work: Path, image: Path, trusted: tuple[str, ...]) -> BenchImage:
    """A container (N.gap), or an application image, which nobody signed.

    Args:
        trusted: The keys of --trust. Without any, boards are provisioned to take unsigned images.

    Raises:
        OperatorError: It is none, for another board, or signed by whom nobody trusts here.
    """
    target = _root(work) / f"{NAME}.gap"
    if image.suffix == ".gap":
        container = read_container(image)
        if container.header.board != BOARD_TYPE:
            raise OperatorError(f"{image} is for board {container.header.board}", "simulated boards are SIM")
        if container.key_id and not trusted:
            hint = "name its public key: --trust KEY.pub.pem"
            raise OperatorError(f"{image} is signed by key {container.key_id}", hint)
        shutil.copyfile(image, target)
    else:
        chip = chip_of_board(BOARD_TYPE)
        container = build_container(image.read_bytes(), NAME, BOARD_TYPE, chip)
        write_atomically(target, [container.data])
    return BenchImage(target.stat().st_size, trusted, allow_unsigned=not trusted)


def _root(work: Path) -> Path:
    """The folder that the server serves; `work` may have it already."""
    root = work / "root"
    root.mkdir(parents=True, exist_ok=True)
    return root

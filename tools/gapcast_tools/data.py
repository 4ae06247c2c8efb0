"""Where the boards' descriptions and their firmware are: in the checkout, or in the wheel's data."""

from __future__ import annotations

from pathlib import Path

from gapcast.errors import OperatorError


def data_path(*parts: str) -> Path:
    """`parts` below the folder that has `boards` and `firmware`, for example data_path("boards", "SIM").

    Raises:
        OperatorError: It is in neither place.
    """
    packages = Path(__file__).resolve().parents[1]
    for base in (packages.parent, packages / "gapcast_sim" / "_data"):  # see force-include in pyproject.toml
        path = base.joinpath(*parts)
        if path.exists():
            return path
    raise OperatorError(f"{'/'.join(parts)} is missing from this installation", "install Gapcast again")

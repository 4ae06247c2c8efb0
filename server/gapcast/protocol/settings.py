"""What the operator can choose about multicast sessions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """gather_s: age in seconds at which a gap-aware stream starts. turns: boards that repair at once."""

    gather_s: float = 0.15
    turns: int = 8

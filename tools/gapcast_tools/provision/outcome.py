"""How it went with one board."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Outcome:
    """One board's line in the summary.

    state: `provisioned`, `unchanged`, or `failed`.
    changed: what was changed, for people: parts of flash, paths, the inventory.
    reason, message, hint: of a failure, see PortFault.
    """

    port: str
    id: str = ""
    chip: str = ""
    micropython: str = ""
    state: str = "failed"
    changed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reason: str = ""
    message: str = ""
    hint: str = ""
    elapsed_s: float = 0.0

    @property
    def ok(self) -> bool:
        return self.state != "failed"

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "elapsed_s": round(self.elapsed_s, 1)}

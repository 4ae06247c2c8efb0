"""What went wrong on one port, told to the operator."""

from __future__ import annotations


class PortFault(Exception):
    """This board cannot go on; others can.

    reason: one word for tests and JSON: `busy`, `gone`, `denied`, `silent`, `garbage`, `wrong_chip`,
        `wrong_board`, `small_flash`, `no_micropython`, `old_micropython`, `no_slots`, `full`, `damaged`,
        `interrupted`, `failed`.
    hint: what to do next.
    """

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint

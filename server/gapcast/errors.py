"""Errors that a person can do something about."""

from __future__ import annotations


class OperatorError(Exception):
    """Something the operator has to put right: shown as one line, without a traceback."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint  # what to do next

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

"""Errors a user can mend: each says what is wrong and what to do next, and ends a command without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend.

    Args:
        message: one sentence that says what is wrong and where.
        hint: one sentence that says what to do next.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class CatalogError(UserError):
    """The catalog is wrong. Carries every finding, each with file and line."""

    exit_code = 3


class InputError(UserError):
    """A delivered file can't be read at all (bad rows in a readable file are quarantined instead)."""

    exit_code = 4


class RunError(UserError):
    """A Dagster run failed, or a blocking check stopped wrong data."""

    exit_code = 5

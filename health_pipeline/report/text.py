"""Words as a page sets them."""

from __future__ import annotations

import re


def unbroken(text: str) -> str:
    """A number and its unit stay on one line."""
    return re.sub(r"(?<=\d) (?=%|(?:k|M|bn|s|min|h|days)\b)", "\N{NO-BREAK SPACE}", text)

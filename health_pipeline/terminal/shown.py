"""Text from data as a terminal may show it."""

from __future__ import annotations

import unicodedata

from rich.text import Text

_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make others be read in another order than they are in (Unicode Standard Annex 9, 2)."""


def harmless(text: str) -> str:
    """Without characters that steer a terminal: captions, hashtags and ids are written by whoever posts them.

    Each control character but line ends and tabs, and each that turns the direction of reading, is U+FFFD instead.
    """
    return "".join("\N{REPLACEMENT CHARACTER}" if _steers(c) else c for c in text)


def shown(text: str, style: str = "") -> Text:
    """The same for Rich, to which it is no markup."""
    return Text(harmless(text), style)


def _steers(character: str) -> bool:
    return character in _TURNING or (unicodedata.category(character) == "Cc" and character not in "\n\t")

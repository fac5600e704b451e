"""A picture as it goes into a message's thread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        png: its bytes.
        alt: what it shows, in words, for those who do not see it; at most 1,000 characters.
        filename: ends in ``.png``; letters, digits and hyphens before that.
    """

    png: bytes
    alt: str
    filename: str

"""A page of the documentation that several studies write, each its own part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PERFORMANCE = Path(__file__).parent.parent / "docs" / "performance.md"


def write_part(page: Path, study: str, lines: Sequence[str]) -> None:
    """Replace what ``study`` wrote on the page, or add it at the end; and print it."""
    begin, end = f"<!-- {study}: begin -->", f"<!-- {study}: end -->"
    text = page.read_text(encoding="utf-8")
    part = "\n".join([begin, "", *lines, "", end])
    if begin in text:
        text = text[: text.index(begin)] + part + text[text.index(end) + len(end) :]
    else:
        text = f"{text.rstrip()}\n\n{part}\n"
    page.write_text(text, encoding="utf-8")
    print("\n".join(lines))

"""Passwords of sources: none is written in a file, and none is printed.

A catalog is committed and shared. So it names environment variables, ``${NAME}``, wherever something is secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from health_pipeline.catalog.model import Source
from health_pipeline.errors import UserError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET = re.compile(
    r"secret|passw|passphrase|token|credential|connection_string|(account|private|api|access)_?key|^sas|^key$|^pwd$",
    re.IGNORECASE,
)
OPEN_TOKENS = {"anon", "google_default", "cloud", "cache", "browser"}
"""What gcsfs takes as a ``token`` and is none."""
USER_INFO = re.compile(r"([A-Za-z][\w+.-]*://)([^/?#]*)@(.*)", re.DOTALL)


def literal_secrets(source: Source) -> Iterator[tuple[str | int, ...]]:
    """Where a declaration holds something secret as it is, as keys below the source."""
    for key in ("folder", "database"):
        url = getattr(source, key)
        if url and any(not VARIABLE.search(secret) for secret in _secrets_of_url(url)):
            yield (key,)
    yield from _literals(source.storage_options, ("storage_options",))


def _literals(options: Mapping[str, Any], where: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _literals(value, (*where, key))
        elif isinstance(value, str) and _is_secret(key, value) and not VARIABLE.search(value):
            yield (*where, key)


def _is_secret(key: str, value: str) -> bool:
    return bool(value and SECRET.search(key) and value not in OPEN_TOKENS)


def _secrets_of_url(url: str) -> list[str]:
    """Passwords in a URL: of its user, and in its query."""
    found = []
    parts = USER_INFO.match(url)
    if parts and ":" in parts[2]:
        found.append(unquote(parts[2].partition(":")[2]))
    found += [value for key, value in parse_qsl(url.partition("?")[2]) if SECRET.search(key)]
    return [secret for secret in found if secret]


class Revealed:
    """A source's address and options with the values of its environment variables, and what must not be printed.

    Args:
        source: the declaration.
        environment: where the variables are looked up.

    Attributes:
        folder, database: the addresses; values put into the user part of a URL are percent-encoded.
        storage_options: likewise, at any depth.

    Raises:
        UserError: a variable is not set.
    """

    def __init__(self, source: Source, environment: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._environment = os.environ if environment is None else environment
        self._hidden: set[str] = set()
        self.folder = self._url(source.folder) if source.folder else None
        self.database = self._url(source.database) if source.database else None
        self.storage_options: dict[str, Any] = self._options(source.storage_options)

    def mask(self, text: str) -> str:
        """The text with every secret replaced."""
        for secret in sorted(self._hidden, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _value(self, name: str) -> str:
        try:
            return self._environment[name]
        except KeyError:
            raise UserError(
                f"The source {self._source.name!r} needs the environment variable {name}, which is not set.",
                f"Set {name} where health-pipeline runs.",
            ) from None

    def _filled(self, text: str, encoded: bool = False) -> str:
        def value(match: re.Match[str]) -> str:
            found = self._value(match[1])
            return quote(found, safe="") if encoded else found

        return VARIABLE.sub(value, text)

    def _url(self, template: str) -> str:
        parts = USER_INFO.match(template)
        if parts:
            url = parts[1] + self._filled(parts[2], encoded=True) + "@" + self._filled(parts[3])
        else:
            url = self._filled(template)
        for secret in _secrets_of_url(url):
            self._hidden |= {secret, quote(secret, safe="")}
        return url

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        filled: dict[str, Any] = {}
        for key, value in options.items():
            if isinstance(value, Mapping):
                filled[key] = self._options(value)
            elif isinstance(value, str):
                filled[key] = self._filled(value)
                if _is_secret(key, filled[key]):
                    self._hidden.add(filled[key])
            else:
                filled[key] = value
        return filled

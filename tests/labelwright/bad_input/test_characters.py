"""Unusual characters are text; bytes that are not UTF-8 give an error or a rejected row."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.labelwright.bad_input.files import lines, parquet, text
from tests.labelwright.bad_input.outcomes import CANARY, label_over_http, labelled, refused
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


def broken_text(*values: bytes) -> pa.Array:
    """A string array with arbitrary bytes; Arrow does not check them."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


@pytest.mark.usefixtures("empty_world")
def test_emoji_and_right_to_left_text_are_text(
    command: Command, client: httpx.Client, tmp_path: Path
) -> None:
    names = [
        f"🍕 مطعم البيتزا {number}" if number % 2 else f"👩‍🚀 חנות {number}" for number in range(40)
    ]
    labels = [["🍕=طعام"] if number % 2 else ["חנות=כן"] for number in range(40)]
    data = {"id": [f"🆔{number}" for number in range(40)], "name": names, "labels": labels}
    source = parquet(tmp_path / "in.parquet", data)
    assert command("train", "--threads", 1, "--data", source, "--name", "שלום").code == 0
    output = tmp_path / "out.csv"
    completed = command("label", source, output, "--model", "models:/שלום@champion", "--top-k", 1)
    assert completed.code == 0
    first, second = output.read_text("utf-8").splitlines()[1:3]
    assert first.startswith('"🆔0"')
    assert "חנות=כן" in first
    assert "🍕=طعام" in second
    (result,) = label_over_http(client, {"id": "🆔", "name": names[1]})
    assert result["id"] == "🆔"
    assert result["labels"]


def test_nul_bytes_are_ordinary_characters(
    command: Command, client: httpx.Client, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", "id,name\na\0b,Pizze\0ria\nc,\0\n")
    predictions, rejects = labelled(command, source, bundle)
    assert [result["id"] for result in predictions] == ["a\0b", "c"]
    assert all(result["labels"] for result in predictions)
    assert not rejects
    over_http = label_over_http(client, {"id": "a\0b", "name": "Pizze\0ria"})
    assert over_http[0]["id"] == "a\0b"
    assert [label["label"] for label in over_http[0]["labels"]] == [
        label["label"] for label in predictions[0]["labels"]
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("in.csv", "name\nPizzeria\nCafé\n", "name: not valid UTF-8"),
        ("in.jsonl", '{"name": "Pizzeria"}\n{"name": "Café"}\n', "line 2 is not valid UTF-8;"),
    ],
)
def test_text_in_latin_1_rejects_only_its_row_and_the_conversion_is_told(
    command: Command, bundle: Path, tmp_path: Path, name: str, content: str, reason: str
) -> None:
    source = text(tmp_path / name, content.encode("latin-1"))
    output = tmp_path / "out.jsonl"
    completed = command("label", source, output, "--model", bundle)
    assert completed.code == 0
    assert [bool(row["labels"]) for row in lines(output)] == [True, False]
    (reject,) = lines(tmp_path / "out.jsonl.rejects.jsonl")
    assert reject["row"] == 1
    assert reject["reason"].startswith(reason)
    assert "iconv -f LATIN1 -t UTF-8" in completed.err + reject["reason"]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_utf_16_is_refused(command: Command, bundle: Path, tmp_path: Path, name: str) -> None:
    source = text(tmp_path / name, "name\nPizzeria\n".encode("utf-16"))
    completed = command("label", source, tmp_path / "out.csv", "--model", bundle)
    refused(completed, 3, "the text is UTF-16; convert it to UTF-8: iconv -f UTF-16 -t UTF-8")
    assert not (tmp_path / "out.csv").exists()


def test_a_parquet_value_that_is_not_utf_8_rejects_only_its_row(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    table = {"name": broken_text(b"Pizzeria", b"Pizz\xff")}
    predictions, rejects = labelled(command, parquet(tmp_path / "in.parquet", table), bundle)
    assert [result["labels"] is None for result in predictions] == [False, True]
    assert [reject["reason"] for reject in rejects] == ["name: not valid UTF-8"]


def test_a_parquet_id_that_is_not_utf_8_rejects_only_its_row(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    table = {"id": broken_text(b"a", b"b\xff"), "name": ["Pizzeria", "Bar"]}
    predictions, rejects = labelled(command, parquet(tmp_path / "in.parquet", table), bundle)
    assert [result["labels"] is None for result in predictions] == [False, True]
    assert [reject["reason"] for reject in rejects] == ["id: not valid UTF-8"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"entities": [{"name": "Pizz\xff"}]}',
        b'{"entities": [{"name": "Pizz\0"}]}',
    ],
    ids=["bytes", "bare control character"],
)
def test_over_http_a_body_that_is_not_utf_8_json_is_refused(
    client: httpx.Client, body: bytes
) -> None:
    response = client.post("/v1/labels", content=body)
    assert response.status_code == 400
    assert response.json()["detail"].startswith("the body is not valid JSON")


def test_over_http_half_of_a_surrogate_pair_is_the_error_of_its_entity(
    client: httpx.Client,
) -> None:
    records: list[dict[str, Any]] = [
        {"name": "Bar"},
        {"name": "Bar \ud83d"},
        {"\ud83d": "Bar"},
        {"tags": {"a": "\ud83d"}},
    ]
    names = [record.get("name") for record in records]
    bodies = {
        "/v1/labels": {"entities": records},
        "/v1/review": {"entities": [*records, {"name": "Bar", "labels": ["\ud83d"]}]},
        "/invocations": {"dataframe_records": records},
    }
    for path, body in bodies.items():
        (results,) = [
            found
            for found in client.post(path, content=json.dumps(body)).json().values()
            if isinstance(found, list)
        ]
        assert ["labels" in result for result in results] == [True] + [False] * (len(results) - 1)
    lines = "\n".join(map(json.dumps, records))
    stream = client.post(
        "/v1/labels", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert ["labels" in json.loads(line) for line in stream.text.splitlines()] == [
        True,
        False,
        False,
        False,
    ]
    tensor = {"name": "name", "shape": [2], "datatype": "BYTES", "data": names[:2]}
    response = client.post("/v2/models/small/infer", content=json.dumps({"inputs": [tensor]}))
    texts = response.json()["outputs"][0]["data"]
    assert ["labels" in json.loads(text) for text in texts] == [True, False]


@pytest.mark.parametrize("path", ["/v1/labels", "/v1/review", "/invocations"])
def test_over_http_a_byte_order_mark_before_json_is_ignored(
    client: httpx.Client, path: str
) -> None:
    member = "instances" if path == "/invocations" else "entities"
    body = json.dumps({member: [{"name": "Bar"}]}).encode()
    results = [client.post(path, content=mark + body).json() for mark in (b"", b"\xef\xbb\xbf")]
    assert results[0] == results[1]
    assert "error" not in results[0]


def test_a_ragged_csv_is_refused_without_repeating_its_content(
    command: Command, bundle: Path, tmp_path: Path
) -> None:
    source = text(tmp_path / "in.csv", f"name,country\nBar,DE\nCafé,{CANARY},DE\n")
    completed = command("label", source, tmp_path / "out.csv", "--model", bundle)
    refused(completed, 3, "in.csv cannot be read")
    assert CANARY not in completed.err

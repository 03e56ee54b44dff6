"""Damaged requests: the response is the same as without the damage, or an error.

One invalid entity changes no other result.
"""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.service.protocols.arrow import ARROW
from labelwright.service.protocols.mlflow_messages import PARQUET
from labelwright.service.protocols.ndjson import NDJSON
from labelwright.service.protocols.v2_tensors import join_texts

pytest_plugins = ["tests.worlds"]

Json = dict[str, Any]
HALF = "\ud83d"
"""Half of a surrogate pair. It is valid in JSON, and cannot be encoded in UTF-8."""
PLACES: list[Json] = [
    {"id": "a", "name": "Joe's Pizza", "country": "US"},
    {"id": "c", "name": "Café Zoë"},
]
ODD: list[Any] = [
    *(None, 1, "x", [], {}, HALF),
    *({"lat": 1}, {"lon": "x"}, {"lat": 1, "lon": None}, {"lat": True, "lon": 1}),
    *({"lat": float("inf"), "lon": 1}, {"lat": 10**400, "lon": 1}, {"lat": [1], "lon": 1}),
    *({"name": HALF}, {"name": ["a", HALF]}, {HALF: 1, "name": "a"}, {"id": HALF, "name": "a"}),
    *({"name": 5}, {"name": True}, {"name": {"a": 1}}, {"name": [5]}, {"name": "x" * 20_000}),
    *({"tags": {HALF: "a"}}, {"tags": {"a": HALF}}, {"tags": "{"}, {"tags": {"a": [1]}}),
    *({"id": True}, {"id": [1]}, {"id": 1.5}, {"id": "x" * 20_000}, {"id": 10**300}),
    *({"labels": [HALF]}, {"labels": "a"}, {"labels": [1]}, {"labels": {"a": 1}}),
    {"phone": float("inf")},
]
INFER = "/v2/models/small/infer"


def tensors(places: list[Any]) -> Json:
    """An inference request with the ids and names of places."""
    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(places)],
                "datatype": "BYTES",
                "data": [place[name] for place in places],
            }
            for name in ("id", "name")
        ]
    }


Rows = Callable[[list[Any]], Json]
DOORS: dict[str, tuple[str, str, Rows]] = {
    "labels": ("/v1/labels", "results", lambda places: {"entities": places}),
    "explain": ("/v1/labels", "results", lambda places: {"entities": places, "explain": True}),
    "review": ("/v1/review", "results", lambda places: {"entities": places}),
    "instances": ("/invocations", "predictions", lambda places: {"instances": places}),
    "records": ("/invocations", "predictions", lambda places: {"dataframe_records": places}),
}
"""For each JSON request, its path, the member with the results, and a function that makes it."""


def post(client: httpx.Client, path: str, content: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=content, headers={"Content-Type": "application/json"} | named)


def is_error(response: httpx.Response) -> bool:
    """Whether a response is a clear error about the request."""
    if not 400 <= response.status_code < 500:
        return False
    content = response.json()
    return bool(content.get("detail") or content.get("error") or content.get("message"))


def flips(content: bytes, times: int) -> Iterator[bytes]:
    """Copies of bytes in which one random bit differs."""
    chance = random.Random(0)
    for _ in range(times):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        yield bytes(damaged)


# an invalid entity


@pytest.mark.parametrize("door", DOORS)
def test_an_invalid_entity_changes_no_other_result(client: httpx.Client, door: str) -> None:
    path, member, rows = DOORS[door]

    def results(places: list[Any]) -> list[Json]:
        response = post(client, path, json.dumps(rows(places)).encode())
        assert response.status_code == 200, (places, response.text)
        found: list[Json] = response.json()[member]
        return found

    first, last = results(PLACES)
    for odd in ODD:
        before, _, after = results([PLACES[0], odd, PLACES[1]])
        assert (before, after) == (first, last), odd
    *_, before, bad, after = results([*PLACES, {"id": "b", "name": HALF}, PLACES[1]])
    assert (before, after) == (last, last)
    assert bad == {"id": "b", "error": {"detail": "name: not valid UTF-8"}}


def test_an_invalid_line_changes_no_other_result(client: httpx.Client) -> None:
    def results(lines: list[bytes]) -> list[Json]:
        response = post(client, "/v1/labels", b"\n".join(lines), Content_Type=NDJSON)
        assert response.status_code == 200
        return [json.loads(line) for line in response.content.splitlines()]

    good = [json.dumps(place).encode() for place in PLACES]
    expected = results(good)
    odd_lines = [json.dumps(odd).encode() for odd in ODD]
    for odd in [*odd_lines, b"\xff", b"\0", b'{"name": "a"', b'{"name": "a"},', b"\xc3", b"{} {}"]:
        before, _, after = results([good[0], odd, good[1]])
        assert [before, after] == expected, odd


@pytest.mark.parametrize(
    ("name", "datatype", "odd"),
    [
        ("name", "BYTES", HALF),
        ("name", "BYTES", 5),
        ("name", "BYTES", {"a": 1}),
        ("id", "BYTES", HALF),
        ("id", "BYTES", True),
        ("lat", "FP64", "x"),
        ("lat", "FP64", {}),
        ("lat", "INT8", 300),
        ("lat", "INT8", 1.5),
        ("lat", "FP64", True),
        ("unknown", "BYTES", 5),
    ],
    ids=str,
)
def test_an_element_that_does_not_fit_its_tensor_changes_no_other_result(
    client: httpx.Client, name: str, datatype: str, odd: Any
) -> None:
    def results(element: Any) -> list[Any]:
        request = tensors([PLACES[0], PLACES[0], PLACES[1]])
        good = PLACES[0].get(name, 1)
        tensor = {"name": name, "shape": [3], "datatype": datatype, "data": [good, element, good]}
        inputs = [each for each in request["inputs"] if each["name"] != name] + [tensor]
        if name == "lat":
            inputs.append(tensor | {"name": "lon", "data": [1, 1, 1]})
        response = post(client, INFER, json.dumps({"inputs": inputs}).encode())
        assert response.status_code == 200, response.text
        labels = response.json()["outputs"][0]["data"]
        return [json.loads(label) for label in labels]

    expected, found = results(PLACES[0].get(name, 1)), results(odd)
    assert (found[0], found[2]) == (expected[0], expected[2])
    assert ("error" in found[1]) == (name != "unknown")


# damaged bytes


def bodies() -> dict[str, tuple[str, bytes]]:
    """For each JSON request, its path and its body."""
    made = {
        name: (path, json.dumps(rows(PLACES)).encode()) for name, (path, _, rows) in DOORS.items()
    }
    return made | {"tensors": (INFER, json.dumps(tensors(PLACES)).encode())}


@pytest.mark.parametrize("door", bodies())
def test_json_that_is_cut_is_an_error(client: httpx.Client, door: str) -> None:
    path, content = bodies()[door]
    for size in range(0, len(content), 7):
        assert is_error(post(client, path, content[:size])), size
    assert is_error(post(client, path, content + content))
    assert is_error(post(client, path, content + b"\0"))


@pytest.mark.parametrize("door", bodies())
def test_json_with_a_damaged_bit_is_read_as_json_or_an_error(
    client: httpx.Client, door: str
) -> None:
    path, content = bodies()[door]
    for damaged in flips(content, 60):
        response = post(client, path, damaged)
        try:
            value = json.loads(damaged.decode())
        except ValueError:
            assert is_error(response), damaged
        else:
            same = post(client, path, json.dumps(value).encode())
            assert (response.status_code, response.text) == (same.status_code, same.text), damaged


@pytest.mark.parametrize("size", range(0, 170, 3))
def test_lines_that_are_cut_have_no_other_results(client: httpx.Client, size: int) -> None:
    content = b"".join(json.dumps(place).encode() + b"\n" for place in PLACES)
    whole = post(client, "/v1/labels", content, Content_Type=NDJSON).content.splitlines()
    response = post(client, "/v1/labels", content[:size], Content_Type=NDJSON)
    found = response.content.splitlines()
    complete = content[:size].count(b"\n")
    assert found[:complete] == whole[:complete]
    assert len(found) <= complete + 1
    for line in found[complete:]:
        assert line == whole[complete] or "error" in json.loads(line)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_damaged_bit_of_a_compressed_body_changes_no_result(
    client: httpx.Client, coding: str
) -> None:
    content = bodies()["labels"][1]
    packed = gzip.compress(content) if coding == "gzip" else zlib.compress(content)
    expected = post(client, "/v1/labels", content).json()
    for damaged in (packed, *flips(packed, 150), *(packed[:n] for n in range(1, len(packed), 5))):
        response = post(client, "/v1/labels", damaged, Content_Encoding=coding)
        assert is_error(response) if damaged != packed and response.is_error else True
        assert response.is_error or response.json() == expected
    assert is_error(post(client, "/v1/labels", packed + b"x", Content_Encoding=coding))
    assert is_error(post(client, "/v1/labels", packed[:-1], Content_Encoding=coding))


def arrow_stream() -> bytes:
    table = pa.Table.from_pylist(PLACES)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=1):
            writer.write_batch(batch)
    return sink.getvalue()


def labelled(client: httpx.Client, content: bytes) -> list[Json] | None:
    """The rows of the response to an Arrow stream, None if the whole stream is an error."""
    response = post(client, "/v1/labels", content, Content_Type=ARROW)
    if is_error(response):
        return None
    try:
        rows: list[Json] = pa.ipc.open_stream(response.content).read_all().to_pylist()
    except pa.ArrowInvalid:  # the stream failed after its first result
        return None
    return None if rows and rows[-1]["id"] is None else rows


def test_an_arrow_stream_that_is_cut_or_continued_has_no_other_results(
    client: httpx.Client,
) -> None:
    content = arrow_stream()
    expected = labelled(client, content)
    assert expected
    complete = 0
    for size in range(0, len(content), 8):
        found = labelled(client, content[:size])
        complete += found is not None
        assert found is None or found == expected[: len(found)]
    assert complete == 1 + len(PLACES)  # at the ends of the schema and of the batches
    for more in (content, b"\0", b"\xff" * 100):
        assert labelled(client, content + more) is None


def binary_request() -> tuple[int, bytes]:
    """An inference request with binary tensors, and the size of its JSON."""
    inputs, contents = [], []
    for name in ("id", "name"):
        contents.append(join_texts([place[name].encode() for place in PLACES]))
        size = {"binary_data_size": len(contents[-1])}
        inputs.append(
            {"name": name, "shape": [len(PLACES)], "datatype": "BYTES", "parameters": size}
        )
    head = json.dumps({"inputs": inputs}).encode()
    return len(head), b"".join((head, *contents))


def test_binary_tensors_that_are_cut_or_continued_are_an_error(client: httpx.Client) -> None:
    json_size, content = binary_request()
    size = {"Inference_Header_Content_Length": str(json_size)}
    assert post(client, INFER, content, **size).status_code == 200
    for end in range(0, len(content), 5):
        assert is_error(post(client, INFER, content[:end], **size)), end
    assert is_error(post(client, INFER, content + b"\0", **size))
    for other in (json_size - 1, json_size + 1, 0):
        changed = {"Inference_Header_Content_Length": str(other)}
        assert is_error(post(client, INFER, content, **changed))


def test_a_damaged_bit_of_a_parquet_page_changes_no_result(client: httpx.Client) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(PLACES), sink, write_page_checksum=True)
    content = sink.getvalue()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    expected = post(client, "/invocations", content, Content_Type=PARQUET).json()["predictions"]
    for pages in flips(content[:footer], 60):
        response = post(client, "/invocations", pages + content[footer:], Content_Type=PARQUET)
        assert is_error(response) or response.json()["predictions"] == expected
    for size in range(0, len(content), 97):
        assert is_error(post(client, "/invocations", content[:size], Content_Type=PARQUET))

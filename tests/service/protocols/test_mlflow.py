"""MLflow's scoring protocol, with MLflow's client and with plain requests."""

import contextlib
import io
import json
import resource
import socket
from typing import Any

import httpx
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.processes import HOST, Service

pytest_plugins = ["tests.worlds"]

FRAME = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "name": ["Joe's Pizza", None, "Löwen-Apotheke"],
        "lat": [1.0, 200.0, None],
        "lon": [1.0, 2.0, None],
    }
)
RECORDS = [
    {name: value for name, value in row.items() if not pd.isna(value)}
    for row in FRAME.to_dict("records")
]
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"


@pytest.fixture(scope="module")
def expected(service: Service) -> Any:
    """The results of `POST /v1/labels` for the rows of FRAME."""
    with service.client() as client:
        return client.post("/v1/labels", json={"entities": RECORDS}).json()["results"]


def invoke(client: httpx.Client, content: bytes | str, kind: str = JSON) -> httpx.Response:
    return client.post("/invocations", content=content, headers={"Content-Type": kind})


def test_mlflows_client_gets_the_labels(service: Service, expected: Any) -> None:
    client: Any = ScoringServerClient(HOST, service.port)  # type: ignore[no-untyped-call]
    client.wait_server_ready()
    assert client.get_version()
    frame = client.invoke(FRAME, params={"top_k": 1}).get_predictions()
    assert frame["id"].tolist() == ["a", "b", "c"]
    assert frame["labels"][0][0] == expected[0]["labels"][0]
    assert frame["error"][1] == expected[1]["error"]
    assert len(client.invoke(RECORDS).get_predictions()) == len(RECORDS)


@pytest.mark.parametrize("path", ["/ping", "/health"])
def test_a_ready_service_responds_with_200(client: httpx.Client, path: str) -> None:
    assert (client.get(path).status_code, client.get(path).text) == (200, "\n")


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def parquet(frame: pd.DataFrame, **options: Any) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink, **options)
    return sink.getvalue()


SPLIT = json.dumps({"dataframe_split": FRAME.to_dict("split")})  # with NaN, as pandas writes it


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps({"dataframe_records": RECORDS}), JSON),
        (json.dumps({"instances": RECORDS}), JSON),
        (json.dumps({"inputs": RECORDS}), JSON),
        (json.dumps({"inputs": FRAME.to_dict("list")}), JSON),
        (SPLIT, "application/json; charset=utf-8"),
        (csv(FRAME), CSV),
        (parquet(FRAME), PARQUET),
        (parquet(FRAME.set_index("id").reset_index(), compression="zstd"), PARQUET),
    ],
    ids=["records", "instances", "inputs", "columns", "split", "CSV", "Parquet", "zstd"],
)
def test_requests_in_every_format_get_the_results_of_v1_labels(
    client: httpx.Client, expected: Any, content: bytes | str, kind: str
) -> None:
    assert "NaN" in SPLIT
    response = invoke(client, content, kind)
    assert response.status_code == 200
    assert response.json() == {"predictions": expected}


@pytest.mark.parametrize(
    ("content", "kind", "message_part"),
    [
        ("{", JSON, "not valid JSON"),
        ("[" * 100_000, JSON, "not valid JSON"),
        ("[]", JSON, "a JSON object"),
        ("{}", JSON, "exactly one of"),
        ('{"inputs": [], "instances": []}', JSON, "exactly one of"),
        ('{"instances": [1]}', JSON, "list of objects"),
        ('{"inputs": {"name": ["a"], "city": []}}', JSON, "equal length"),
        ('{"dataframe_split": {"data": []}}', JSON, "columns and data"),
        ('{"dataframe_split": {"columns": ["a", "a"], "data": []}}', JSON, "different"),
        ('{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', JSON, "for each column"),
        ('{"instances": [], "params": {"top_k": "x"}}', JSON, "top_k"),
        ('{"instances": [], "params": [1]}', JSON, "valid dictionary"),
        (b"", CSV, "not valid CSV"),
        (b"name,lat\na\n", CSV, "not valid CSV"),
        (b"name\n" + b"a\n" * 20_000, CSV, "16,384 rows"),
        (b"x," * 2_000 + b"name\n", CSV, "1,000 columns"),
        (b"PAR1", PARQUET, "not valid Parquet"),
        (parquet(pd.DataFrame({"name": ["a"] * 20_000})), PARQUET, "16,384 rows"),
        (parquet(pd.DataFrame({"other": ["a"]})), PARQUET, "no column is known"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_invalid_request_gets_an_error_in_the_format_of_mlflow(
    client: httpx.Client, content: bytes | str, kind: str, message_part: str
) -> None:
    response = invoke(client, content, kind)
    assert response.status_code == 400
    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert message_part in response.json()["message"]


@pytest.mark.parametrize("kind", ["image/png", "text/csv; charset=latin-1", ""])
def test_other_content_types_are_refused(client: httpx.Client, kind: str) -> None:
    assert invoke(client, b"x", kind).status_code == 415


def test_a_request_without_rows_gets_no_predictions(client: httpx.Client) -> None:
    assert invoke(client, '{"instances": []}').json() == {"predictions": []}


def test_parquet_is_decoded_while_more_than_1023_connections_are_open(
    service: Service, client: httpx.Client, expected: Any
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.ExitStack() as open_connections:
        for _ in range(1_100):
            open_connections.enter_context(socket.create_connection((HOST, service.port)))
        content = io.BytesIO()
        FRAME.to_parquet(content)
        response = invoke(client, content.getvalue(), PARQUET)
    assert response.json()["predictions"] == expected

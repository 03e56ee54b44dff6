"""The Open Inference Protocol, with Triton's clients and with plain requests."""

import asyncio
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from hypothesis import given
from hypothesis import strategies as st

from labelwright.entities.errors import DataError
from labelwright.service.protocols.v2_messages import ON_REQUEST, OUTPUTS
from labelwright.service.protocols.v2_tensors import join_texts, split_texts
from tests.processes import HOST, Service

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

NAMES = ["Joe's Pizza", "Sparkasse", "Löwen-Apotheke"]
INFER = "/v2/models/small/infer"
NAMED = [name for name in OUTPUTS if name not in ON_REQUEST]
"""The outputs of a request that names none."""


@pytest.fixture
def triton_client(service: Service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"{HOST}:{service.port}") as client:
        yield client


def inputs(binary: bool = True) -> list[triton.InferInput]:
    """Tensors of three places; the latitude of the second place is invalid."""
    columns: dict[str, Any] = {
        "name": np.array(NAMES, object),
        "lat": np.array([[1.0], [200.0], [3.0]]),
        "lon": np.array([[1.0], [2.0], [3.0]]),
    }
    tensors = []
    for name, values in columns.items():
        tensor = triton.InferInput(name, list(values.shape), "BYTES" if name == "name" else "FP64")
        tensor.set_data_from_numpy(values, binary_data=binary)
        tensors.append(tensor)
    return tensors


def results_of_v1_labels(client: httpx.Client, **query: Any) -> list[Any]:
    """The results of `POST /v1/labels` for the same places as `inputs`."""
    places = zip(NAMES, (1.0, 200.0, 3.0), (1.0, 2.0, 3.0), strict=True)
    entities = [{"name": name, "lat": lat, "lon": lon} for name, lat, lon in places]
    response = client.post("/v1/labels", json={"entities": entities, **query})
    results: list[Any] = response.json()["results"]
    return results


def test_health_and_metadata_of_the_server_and_the_model(
    triton_client: triton.InferenceServerClient,
) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("small")
    assert triton_client.is_model_ready("small", "1")
    assert not triton_client.is_model_ready("large")
    assert not triton_client.is_model_ready("small", "2")
    assert triton_client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton_client.get_model_metadata("small", "1")
    assert metadata["versions"] == ["1"]
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]}
    assert (datatypes["id"], datatypes["name"], datatypes["lat"]) == ("BYTES", "BYTES", "FP64")
    assert [tensor["name"] for tensor in metadata["outputs"]] == [
        "labels",
        "probabilities",
        "label_ids",
        "primary",
    ]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_tritons_client_gets_the_results_of_v1_labels(
    triton_client: triton.InferenceServerClient,
    client: httpx.Client,
    binary: bool,
    encoding: str | None,
) -> None:
    response = triton_client.infer(
        "small",
        inputs(binary),
        model_version="1",
        request_id="q",
        parameters={"top_k": 3},
        response_compression_algorithm=encoding,
    )
    expected = results_of_v1_labels(client, top_k=3)
    rows = [json.loads(row) for row in response.as_numpy("labels")]
    assert rows == [{k: v for k, v in row.items() if k != "primary"} for row in expected]
    assert response.as_numpy("primary") is None
    assert "error" in rows[1]
    assert response.get_response()["id"] == "q"
    total = client.get("/v1/labels", params={"limit": 1000}).json()
    names = [label["label"] for label in total["labels"]]
    ids, probabilities = response.as_numpy("label_ids"), response.as_numpy("probabilities")
    assert ids.shape == probabilities.shape == (3, 3)
    assert set(ids[1]) == {-1}
    for row in (0, 2):
        assert [names[i] for i in ids[row]] == [x["label"] for x in expected[row]["labels"][:3]]
        first = [label["probability"] for label in expected[row]["labels"][:3]]
        np.testing.assert_array_equal(probabilities[row], np.array(first, np.float32))


def test_the_response_has_only_the_requested_outputs(
    triton_client: triton.InferenceServerClient,
) -> None:
    requested = [triton.InferRequestedOutput("label_ids", binary_data=False)]
    response = triton_client.infer("small", inputs(), outputs=requested).get_response()
    assert [output["name"] for output in response["outputs"]] == ["label_ids"]


def test_tritons_asynchronous_client_gets_the_labels(service: Service) -> None:
    async def infer() -> int:
        async with triton_aio.InferenceServerClient(f"{HOST}:{service.port}") as client:
            response = await client.infer("small", inputs())
            return len(response.as_numpy("labels"))

    assert asyncio.run(infer()) == len(NAMES)


def tensor(**changes: Any) -> dict[str, Any]:
    """A tensor in JSON."""
    return {"name": "name", "shape": [1], "datatype": "BYTES", "data": ["Bar"], **changes}


@pytest.mark.parametrize(
    ("request_", "message_part"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "no column is known"),
        ({"inputs": [tensor(shape=[2])]}, "as many elements"),
        ({"inputs": [tensor(shape=[1, 2])]}, "must have shape [n] or [n, 1]"),
        ({"inputs": [tensor(shape=[-1])]}, "shape.0"),
        ({"inputs": [tensor(shape=[10**18])]}, "16,384 rows"),
        ({"inputs": [tensor(shape=[10**30])]}, "shape.0"),
        ({"inputs": [tensor(datatype="FP128")]}, "a datatype must be BYTES or one of"),
        ({"inputs": [tensor(data=[1])]}, "must be BYTES"),
        ({"inputs": [tensor(name="lat", datatype="FP64", data=[1.0])]}, "'lat' is given alone"),
        ({"inputs": [tensor(parameters={"binary_data_size": 7})]}, "either data or"),
        ({"inputs": [tensor(data=None, parameters={"binary_data_size": 7})]}, "shorter"),
        ({"inputs": [tensor(), tensor()]}, "more than once"),
        ({"inputs": [tensor(), tensor(name="city", shape=[0], data=[])]}, "same number of rows"),
        ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "outputs are labels"),
        ({"inputs": [tensor()], "parameters": {"topk": 3}}, "not known"),
        ({"inputs": [tensor()], "parameters": {"top_k": "3"}}, "top_k"),
        (
            {"inputs": [tensor(shape=[1001], data=["x"] * 1001)], "parameters": {"top_k": 1000}},
            "tim",
        ),
    ],
    ids=str,
)
def test_an_invalid_request_gets_an_error_of_the_protocol(
    client: httpx.Client, request_: Any, message_part: str
) -> None:
    response = client.post(INFER, json=request_)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert message_part in response.json()["error"]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_the_primary_is_an_output_on_request(
    triton_client: triton.InferenceServerClient, client: httpx.Client, binary: bool
) -> None:
    wanted = [triton.InferRequestedOutput("primary", binary_data=binary)]
    response = triton_client.infer("small", inputs(), outputs=wanted)
    primaries = [json.loads(row) for row in response.as_numpy("primary")]
    assert primaries == [row.get("primary") for row in results_of_v1_labels(client)]
    assert primaries[0] is not None
    assert primaries[1] is None
    assert response.as_numpy("labels") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None, "outputs": None, "parameters": None},
        {"parameters": {"top_k": None, "binary_data_output": None, "priority": None}},
        {"inputs": [tensor(parameters=None)]},
        {"inputs": [tensor(parameters={"binary_data_size": None})]},
        {"outputs": [{"name": n, "parameters": None} for n in NAMED]},
        {"outputs": [{"name": n, "parameters": {"binary_data": None}} for n in NAMED]},
    ],
    ids=str,
)
def test_null_has_the_meaning_of_a_missing_member(client: httpx.Client, changes: Any) -> None:
    request = {"inputs": [tensor()]}
    expected = client.post(INFER, json=request).json()
    assert client.post(INFER, json=request | changes).json() == expected


@pytest.mark.parametrize("size", ["1000", "-1", "x", "1"])
def test_an_invalid_json_size_is_refused(client: httpx.Client, size: str) -> None:
    headers = {"Inference-Header-Content-Length": size}
    response = client.post(INFER, json={"inputs": [tensor()]}, headers=headers)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]


@pytest.mark.parametrize("path", ["/v2/models/x/infer", "/v2/models/small/versions/2/infer"])
def test_other_models_and_versions_are_not_found(client: httpx.Client, path: str) -> None:
    response = client.post(path, json={"inputs": [tensor()]})
    assert response.status_code == 404
    assert "is served" in response.json()["error"]


def test_no_rows_give_empty_outputs(client: httpx.Client) -> None:
    response = client.post(INFER, json={"inputs": [tensor(shape=[0], data=[])]}).json()
    assert [output["shape"] for output in response["outputs"]] == [[0], [0, 5], [0, 5]]


@given(st.lists(st.binary(max_size=20)))
def test_split_texts_inverts_join_texts(texts: list[bytes]) -> None:
    assert split_texts(join_texts(texts), len(texts)) == texts


@pytest.mark.parametrize("content", [b"\x01", struct.pack("<I", 5), struct.pack("<I", 1 << 31)])
def test_texts_that_do_not_fit_their_count_are_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        split_texts(content, 1)

"""The OpenAPI document: it is valid and describes the model in service."""

import asyncio
import gc
import re
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fastapi
import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from labelwright.entities.corrections import CorrectionStore
from labelwright.models.registry import Model
from labelwright.service.app import create_app
from labelwright.service.engine.engine import Engine
from labelwright.service.middleware.access import Access
from labelwright.service.openapi.document import OpenApiDocument
from labelwright.service.rollout.state import State
from tests.service.registered import manager_of

pytest_plugins = ["tests.worlds"]

Json = dict[str, Any]


@pytest.fixture
def openapi(client: httpx.Client) -> Json:
    """The OpenAPI document of the running service."""
    document: Json = client.get("/openapi.json").json()
    return document


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    """The method and path of every operation, and the operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method} {path}", operation


def parts(document: Any) -> Iterator[Json]:
    """Every object in a document."""
    if isinstance(document, dict):
        yield document
    for part in document.values() if isinstance(document, dict) else document:
        if isinstance(part, dict | list):
            yield from parts(part)


def test_the_document_is_valid_openapi(openapi: Json) -> None:
    OpenAPI.model_validate(openapi)
    assert re.fullmatch(r"3\.1\.\d+", openapi["openapi"])
    assert openapi["info"]["title"] == "labelwright"
    assert {name for name, _ in operations(openapi)} == {
        "post /v1/labels",
        "get /v1/labels",
        "get /v1/model",
        "get /v1/model/report",
        "get /v1/model/comparison",
        "get /v1/drift",
        "post /v1/review",
        "post /v1/feedback",
        "get /v1/feedback/export",
        "delete /v1/feedback",
        "get /livez",
        "get /readyz",
        "get /metrics",
        "get /v2",
        "get /v2/health/live",
        "get /v2/health/ready",
        *(
            f"{what} /v2/models/{{name}}{version}{part}"
            for version in ("", "/versions/{number}")
            for what, part in (("get", ""), ("get", "/ready"), ("post", "/infer"))
        ),
        "get /ping",
        "get /health",
        "get /version",
        "post /invocations",
    }
    identifiers = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(set(identifiers)) == len(identifiers)
    for name, operation in operations(openapi):
        assert any(status.startswith("2") for status in operation["responses"]), name
        assert all(response["description"] for response in operation["responses"].values())
        is_other_protocol = name.split()[1].startswith(("/v2", "/invocations"))
        kind = "application/json" if is_other_protocol else "application/problem+json"
        assert kind in operation["responses"]["default"]["content"]
        for parameter in operation.get("parameters", ()):
            assert {"name", "in", "schema"} <= set(parameter)
        path_parameters = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert path_parameters == set(re.findall(r"\{(\w+)\}", name)), name
        query_parameters = {
            p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"
        }
        assert "number" not in query_parameters, name
    for part in parts(openapi):
        assert "nullable" not in part
        if isinstance(part.get("$ref"), str):
            target: Any = openapi
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]


TYPES: Mapping[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": int | float,
}


def conforms(value: Any, schema: Json) -> bool:
    """Whether a value conforms to a JSON schema, for the keywords that the document uses."""
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return False
    if isinstance(value, bool | str | None):
        return value in schema.get("enum", [value])
    if isinstance(value, int | float):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, list):
        fits = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return fits and all(conforms(item, schema.get("items", {})) for item in value)
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    return set(schema.get("required", ())) <= set(value) and all(
        conforms(item, known[key]) if key in known else others and conforms(item, others)
        for key, item in value.items()
        if key in known or others != {}
    )


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/labels", "labels"), ("/v1/labels", "reasons"), ("/v1/review", "review")],
)
def test_the_examples_are_responses_of_the_model(
    client: httpx.Client, openapi: Json, path: str, name: str
) -> None:
    operation = openapi["paths"][path]["post"]
    request_content = operation["requestBody"]["content"]["application/json"]
    response_content = operation["responses"]["200"]["content"]["application/json"]
    example_request, example_response = (
        content["examples"][name]["value"] for content in (request_content, response_content)
    )
    response = client.post(path, json=example_request)
    assert response.json() == example_response
    assert conforms(example_request, request_content["schema"])
    assert conforms(example_response, response_content["schema"])
    assert not conforms({"entities": []}, request_content["schema"])
    assert not conforms(example_request | {"top_k": 0}, request_content["schema"])
    entity = request_content["schema"]["properties"]["entities"]["items"]
    assert {"id", "name", "lat", "lon", "tags"} <= set(entity["properties"])
    assert ("reasons" in example_response["results"][0]["labels"][0]) == (name == "reasons")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_examples_are_not_labelled_on_the_event_loop(
    bundle: Path, tmp_path: Path, path: str
) -> None:
    corrections = CorrectionStore(f"sqlite:///{tmp_path}/corrections.db")
    engine = Engine(manager_of(str(bundle), tmp_path))
    app = create_app(engine, Access(), corrections)
    generate, threads = app.openapi, []

    def openapi() -> Json:
        threads.append(threading.current_thread())
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]

    async def get() -> tuple[httpx.Response, threading.Thread]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path), threading.current_thread()

    response, loop = asyncio.run(get())
    engine.close()
    corrections.close()
    assert response.status_code == 200
    assert len(threads) == 1
    assert loop not in threads


def test_a_model_is_described_once_and_released_when_another_replaces_it(
    bundle: Path, tmp_path: Path
) -> None:
    manager = manager_of(str(bundle), tmp_path)
    manager.load()
    app = fastapi.FastAPI(openapi_url=None)
    app.post("/x")(lambda: None)
    described: list[str] = []

    def described_slowly(model: Model) -> Json:
        described.append(model.uri)
        time.sleep(0.2)
        return {"summary": model.uri}

    def summary(_: object = None) -> str:
        return str(document.current()["paths"]["/x"]["post"]["summary"])

    document = OpenApiDocument(app, manager, {"/x": described_slowly})
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(summary, range(4))) == {manager.model.uri}
    assert len(described) == 1

    first_champion = weakref.ref(manager.champion)
    other_uri = f"{bundle}/../bundle"
    State(manager_of(other_uri, tmp_path).state.models).write(tmp_path)
    manager.load()
    gc.collect()
    assert first_champion() is None
    assert summary() == other_uri

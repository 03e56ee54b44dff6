"""`/v1/feedback` over HTTP, with a real service process."""

import contextlib
import dataclasses
import datetime
import io
import json
import re
import sqlite3
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from labelwright.entities.corrections import (
    BATCH_ROWS,
    CORRECTIONS,
    Correction,
    CorrectionStore,
)
from labelwright.models.audit import AUDIT_LOG
from labelwright.service.middleware.keys import Keyring, Role, key_id
from tests.audit import audit_lines
from tests.conftest import World
from tests.processes import Service, environment, serving

pytest_plugins = ["tests.worlds"]

CANARY = "Kanarienvogel"
Json = dict[str, Any]


def new_entity(**fields: Any) -> Json:
    """An entity with a new id, which no other test corrects."""
    return {"id": uuid.uuid4().hex, "name": "Joe's Pizza", "country": "US", **fields}


def send_correction(
    client: httpx.Client, header: str | None = None, /, **content: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": header} if header else {}
    return client.post("/v1/feedback", json=content, headers=headers)


def stored(response: httpx.Response) -> Json:
    assert response.status_code == 201, response.text
    result: Json = response.json()
    return result


def assert_refused(response: httpx.Response, status: int, word: str) -> None:
    """Assert that a response is a problem document with the word and without CANARY."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert word in response.json()["detail"]
    assert CANARY not in response.text


def exported_corrections(client: httpx.Client, entity_id: str) -> list[Json]:
    response = client.get("/v1/feedback/export")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(response.content))
    assert table.schema.equals(CORRECTIONS)
    return [row for row in table.to_pylist() if row["entity_id"] == entity_id]


def test_a_correction_is_stored_with_reviewer_time_and_shown_labels(
    client: httpx.Client,
) -> None:
    entity = new_entity(tags={"diet:vegan": "yes"}, unknown_to_the_schema="x")
    labelled = client.post("/v1/labels", json={"entities": [entity]}).json()
    first, second, *_ = (label["label"] for label in labelled["results"][0]["labels"])
    before = datetime.datetime.now(datetime.UTC)
    result = stored(
        send_correction(
            client,
            entity=entity,
            confirmed=[first, first],
            denied=[second],
            added=["cuisine=new york"],
            reviewer="anna",
        )
    )
    assert set(result) == {"key", "entity_id", "received", "model", "warnings"}
    (row,) = exported_corrections(client, entity["id"])
    assert row["model"] == result["model"] == labelled["model"]
    assert [label["label"] for label in row["said"]] == [
        label["label"] for label in labelled["results"][0]["labels"]
    ]
    assert json.loads(row["entity"]) == {name: entity[name] for name in ("name", "country", "tags")}
    assert (row["confirmed"], row["denied"]) == ([first], [second])
    assert (row["added"], row["reviewer"]) == (["cuisine=new york"], "anna")
    assert before <= row["received"] <= datetime.datetime.now(datetime.UTC)
    assert row["received"] == datetime.datetime.fromisoformat(result["received"])


def test_a_retry_gets_the_same_response_and_another_correction_with_its_key_a_conflict(
    client: httpx.Client,
) -> None:
    key, entity = uuid.uuid4().hex, new_entity()
    with ThreadPoolExecutor(4) as pool:
        responses = list(
            pool.map(
                lambda _: send_correction(client, key, entity=entity, added=["a label"]), range(8)
            )
        )
    assert len({response.content for response in responses}) == 1
    assert stored(responses[0])["key"] == key
    in_the_body = send_correction(client, entity=entity, added=["a label"], key=key)
    assert in_the_body.content == responses[0].content
    assert_refused(
        send_correction(client, key, entity=entity, added=["another"]), 409, "key was used before"
    )
    assert_refused(
        send_correction(client, key, entity=entity, added=["a"], key="other"), 422, "differ"
    )
    assert len(exported_corrections(client, entity["id"])) == 1


def test_labels_shown_by_another_version_are_stored_unchanged(client: httpx.Client) -> None:
    entity = new_entity()
    model = {"name": "small", "version": "0", "content": "0" * 12}
    label = {"label": "of an older model", "probability": 0.25, "asserted": True}
    shown = {"model": model, "labels": [{**label, "log_odds": -1.1}]}
    stored(send_correction(client, entity=entity, denied=["of an older model"], shown=shown))
    (row,) = exported_corrections(client, entity["id"])
    assert row["model"] == model
    assert row["said"] == [label]


def test_the_id_of_an_entity_without_an_id_is_computed_from_its_content(
    client: httpx.Client,
) -> None:
    name = f"Kiosk {uuid.uuid4()}"
    ids = {
        stored(send_correction(client, entity=entity, added=["x"]))["entity_id"]
        for entity in ({"name": name}, {"name": name, "city": None}, {"id": None, "name": name})
    }
    (content_id,) = ids
    assert content_id.startswith("content-")
    deleted = client.delete("/v1/feedback", params={"entity_id": content_id})
    assert deleted.json() == {"deleted": 3}
    assert exported_corrections(client, content_id) == []
    assert client.delete("/v1/feedback", params={"entity_id": content_id}).json() == {"deleted": 0}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"added": ["a"]}, "entity"),
        ({"entity": [], "added": ["a"]}, "entity"),
        ({"entity": {}, "added": ["a"]}, "at least one of"),
        ({"entity": {"id": "x"}, "added": ["a"]}, "at least one of"),
        ({"entity": {"name": CANARY, "lat": 200, "lon": 1}, "added": ["a"]}, "lat"),
        ({"entity": {"name": CANARY, "id": "a\x00b"}, "added": ["a"]}, "printable"),
        ({"entity": {"name": CANARY, "id": "x" * 501}, "added": ["a"]}, "500 bytes"),
        ({"entity": {"name": ["x", *[None] * 99_999]}, "added": ["a"]}, "262,144 bytes"),
        ({"entity": {"name": CANARY}}, "at least one label"),
        ({"entity": {"name": CANARY}, "denied": [CANARY]}, "label of the model"),
        ({"entity": {"name": CANARY}, "confirmed": [CANARY]}, "label of the model"),
        ({"entity": {"name": CANARY}, "added": ["amenity=cafe"], "denied": ["amenity=cafe"]}, "or"),
        ({"entity": {"name": CANARY}, "added": [f" {CANARY}"]}, "added.0"),
        ({"entity": {"name": CANARY}, "added": [f"{CANARY}\n"]}, "added.0"),
        ({"entity": {"name": CANARY}, "added": [""]}, "added.0"),
        ({"entity": {"name": CANARY}, "added": ["x" * 201]}, "added.0"),
        ({"entity": {"name": CANARY}, "added": ["x"] * 201}, "added"),
        ({"entity": {"name": CANARY}, "added": ["a"], "reviewer": "x" * 201}, "reviewer"),
        ({"entity": {"name": CANARY}, "added": ["a"], "reviewer": "a\x00"}, "reviewer"),
        ({"entity": {"name": CANARY}, "added": ["a"], "key": ""}, "key"),
        ({"entity": {"name": CANARY}, "added": ["a"], "shown": {}}, "shown"),
        ({"entity": {"name": CANARY}, "added": ["a"], CANARY: 1}, "not known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_correction_is_refused(client: httpx.Client, content: Json, word: str) -> None:
    assert_refused(send_correction(client, **content), 422, word)


def test_invalid_bodies_and_parameters_are_refused(client: httpx.Client) -> None:
    assert_refused(client.post("/v1/feedback", content=b"no json"), 400, "JSON")
    assert_refused(client.post("/v1/feedback", content=b" " * ((16 << 20) + 1)), 413, "bytes")
    assert_refused(client.delete("/v1/feedback"), 422, "entity_id")
    assert_refused(
        send_correction(client, "x" * 201, entity=new_entity(), added=["a"]), 422, "idempotency"
    )


def test_deeply_nested_unknown_fields_are_ignored(client: httpx.Client) -> None:
    depth = 1_000
    body = '{"added": ["a"], "entity": {"name": "Deep", "unknown": %s}}'
    content = body % ("[" * depth + "]" * depth)
    assert stored(client.post("/v1/feedback", content=content))["entity_id"]


def test_a_locked_database_delays_no_other_requests_and_stores_no_refused_correction(
    client: httpx.Client, world: World, service: Service
) -> None:
    stored(send_correction(client, entity=new_entity(), added=["a"]))
    entity = new_entity()
    body = {"entity": entity, "added": ["a"]}
    keys = [uuid.uuid4().hex for _ in range(50)]
    file = world.home / "corrections.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(len(keys)) as pool:
            futures = [
                pool.submit(
                    client.post,
                    "/v1/feedback",
                    json=body,
                    headers={"X-Request-Timeout": "1", "Idempotency-Key": key},
                    timeout=60,
                )
                for key in keys
            ]
            assert client.get("/metrics", timeout=10).status_code == 200
            for future in futures:
                assert_refused(future.result(), 503, "in time")
    assert stored(send_correction(client, keys[0], **body))["entity_id"] == entity["id"]
    time.sleep(1)  # SQLite now gives the lock to the writers of the refused corrections
    assert [row["key"] for row in exported_corrections(client, entity["id"])] == keys[:1]
    assert "never retrieved" not in service.log.read_text("utf-8")


def test_a_correction_that_is_cut_or_damaged_is_refused_and_not_stored(
    client: httpx.Client,
) -> None:
    entity = new_entity()
    content = json.dumps({"entity": entity, "added": ["a"]}).encode()
    for size in range(0, len(content), 5):
        assert client.post("/v1/feedback", content=content[:size]).status_code == 400
    for damage in (b"\xff", b"\0", b"\xed\xa0\xbd", b"\\ud83d"):
        damaged = content.replace(b"Pizza", b"Pi" + damage + b"a")
        response = client.post("/v1/feedback", content=damaged)
        assert response.status_code in (400, 422)
        assert response.json()["detail"]
    assert exported_corrections(client, entity["id"]) == []


def test_the_export_has_any_number_of_corrections(world: World, tmp_path: Path) -> None:
    rows = 2 * BATCH_ROWS + 1
    url = f"sqlite:///{tmp_path}/corrections.db"
    given = Correction("", "r", "anna", "e", '{"name": "Bar"}', ["a"], [], ["b"], {}, [])
    with CorrectionStore(url) as store:
        for n in range(rows):
            store.add(dataclasses.replace(given, key=str(n)))
    settings = environment(world.home) | {"LABELWRIGHT_CORRECTIONS": url}
    with (
        serving("--model", world.bundle, environment=settings, folder=tmp_path) as service,
        service.client() as client,
    ):
        response = client.get("/v1/feedback/export")
        exported = pq.read_table(io.BytesIO(response.content))
    assert "content-length" not in response.headers  # the file is sent while it is written
    assert exported.schema.equals(CORRECTIONS)
    assert exported["key"].to_pylist() == list(map(str, range(rows)))


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("sqlite:////proc/none/corrections.db", 503),
        ("sqlite:////dev/full", 507),
        ("postgresql://anna:hunter2@127.0.0.1:1/none", 503),
    ],
)
def test_errors_of_the_database_name_no_path_and_no_host(
    world: World, tmp_path: Path, url: str, status: int
) -> None:
    settings = environment(world.home) | {"LABELWRIGHT_CORRECTIONS": url}
    with (
        serving("--model", world.bundle, environment=settings, folder=tmp_path) as service,
        service.client() as client,
    ):
        for response in (
            send_correction(client, entity=new_entity(), added=["a"]),
            client.get("/v1/feedback/export"),
            client.delete("/v1/feedback", params={"entity_id": "a"}),
        ):
            assert_refused(response, status, "of the service")
            assert not re.search("proc|dev|127|anna|hunter|none", response.text)
        log = service.log.read_text("utf-8")
    assert log.count("cannot be reached: ") == 3  # for the operator
    assert "hunter2" not in log


def test_exports_and_deletions_leave_a_line_in_the_audit_log(
    client: httpx.Client, world: World, service: Service
) -> None:
    entity = new_entity()
    stored(send_correction(client, entity=entity, added=["a"]))
    exported_corrections(client, entity["id"])
    client.delete("/v1/feedback", params={"entity_id": entity["id"]})
    exported, deleted = audit_lines(world.home)[-2:]
    assert (exported["action"], exported["by"]) == ("corrections exported", "request without key")
    assert (deleted["action"], deleted["by"]) == ("corrections deleted", "request without key")
    assert deleted["corrections"] == 1
    assert deleted["entity_id_sha256"] == sha256(entity["id"].encode()).hexdigest()
    assert deleted["entity_id_sha256"] in service.log.read_text("utf-8")


@pytest.mark.parametrize(("option", "status"), [("--keys", 401), ("--no-keys", 403)])
def test_corrections_are_read_and_deleted_over_a_network_only_with_a_key(
    world: World, tmp_path: Path, option: str, status: int
) -> None:
    text = Keyring(tmp_path / "keys.json").create("a", Role.ADMIN)
    arguments = ("--model", world.bundle, "--host", "0.0.0.0", option)  # noqa: S104
    with (
        serving(*arguments, environment=environment(tmp_path), folder=tmp_path) as service,
        service.client() as client,
    ):
        for headers in ({}, {"X-API-Key": text}):
            for method, path in (("GET", "/v1/feedback/export"), ("DELETE", "/v1/feedback")):
                response = client.request(method, path, params={"entity_id": "a"}, headers=headers)
                allowed = headers and option == "--keys"
                assert response.status_code == (200 if allowed else status)
        log = service.log.read_text("utf-8")
    assert ("requests need no API key" in log) == (option == "--no-keys")
    if option == "--keys":
        authors = [line["by"] for line in audit_lines(tmp_path)]
        assert authors == [f"key {key_id(text)}"] * 2
    else:
        assert not (tmp_path / AUDIT_LOG).exists()


def test_the_openapi_document_describes_feedback(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]
    assert {"entity", "confirmed", "denied", "added", "reviewer", "key", "shown"} == set(
        body["schema"]["properties"]
    )
    assert "name" in body["schema"]["properties"]["entity"]["properties"]
    assert "$ref" not in json.dumps(body)
    stored(client.post("/v1/feedback", json=body["examples"]["denied"]["value"]))


def test_the_log_does_not_contain_the_content_of_corrections(
    client: httpx.Client, service: Service
) -> None:
    stored(send_correction(client, entity=new_entity(name=CANARY), added=[CANARY], reviewer=CANARY))
    send_correction(client, entity=new_entity(name=CANARY), denied=[CANARY])
    assert CANARY not in service.log.read_text("utf-8")

"""End-to-end tests of the HTTP API against a service in its own process."""

import json
import math
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.processes import HOST, Service, environment, serving
from tests.service.waiting import wait_until

if TYPE_CHECKING:
    from labelwright.entities.tables import Entities

pytest_plugins = ["tests.worlds"]

BODY_LIMIT = 16 << 20
CANARY = "Kanarienvogel"
PLACES = [
    {"id": "a", "name": "Joe's Pizza", "country": "US"},
    {"id": "b", "name": "Sparkasse Musterstadt", "country": "DE"},
    {"id": "c", "name": "Kiosk"},
]

Json = dict[str, Any]


def post_labels(client: httpx.Client, entities: list[Any], **query: Any) -> Json:
    """The body of the response to a valid request."""
    response = client.post("/v1/labels", json={"entities": entities, **query})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    content: Json = response.json()
    return content


def labels_of(response: Json) -> list[list[Json]]:
    """The labels of each entity."""
    return [result["labels"] for result in response["results"]]


# labels of entities


def test_every_entity_gets_one_result_in_order_and_the_response_names_the_model(
    client: httpx.Client,
) -> None:
    response = post_labels(client, PLACES, top_k=5, min_probability=0.0)
    assert set(response) == {"model", "results"}
    assert {"name": "small", "version": "1"}.items() <= response["model"].items()
    assert [result["id"] for result in response["results"]] == ["a", "b", "c"]
    for result in response["results"]:
        assert set(result) == {"id", "labels", "primary"}
        assert len(result["labels"]) >= 5
        for label in result["labels"]:
            assert set(label) == {"label", "probability", "asserted"}
            assert isinstance(label["label"], str)
            assert 0 <= label["probability"] <= 1
            assert isinstance(label["asserted"], bool)


def test_an_invalid_entity_gets_an_error_at_its_position_in_the_results(
    client: httpx.Client,
) -> None:
    bad = {"id": "bad", "name": "Bar", "lat": 200, "lon": 4}
    response = post_labels(client, [PLACES[0], bad, PLACES[1], None])
    first, second, third, fourth = response["results"]
    assert second == {"id": "bad", "error": {"detail": "lat: must lie between -90 and 90"}}
    assert fourth == {"id": "row-3", "error": {"detail": "an entity must be an object"}}
    assert [first, third] == post_labels(client, PLACES[:2])["results"]


def test_top_k_labels_and_all_asserted_labels_are_listed(
    client: httpx.Client, brands: "Entities"
) -> None:
    table = brands.table.select(["id", "name", "country", "website"]).slice(0, 200)
    places = table.to_pylist()
    unfiltered = labels_of(post_labels(client, places, top_k=1000))
    count = client.get("/v1/model").json()["labels"]
    several = 0
    for k in (1, 3):
        for found, all_labels in zip(
            labels_of(post_labels(client, places, top_k=k)), unfiltered, strict=False
        ):
            probabilities = [label["probability"] for label in all_labels]
            assert len({label["label"] for label in all_labels}) == count
            assert probabilities == sorted(probabilities, reverse=True)
            assert found == all_labels[:k] + [
                label for label in all_labels[k:] if label["asserted"]
            ]
            several += len(found) > k
    assert several
    assert not all(label["asserted"] for (label, *_) in unfiltered)


def test_a_query_has_the_documented_defaults(client: httpx.Client) -> None:
    explicit = post_labels(client, PLACES, top_k=5, min_probability=0.0, only=[], policy="balanced")
    assert post_labels(client, PLACES) == explicit


def test_min_probability_filters_labels(client: httpx.Client) -> None:
    unfiltered = labels_of(post_labels(client, PLACES, top_k=1000))
    floor = unfiltered[0][2]["probability"]
    probable = labels_of(post_labels(client, PLACES, top_k=1000, min_probability=floor))
    assert probable == [
        [label for label in labels if label["probability"] >= floor] for labels in unfiltered
    ]
    assert labels_of(post_labels(client, PLACES, min_probability=1)) == [[], [], []]


def test_only_filters_labels_by_pattern(client: httpx.Client) -> None:
    unfiltered = labels_of(post_labels(client, PLACES, top_k=1000))
    cuisines = labels_of(post_labels(client, PLACES, top_k=1000, only=["cuisine=*"]))
    assert cuisines == [
        [label for label in labels if label["label"].startswith("cuisine=")]
        for labels in unfiltered
    ]
    two = labels_of(post_labels(client, PLACES, top_k=2, only=["cuisine=*", "shop=*"]))
    assert all(len(labels) >= 2 for labels in two)
    assert all(re.match("cuisine=|shop=", label["label"]) for labels in two for label in labels)


def test_a_request_may_have_at_most_1000_entities(client: httpx.Client) -> None:
    many = [{"id": str(number), "name": f"Place {number}"} for number in range(1000)]
    results = post_labels(client, many, top_k=1)["results"]
    assert [result["id"] for result in results] == [place["id"] for place in many]
    response = client.post("/v1/labels", json={"entities": [*many, {}]})
    assert problem_of(response)["status"] == 422


def test_an_unknown_column_gets_a_warning(client: httpx.Client) -> None:
    response = post_labels(client, [{"nmae": "Joe's Pizza"}])
    assert response["warnings"] == ["column 'nmae' is not in schema 'places'; did you mean 'name'?"]


def test_parallel_requests_get_the_same_results_as_sequential_ones(client: httpx.Client) -> None:
    places = [{"id": str(number), "name": f"Café {number} Pizza"} for number in range(40)]
    expected = [post_labels(client, [place])["results"] for place in places]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: post_labels(client, [place])["results"], places))
    assert found == expected


# reasons


def test_explain_adds_reasons_that_sum_to_the_log_odds(client: httpx.Client) -> None:
    plain = labels_of(post_labels(client, PLACES, explain=False))
    explained = labels_of(post_labels(client, PLACES, explain=True))
    for labels, others in zip(explained, plain, strict=True):
        for label, other in zip(labels, others, strict=True):
            assert label == other | {"log_odds": label["log_odds"], "reasons": label["reasons"]}
            weights = [reason["weight"] for reason in label["reasons"]]
            assert sum(weights) == pytest.approx(label["log_odds"], abs=1e-3)
    (first, *_) = explained[0]
    name = PLACES[0]["name"]
    spans = [reason for reason in first["reasons"] if reason.get("field") == "name"]
    assert "Pizza" in [reason["text"] for reason in spans]
    assert all(name[span["start"] : span["end"]] == span["text"] for span in spans)


def test_the_default_response_is_identical_to_that_with_explain_false(client: httpx.Client) -> None:
    bodies = [body(), body(explain=False)]
    first, second = (client.post("/v1/labels", content=content).content for content in bodies)
    assert first == second
    assert b"reasons" not in first


def test_an_improbable_label_can_be_explained(client: httpx.Client) -> None:
    response = post_labels(client, PLACES[1:2], explain=True, top_k=1, only=["cuisine=pizza"])
    (label,) = labels_of(response)[0]
    assert label["label"] == "cuisine=pizza"
    assert label["log_odds"] < 0


def test_an_invalid_entity_has_an_error_and_no_reasons(client: httpx.Client) -> None:
    bad = {"id": "bad", "name": "Bar", "lat": 200, "lon": 4}
    first, second = post_labels(client, [PLACES[0], bad], explain=True)["results"]
    assert second == {"id": "bad", "error": {"detail": "lat: must lie between -90 and 90"}}
    assert first["labels"][0]["reasons"]


def test_a_request_with_explain_may_have_at_most_100_entities_and_a_top_k_of_20(
    client: httpx.Client,
) -> None:
    many = [{"name": f"Place {number}"} for number in range(101)]
    assert len(post_labels(client, many[:100], explain=True, top_k=1)["results"]) == 100
    for content in (body(explain=True, entities=many), body(explain=True, top_k=21)):
        problem = problem_of(client.post("/v1/labels", content=content))
        assert problem["status"] == 422
        assert {"100", "20"} <= set(re.findall("[0-9]+", problem["detail"]))


# the model and its labels


def test_the_model_endpoint_describes_the_model_in_service(client: httpx.Client) -> None:
    model = client.get("/v1/model").json()
    assert (model["name"], model["version"]) == ("small", "1")
    assert model["policies"] == ["balanced", "broad", "precise"]
    assert model["metrics"]["p_at_1"] > 0
    assert "name" in model["schema"]["columns"]
    assert re.fullmatch("[0-9a-f]{32}", model["run_id"])
    assert model["run_url"] is None  # the registry is a database
    assert post_labels(client, PLACES)["model"].items() <= model.items()


def test_labels_can_be_searched_and_listed_in_pages(client: httpx.Client) -> None:
    unfiltered = client.get("/v1/labels", params={"limit": 1000}).json()
    names = [label["label"] for label in unfiltered["labels"]]
    assert unfiltered["total"] == len(names) == client.get("/v1/model").json()["labels"]
    assert names == sorted(names)
    assert all(0 < label["rate"] < 1 for label in unfiltered["labels"])
    assert all(0 < label["thresholds"]["balanced"] < 1 for label in unfiltered["labels"])
    assert any(label["thresholds"]["precise"] is None for label in unfiltered["labels"])
    assert all({*label["implies"]} < {*names} for label in unfiltered["labels"])

    found = client.get("/v1/labels", params={"search": "CUISINE pizza"}).json()
    assert found["labels"][0]["label"] == "cuisine=pizza"  # other cuisines have it as a synonym
    assert found["total"] == len(found["labels"]) < 5

    for params, title in (
        ({"search": "Bäckerei", "lang": "de-AT"}, "Bäckerei"),
        ({"search": "bakeshop"}, "Bakery"),
    ):
        bakery = client.get("/v1/labels", params=params).json()["labels"][0]
        assert (bakery["label"], bakery["title"]) == ("shop=bakery", title)

    page = client.get("/v1/labels", params={"offset": 3, "limit": 4}).json()
    assert [label["label"] for label in page["labels"]] == names[3:7]
    assert page["total"] == len(names)
    assert client.get("/v1/labels", params={"search": "no such"}).json() == {
        "total": 0,
        "labels": [],
    }


@pytest.mark.parametrize(("path", "status"), [("/livez", "live"), ("/readyz", "ready")])
def test_health_paths_report_live_and_ready(client: httpx.Client, path: str, status: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.json() == {"status": status}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/docs/style.css",
        "/openapi.json",
        "/livez",
        "/ping",
        "/v1/labels",
        "/v1/labels?limit=0",
        "/v1/model",
        "/v1/model/comparison",
        "/v2/models/small",
        "/v1/feedback/export",
        "/nothing",
        "/v1/review",
    ],
)
def test_head_has_the_headers_of_get_and_no_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.content == b""
    assert head.status_code == get.status_code
    varying = {"date", "x-request-id", "transfer-encoding"}
    assert head.headers.keys() - varying == get.headers.keys() - varying
    assert head.headers.get("content-length") == get.headers.get("content-length")


@pytest.mark.parametrize("path", ["/v1/labels/", "/v1/model/", "/docs/", "/v2/"])
def test_a_path_with_a_slash_at_its_end_is_not_redirected(client: httpx.Client, path: str) -> None:
    for response in (client.get(path), client.post(path, content=body())):
        assert response.status_code == 404
        assert "location" not in response.headers


def test_null_has_the_meaning_of_a_missing_member(client: httpx.Client) -> None:
    nulls = dict.fromkeys(
        ("top_k", "policy", "only", "min_probability", "min_precision", "explain")
    )
    expected = post_labels(client, PLACES)
    assert post_labels(client, PLACES, **nulls) == expected
    nan = body(entities=PLACES, min_probability=math.nan)
    assert client.post("/v1/labels", content=nan).json() == expected
    response = client.post("/v1/labels", json={"entities": None})
    assert problem_of(response)["detail"] == "entities: Field required"


# problems


def problem_of(response: httpx.Response) -> Json:
    """The problem document of a refused request.

    Asserts that the document is well-formed and does not repeat the data of the client.
    """
    assert response.headers["content-type"] == "application/problem+json"
    problem: Json = response.json()
    assert {"type", "title", "status"} <= set(problem) <= {"type", "title", "status", "detail"}
    assert problem["status"] == response.status_code
    assert CANARY not in response.text
    assert not re.search(r'Traceback|File \\?"|\.py', response.text)
    return problem


def body(**content: Any) -> bytes:
    """The body of a valid request, in which `content` adds or replaces fields."""
    return json.dumps({"entities": [{"name": CANARY}]} | content).encode()


@pytest.mark.parametrize(
    ("status", "method", "path", "content"),
    [
        (400, "POST", "/v1/labels", b""),
        (400, "POST", "/v1/labels", CANARY.encode()),
        (400, "POST", "/v1/labels", body()[:-1]),
        (400, "POST", "/v1/labels", body().replace(b"vogel", b"vogel\xff")),
        (400, "POST", "/v1/labels", b'{"entities": ' + b"[" * 100_000),
        (400, "POST", "/v1/labels", b'{"entities": [{"id": 1' + b"0" * 5_000 + b"}]}"),
        (404, "GET", f"/{CANARY}", None),
        (404, "GET", f"/v1/labels/{CANARY}", None),
        (404, "POST", f"/v1/{CANARY}?{CANARY}={CANARY}", body()),
        (405, "DELETE", f"/v1/labels?{CANARY}", None),
        (405, "PUT", "/v1/model", body()),
        (422, "POST", "/v1/labels", b"[]"),
        (422, "POST", "/v1/labels", json.dumps(CANARY).encode()),
        (422, "POST", "/v1/labels", b"{}"),
        (422, "POST", "/v1/labels", body(entities=CANARY)),
        (422, "POST", "/v1/labels", body(entities={CANARY: CANARY})),
        (422, "POST", "/v1/labels", body(entities=[])),
        (422, "POST", "/v1/labels", body(top_k=0)),
        (422, "POST", "/v1/labels", body(top_k=1001)),
        (422, "POST", "/v1/labels", body(top_k=CANARY)),
        (422, "POST", "/v1/labels", body(top_k=10**400)),
        (422, "POST", "/v1/labels", body(top_k=True)),
        (422, "POST", "/v1/labels", body(min_probability=1.5)),
        (422, "POST", "/v1/labels", body(min_probability=float("inf"))),
        (422, "POST", "/v1/labels", body(min_probability=[CANARY])),
        (422, "POST", "/v1/labels", body(only=CANARY)),
        (422, "POST", "/v1/labels", body(only=[CANARY])),
        (422, "POST", "/v1/labels", body(only=[CANARY * 100])),
        (422, "POST", "/v1/labels", body(only=[{CANARY: CANARY}])),
        (422, "POST", "/v1/labels", body(policy=CANARY)),
        (422, "POST", "/v1/labels", body(policy=CANARY * 100)),
        (422, "POST", "/v1/labels", body(explain=CANARY)),
        (422, "POST", "/v1/labels", body(explain=1)),
        (422, "GET", f"/v1/labels?limit={CANARY}", None),
        (422, "GET", "/v1/labels?limit=0", None),
        (422, "GET", f"/v1/labels?offset={CANARY}", None),
        (422, "GET", f"/v1/labels?search={CANARY * 100}", None),
    ],
    ids=lambda value: value[:50].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_an_invalid_request_gets_a_problem_document(
    client: httpx.Client, status: int, method: str, path: str, content: bytes | None
) -> None:
    response = client.request(method, path, content=content)
    assert problem_of(response)["status"] == status


def test_an_unknown_field_is_refused_without_repeating_its_name(
    client: httpx.Client,
) -> None:
    response = client.post("/v1/labels", content=body(**{CANARY: 1}))
    assert problem_of(response)["status"] == 422


def test_a_405_response_lists_the_allowed_methods(client: httpx.Client) -> None:
    response = client.delete("/v1/model")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"  # RFC 9110, 15.5.6


@pytest.mark.parametrize(
    "entity",
    [
        CANARY,
        [CANARY],
        {"name": {CANARY: CANARY}},
        {"name": [CANARY, 5]},
        {"name": CANARY * 1_000},
        {"country": 0.5, "name": CANARY},
        {"phone": [{"a": 1}], "name": CANARY},
        {"lat": CANARY, "lon": 4},
        {"lat": 200, "lon": 4, "name": CANARY},
        {"tags": {CANARY: {CANARY: CANARY}}},
        {"tags": CANARY},
        {"id": {CANARY: 5}},
        {"id": {CANARY: CANARY}},
        {"id": True, "name": CANARY},
    ],
    ids=lambda value: str(value)[:50],
)
def test_the_error_of_an_entity_never_repeats_its_values(client: httpx.Client, entity: Any) -> None:
    response = post_labels(client, [PLACES[0], entity])
    assert set(response["results"][1]) == {"id", "error"}
    assert CANARY not in json.dumps(response)


def padded(size: int) -> bytes:
    """A valid body of `size` bytes."""
    return body(top_k=1).ljust(size)


def test_a_body_of_the_largest_size_is_accepted(client: httpx.Client) -> None:
    assert client.post("/v1/labels", content=padded(BODY_LIMIT)).status_code == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_that_is_too_large_is_refused(client: httpx.Client, chunked: bool) -> None:
    content = padded(BODY_LIMIT + 1)
    pieces = (content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20))
    response = client.post("/v1/labels", content=pieces if chunked else content)
    assert ("transfer-encoding" in response.request.headers) is chunked
    problem = problem_of(response)
    assert (problem["status"], problem["title"]) == (413, response.reason_phrase)
    assert f"{BODY_LIMIT:,} bytes" in problem["detail"]


def test_a_client_that_disconnects_during_the_body_is_logged_without_a_traceback(
    service: Service,
) -> None:
    before = service.log.stat().st_size
    with connected(service) as connection:
        begin_request(connection, body())
        connection.sendall(body()[:5])
    wait_until(lambda: '"status":499' in service.log.read_text()[before:])
    assert "Traceback" not in service.log.read_text()[before:]


# connections and workers


def connected(service: Service) -> socket.socket:
    """A TCP connection to a service."""
    return socket.create_connection((HOST, service.port), timeout=60)


def begin_request(connection: socket.socket, content: bytes) -> None:
    """Send the head of a request and wait until the service reads its body."""
    connection.sendall(
        b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n\r\n" % len(content)
    )
    assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"


def assert_all_workers_count(service: Service, rows: int) -> None:
    """Wait until each worker reports the rows that all workers have labelled."""
    url = f"{service.url}/v1/drift"
    wait_until(lambda: {httpx.get(url).json()["rows"] for _ in range(16)} == {rows})


def test_several_workers_serve_and_stop_together(bundle: Path, tmp_path: Path) -> None:
    for name in ("models", "service"):  # a worker must not import these packages
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('foreign')\n")
    settings = environment(tmp_path / "home")
    with serving(
        "--model", bundle, "--workers", 2, environment=settings, folder=tmp_path
    ) as service:
        children = psutil.Process(service.process.pid).children(recursive=True)
        for turn in range(8):
            with service.client() as client:
                assert post_labels(client, PLACES, top_k=1)["model"]["name"] is None
            if turn == 0:
                assert_all_workers_count(service, len(PLACES))
        assert len(children) >= 2
        assert service.stop() == 0
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert "Traceback" not in service.log.read_text()

"""`POST /v1/review` over HTTP, and its response with a challenger."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from labelwright.models.registry import load_model
from labelwright.service.routes.review import respond

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

Json = dict[str, Any]
BAD_LABELS = "labels must be a list of up to 200 texts of up to 200 characters"
BANK = {"id": "a", "name": "Sparkasse Musterstadt", "country": "DE"}


def review(client: httpx.Client, *entities: Any, **more: Any) -> Json:
    response = client.post("/v1/review", json={"entities": entities, **more})
    assert response.status_code == 200, response.text
    said: Json = response.json()
    return said


@pytest.fixture
def other(client: httpx.Client) -> str:
    """A label that no bank has."""
    name: str = client.get("/v1/labels", params={"search": "bakery"}).json()["labels"][0]["label"]
    return name


def reasons(said: Json, row: int = 0) -> dict[str, Json]:
    """The reasons to review an entity, by `about`."""
    return {reason["about"]: reason for reason in said["results"][row]["worth"]["reasons"]}


def test_labels_are_those_of_v1_labels(client: httpx.Client) -> None:
    said = review(client, BANK, {"name": "Kiosk"}, top_k=3)
    plain = client.post("/v1/labels", json={"entities": [BANK, {"name": "Kiosk"}], "top_k": 3})
    assert [(r["id"], r["labels"]) for r in said["results"]] == [
        (r["id"], r["labels"]) for r in plain.json()["results"]
    ]
    assert said["model"] == plain.json()["model"]
    assert said["challenger"] is None


def test_given_labels_are_compared_with_the_asserted_ones(client: httpx.Client, other: str) -> None:
    right = [
        label["label"]
        for label in review(client, BANK)["results"][0]["labels"]
        if label["asserted"]
    ]
    assert right
    said = review(client, {**BANK, "labels": right}, {**BANK, "labels": [other]})
    assert "given" not in reasons(said)
    assert reasons(said, 1)["given"]["missing"] == [other]
    assert reasons(said, 1)["given"]["surplus"] == sorted(right)
    assert said["results"][1]["worth"]["rank"] > said["results"][0]["worth"]["rank"]
    assert "warnings" not in said


def test_the_rank_does_not_depend_on_how_many_labels_are_listed(client: httpx.Client) -> None:
    one, many = (review(client, BANK, {"name": "Kiosk"}, top_k=top_k) for top_k in (1, 20))
    assert [r["worth"] for r in one["results"]] == [r["worth"] for r in many["results"]]
    assert len(one["results"][1]["labels"]) < len(many["results"][1]["labels"])


def test_the_rank_is_the_sum_of_the_reasons(client: httpx.Client, other: str) -> None:
    worth = review(client, {"name": "Ωμέγα", "labels": [other]})["results"][0]["worth"]
    assert worth["rank"] == pytest.approx(sum(r["rank"] for r in worth["reasons"]), abs=1e-3)
    assert {"unseen", "given"} <= {reason["about"] for reason in worth["reasons"]}


@pytest.mark.parametrize(
    "labels",
    ["shop=florist", [1], {"a": 1}, ["x"] * 201, ["x" * 201]],
    ids=lambda given: str(given)[:9],
)
def test_bad_labels_reject_only_their_entity(client: httpx.Client, labels: Any) -> None:
    said = review(client, {**BANK, "labels": labels}, BANK)
    assert said["results"][0] == {"id": "a", "error": {"detail": BAD_LABELS}}
    assert "worth" in said["results"][1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"entities": []}', 422),
        (b'{"entities": [{}], "policy": "none"}', 422),
        (b'{"entities": [{}], "top_k": 21}', 422),
        (b'{"entities": [{"lat": NaN}]}', 400),
        (b'{"entities": [{}], "explain": true}', 422),
        (json.dumps({"entities": [{}] * 1_001}).encode(), 422),
    ],
)
def test_an_invalid_request_gets_a_problem_document(
    client: httpx.Client, body: bytes, status: int
) -> None:
    response = client.post("/v1/review", content=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_a_challenger_that_disagrees_is_a_reason(
    trained_world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("models:/small@champion")
    labeler = model.bundle.labeler
    decisions = dataclasses.replace(
        labeler.decisions,
        policies={name: thresholds + 1 for name, thresholds in labeler.decisions.policies.items()},
    )
    cautious = dataclasses.replace(
        model,
        version="2",
        bundle=dataclasses.replace(
            model.bundle, labeler=dataclasses.replace(labeler, decisions=decisions)
        ),
    )
    body = json.dumps({"entities": [BANK]}).encode()
    said = json.loads(respond(body, model, cautious))
    assert said["challenger"]["version"] == "2"
    assert reasons(said)["challenger"]["surplus"]
    assert reasons(said)["challenger"]["missing"] == []
    assert "challenger" not in reasons(json.loads(respond(body, model, model)))


def test_the_error_of_a_challenger_is_ignored(
    trained_world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("models:/small@champion")
    labeler = dataclasses.replace(
        model.bundle.labeler,
        decisions=dataclasses.replace(model.bundle.labeler.decisions, policies={}),
    )
    broken = dataclasses.replace(model, bundle=dataclasses.replace(model.bundle, labeler=labeler))
    said = json.loads(respond(json.dumps({"entities": [BANK]}).encode(), model, broken))
    assert said["challenger"] is None
    assert said["results"][0]["labels"]

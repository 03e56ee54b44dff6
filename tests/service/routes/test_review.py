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


def review(client: httpx.Client, *entities: Any, **query: Any) -> Json:
    response = client.post("/v1/review", json={"entities": entities, **query})
    assert response.status_code == 200, response.text
    result: Json = response.json()
    return result


@pytest.fixture
def foreign_label(client: httpx.Client) -> str:
    """The name of a label that a bank does not have."""
    name: str = client.get("/v1/labels", params={"search": "bakery"}).json()["labels"][0]["label"]
    return name


def reasons(response: Json, row: int = 0) -> dict[str, Json]:
    """The reasons to review an entity, by `about`."""
    return {reason["about"]: reason for reason in response["results"][row]["worth"]["reasons"]}


def test_the_labels_are_the_same_as_from_v1_labels(client: httpx.Client) -> None:
    response = review(client, BANK, {"name": "Kiosk"}, top_k=3)
    labelled = client.post("/v1/labels", json={"entities": [BANK, {"name": "Kiosk"}], "top_k": 3})
    assert [(r["id"], r["labels"]) for r in response["results"]] == [
        (r["id"], r["labels"]) for r in labelled.json()["results"]
    ]
    assert response["model"] == labelled.json()["model"]
    assert response["challenger"] is None


def test_given_labels_are_compared_with_the_asserted_labels(
    client: httpx.Client, foreign_label: str
) -> None:
    right = [
        label["label"]
        for label in review(client, BANK)["results"][0]["labels"]
        if label["asserted"]
    ]
    assert right
    response = review(client, {**BANK, "labels": right}, {**BANK, "labels": [foreign_label]})
    assert "given" not in reasons(response)
    assert reasons(response, 1)["given"]["missing"] == [foreign_label]
    assert reasons(response, 1)["given"]["surplus"] == sorted(right)
    assert response["results"][1]["worth"]["rank"] > response["results"][0]["worth"]["rank"]
    assert "warnings" not in response


def test_the_rank_does_not_depend_on_how_many_labels_are_listed(client: httpx.Client) -> None:
    one, many = (review(client, BANK, {"name": "Kiosk"}, top_k=top_k) for top_k in (1, 20))
    assert [r["worth"] for r in one["results"]] == [r["worth"] for r in many["results"]]
    assert len(one["results"][1]["labels"]) < len(many["results"][1]["labels"])


def test_the_rank_is_the_sum_of_the_reasons(client: httpx.Client, foreign_label: str) -> None:
    worth = review(client, {"name": "Ωμέγα", "labels": [foreign_label]})["results"][0]["worth"]
    assert worth["rank"] == pytest.approx(sum(r["rank"] for r in worth["reasons"]), abs=1e-3)
    assert {"unseen", "given"} <= {reason["about"] for reason in worth["reasons"]}


@pytest.mark.parametrize(
    "labels",
    ["shop=florist", [1], {"a": 1}, ["x"] * 201, ["x" * 201]],
    ids=lambda given: str(given)[:9],
)
def test_an_entity_with_invalid_labels_is_rejected_and_others_are_not(
    client: httpx.Client, labels: Any
) -> None:
    response = review(client, {**BANK, "labels": labels}, BANK)
    assert response["results"][0] == {"id": "a", "error": {"detail": BAD_LABELS}}
    assert "worth" in response["results"][1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"entities": []}', 422),
        (b'{"entities": [{}], "policy": "none"}', 422),
        (b'{"entities": [{}], "top_k": 21}', 422),
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
    response = json.loads(respond(body, model, cautious))
    assert response["challenger"]["version"] == "2"
    assert reasons(response)["challenger"]["surplus"]
    assert reasons(response)["challenger"]["missing"] == []
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
    response = json.loads(respond(json.dumps({"entities": [BANK]}).encode(), model, broken))
    assert response["challenger"] is None
    assert response["results"][0]["labels"]

"""Route `POST /v1/review`: labels of entities, and the rank of each for a review."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, Self, cast

import fastapi
import numpy as np
import orjson
import pyarrow as pa
import pydantic
from fastapi import Request, Response
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.tables import from_records
from labelwright.entities.text import is_unicode, label_form
from labelwright.models.decisions import BALANCED, LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix, label_matrix
from labelwright.models.monitoring.review_priority import ABOUT, JUDGED, Reason, review_reasons
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.parts import (
    decoding_cost,
    parts_of,
    request_cost,
)
from labelwright.service.http.body import Body, request_body
from labelwright.service.http.errors import validation_problem
from labelwright.service.http.request_form import RequestForm
from labelwright.service.openapi.native import entity_schema, example_entity
from labelwright.service.openapi.operations import Part, content, json_schema, operation
from labelwright.service.protocols.label_messages import ENTITIES_LIMIT, parse_json
from labelwright.service.protocols.results import ModelIdentity, Result, identity, results
from labelwright.service.request import ParsedRequest
from labelwright.service.routes.feedback import LABEL_LIMIT, LABELS_LIMIT

COST = 3
"""Number of rows that can be labelled in the time that one row takes to rank.

With a challenger, it is one more.
"""
_BAD_LABELS = (
    f"labels must be a list of up to {LABELS_LIMIT} texts of up to {LABEL_LIMIT} characters"
)


class ReviewRequest(RequestForm):
    """Entities to rank for review. The field `labels` of an entity has its labels so far."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    entities: list[Any] = Field(min_length=1, max_length=ENTITIES_LIMIT)
    top_k: int = Field(8, ge=1, le=JUDGED)
    policy: str = Field(BALANCED, max_length=100)


class ReviewReason(TypedDict):
    """A reason to review an entity."""

    about: Annotated[
        str,
        Field(
            description="; ".join(f"{about}: {meaning}" for about, meaning in ABOUT.items()),
            json_schema_extra={"enum": [*ABOUT]},
        ),
    ]
    rank: Annotated[float, Field(ge=0, le=1)]
    label: NotRequired[Annotated[str, Field(description="The label that is undecided.")]]
    probability: NotRequired[
        Annotated[float, Field(description="The probability of the most probable label.")]
    ]
    field: NotRequired[
        Annotated[str, Field(description="The field whose text is rare in the training data.")]
    ]
    share: NotRequired[
        Annotated[
            float,
            Field(description="The share of the field that does not occur in the training data."),
        ]
    ]
    missing: NotRequired[
        Annotated[
            list[str],
            Field(
                description="Labels that are given, or asserted by the challenger, but not "
                "asserted by the model."
            ),
        ]
    ]
    surplus: NotRequired[
        Annotated[
            list[str],
            Field(
                description="Labels that the model asserts, but that are not given, or that the "
                "challenger does not assert."
            ),
        ]
    ]


class Worth(TypedDict):
    """The usefulness of a review of an entity: its rank and the reasons for it."""

    rank: Annotated[
        float,
        Field(description="The sum of the reasons' ranks; review the highest first."),
    ]
    reasons: list[ReviewReason]


class ReviewResult(Result):
    """A result with the reasons to review its entity."""

    worth: NotRequired[Worth]


class ReviewResponse(TypedDict):
    """One result for each entity, in order; `challenger` is null if it was not compared."""

    model: ModelIdentity
    challenger: ModelIdentity | None
    results: list[ReviewResult]
    warnings: NotRequired[list[str]]


def review_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of `POST /v1/review`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["feedback"])

    @router.post("/review", response_model=None)
    async def review(request: Request) -> Response:
        """Label up to 1,000 entities, and give each a rank: the usefulness of a review.

        The rank is high if a label is about as probable as its threshold, if no label is probable,
        or if little of the text occurs in the training data. The rank is also high if the given
        `labels` or the challenger contradict the model. Results are in the order of the entities,
        not of their ranks.
        """
        async with request_body(request, engine) as body:
            loaded = engine.manager.challenger
            challenger = loaded.model if loaded else None
            try:
                content = await _respond(body, engine, challenger)
            except pydantic.ValidationError as error:
                return validation_problem(error)
        return Response(content, media_type="application/json")

    return router


@dataclasses.dataclass(frozen=True)
class _ParsedReview(ParsedRequest):
    """A parsed request. `records` are the entities as they were sent, `given` their labels."""

    top_k: int
    records: Sequence[Any]
    given: LabelMatrix
    challenger: Model | None

    @property
    def cost_factor(self) -> int:
        """Cost of a row as a multiple of the cost of labelling it."""
        return COST + bool(self.challenger)

    def part(self, start: int, end: int) -> Self:
        """The request for consecutive entities."""
        given = self.given.take(np.arange(start, end))
        part = super().part(start, end)
        return dataclasses.replace(part, records=self.records[start:end], given=given)


async def _respond(body: Body, engine: Engine, challenger: Model | None) -> bytes:
    """The response to a request body, computed in parts on compute threads."""
    model, rows = engine.model, min(body.content.count(b"{"), ENTITIES_LIMIT)
    request = await engine.compute(
        lambda _: _parse(body.content, model, challenger),
        decoding_cost(rows, body.content),
        body.deadline,
    )
    parts = [(functools.partial(_review, part), request_cost(part)) for part in parts_of(request)]
    reviewed = await engine.compute_parts(parts, model, body.deadline)
    return await engine.compute(lambda _: _join(model, request, reviewed), rows, body.deadline)


def respond(body: bytes, model: Model, challenger: Model | None = None) -> bytes:
    """The response to a request body, computed on this thread, as JSON.

    Raises MalformedError for a body that is not JSON, and pydantic.ValidationError for JSON that is
    not a ReviewRequest. Raises DataError and RequestError as `Labeler.label` does.
    """
    request = _parse(body, model, challenger)
    return _join(model, request, [_review(request, model)])


def _review(request: _ParsedReview, model: Model) -> tuple[list[ReviewResult], bool]:
    """The results for the entities, and whether they were compared with the challenger's."""
    labeler, entities, query = model.bundle.labeler, request.entities, request.query
    predictions = labeler.label(entities, query)
    others = _asserted_by(request.challenger, request) if request.challenger else ()
    reasons = review_reasons(labeler, entities, query.policy, predictions, request.given, others)
    shown = results(entities, predictions.first(request.top_k))
    return [
        cast(ReviewResult, result) if "error" in result else {**result, "worth": _worth(of_entity)}
        for result, of_entity in zip(shown, reasons, strict=True)
    ], bool(others)


def _join(
    model: Model, request: _ParsedReview, parts: Sequence[tuple[list[ReviewResult], bool]]
) -> bytes:
    """The response with the results of all parts, as JSON."""
    compared = request.challenger and all(compared for _, compared in parts)
    response: ReviewResponse = {
        "model": identity(model),
        "challenger": identity(request.challenger) if request.challenger and compared else None,
        "results": [result for found, _ in parts for result in found],
    }
    if request.entities.warnings:
        response["warnings"] = [*request.entities.warnings]
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


def _parse(body: bytes, model: Model, challenger: Model | None) -> _ParsedReview:
    """The request in a body; an entity with invalid labels is rejected."""
    request = ReviewRequest.model_validate(parse_json(body))
    records, labeler = request.entities, model.bundle.labeler
    entities = from_records(records, labeler.schema)
    lists = [record.get("labels") if isinstance(record, dict) else None for record in records]
    bad = {
        row: _BAD_LABELS
        for row, labels in enumerate(lists)
        if labels is not None and not _is_label_list(labels)
    }
    given = [
        [] if row in bad else _current(labeler, labels or []) for row, labels in enumerate(lists)
    ]
    matrix = label_matrix(
        pa.array(given, pa.list_(pa.string())),
        labeler.labels,
        labeler.schema.open_world,
        partial=np.array([labels is None for labels in lists]),
    )
    query = LabelQuery(JUDGED, request.policy)
    entities = entities.with_rejected(bad)
    return _ParsedReview(entities, query, request.top_k, records, matrix, challenger)


def _is_label_list(labels: Any) -> bool:
    return (
        isinstance(labels, list)
        and len(labels) <= LABELS_LIMIT
        and all(
            isinstance(label, str) and len(label) <= LABEL_LIMIT and is_unicode(label)
            for label in labels
        )
    )


def _current(labeler: Labeler, labels: Sequence[str]) -> list[str]:
    """The current names of labels, and the labels that they imply; retired labels are left out."""
    names, ids = labeler.labels.names, labeler.labels.ids
    renamed = map(labeler.schema.redirects.current, map(label_form, labels))
    current = {label for label in renamed if label is not None}
    known = [ids[label] for label in current if label in ids]
    implied = {
        names[other] for label in known for other in labeler.implications.ancestors_of(label)
    }
    return sorted(implied | current)


def _asserted_by(challenger: Model, request: _ParsedReview) -> list[set[str] | None]:
    """The labels that the challenger asserts for each entity, None for an entity that it rejects.

    The list is empty if the challenger raises an error, because the response does not depend on it.
    """
    labeler = challenger.bundle.labeler
    try:
        entities = from_records(request.records, labeler.schema)
        names = labeler.label(entities, LabelQuery(policy=request.query.policy)).asserted_names()
    except Exception:  # noqa: BLE001
        return []
    return [None if row in entities.rejected else labels for row, labels in enumerate(names)]


def _worth(reasons: Sequence[Reason]) -> Worth:
    rank = sum(reason.rank for reason in reasons)
    return {
        "rank": round(rank, 4),
        "reasons": [cast(ReviewReason, reason.to_json()) for reason in reasons],
    }


def describe_review(model: Model) -> Part:
    """Request and response of `POST /v1/review`: parts of its OpenAPI operation."""
    labeler = model.bundle.labeler
    entity = entity_schema(labeler.schema)
    entity["properties"]["labels"] = {
        "type": ["array", "null"],
        "items": {"type": "string"},
        "description": "The labels that the entity has so far.",
    }
    schema = json_schema(ReviewRequest)
    schema["properties"]["entities"]["items"] = entity
    schema["properties"]["policy"]["enum"] = labeler.decisions.policy_names
    request = {
        "entities": [{**example_entity(labeler.schema), "labels": [labeler.labels.names[0]]}],
        "top_k": 3,
    }
    response = orjson.loads(respond(orjson.dumps(request), model))
    return operation(
        {"application/json": content(schema, review=request)},
        {"application/json": content(json_schema(ReviewResponse), review=response)},
        "One result for each entity, in order.",
    )

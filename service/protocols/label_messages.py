"""Messages of `POST /v1/labels`: parsing requests, serialising responses."""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any, NotRequired

import orjson
import pydantic
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities import json_text
from labelwright.entities.errors import MalformedError, RequestError
from labelwright.entities.tables import from_records
from labelwright.models.decisions import Predictions
from labelwright.models.explain.reasons import explain_predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Division
from labelwright.service.engine.parts import decoding_cost
from labelwright.service.http.query import LabelQueryForm, check_json
from labelwright.service.protocols.results import (
    ModelIdentity,
    Result,
    encoded_results,
    explained_results,
    identity,
)
from labelwright.service.request import ParsedRequest

ENTITIES_LIMIT = 1_000
EXPLAINED_LIMIT = 100
"""Maximum entities in a request with `explain`, because explanations are slow: EXPLAINED_COST."""
EXPLAINED_TOP_K_LIMIT = 20
"""Maximum `top_k` in a request with `explain`."""
EXPLAINED_COST = 150
"""Number of rows that can be labelled in the time that one row takes to explain."""
_EXPLAINS = re.compile(rb'"explain"\s*:\s*true')


class LabelRequest(LabelQueryForm):
    """Entities, and the query that applies to each of them."""

    model_config = pydantic.ConfigDict(strict=True)

    entities: list[Any] = Field(min_length=1, max_length=ENTITIES_LIMIT)
    explain: bool = Field(
        False,
        description="Add the log-odds and the reasons of each label. A request with explain may "
        f"have at most {EXPLAINED_LIMIT} entities, and a top_k of at most {EXPLAINED_TOP_K_LIMIT}.",
    )


class LabelResponse(TypedDict):
    """One result for each entity, in order."""

    model: ModelIdentity
    results: list[Result]
    warnings: NotRequired[list[str]]


@dataclasses.dataclass(frozen=True)
class ParsedLabelRequest(ParsedRequest):
    """A parsed request. If `explain` is true, the response has the reasons of each label."""

    explain: bool

    @property
    def cost_factor(self) -> int:
        """Cost of a row as a multiple of the cost of a row with few listed labels."""
        return EXPLAINED_COST if self.explain else super().cost_factor


def estimated_rows(body: bytes) -> int:
    """Estimate of the time that a request takes, as the number of rows labelled in this time.

    The number of entities is estimated from the braces in the body, without parsing.
    """
    rows = min(max(body.count(b"{") - 1, 1), ENTITIES_LIMIT)
    return rows * EXPLAINED_COST if _EXPLAINS.search(body) else decoding_cost(rows, body)


def parse(body: bytes, model: Model) -> ParsedLabelRequest:
    """The request in a body.

    Raises MalformedError for a body that is not JSON, pydantic.ValidationError for JSON that is not
    a LabelRequest, and RequestError for a request with `explain` that is too large.
    """
    request = LabelRequest.model_validate(parse_json(body))
    if request.explain:
        _check_explained_size(request)
    entities = from_records(request.entities, model.bundle.labeler.schema)
    return ParsedLabelRequest(entities, request.query, request.explain)


def serialise(model: Model, request: ParsedLabelRequest, predictions: Predictions) -> bytes:
    """The response as JSON."""
    return _join(model, request, predictions, _encode(model, request, predictions))


def _encode(
    model: Model, request: ParsedLabelRequest, predictions: Predictions
) -> Sequence[Result]:
    """The result of each entity."""
    if not request.explain:
        return encoded_results(request.entities, predictions)
    explanation = explain_predictions(model.bundle.labeler, request.entities, predictions)
    return explained_results(request.entities, explanation)


def _join(
    model: Model, request: ParsedLabelRequest, _: Predictions, results: Sequence[Result]
) -> bytes:
    """The response with these results, as JSON."""
    response: LabelResponse = {"model": identity(model), "results": list(results)}
    if request.entities.warnings:
        response["warnings"] = [*request.entities.warnings]
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


DIVISION = Division(_encode, _join)
"""Functions that serialise a large response in parts."""


def respond(body: bytes, model: Model) -> bytes:
    """The response to a request body, computed on this thread; raises the errors of `parse`."""
    request = parse(body, model)
    predictions = model.bundle.labeler.label(request.entities, request.query)
    return serialise(model, request, predictions)


def parse_json(body: bytes) -> Any:
    """The value of a JSON body; raises MalformedError and TooLargeError."""
    check_json(body)
    try:
        return json_text.parse_json(body)
    except json.JSONDecodeError as error:
        raise MalformedError(
            f"the body is not valid JSON at line {error.lineno}, column {error.colno}: a body is "
            "JSON in UTF-8, nested at most 1,024 levels deep"
        ) from None


def _check_explained_size(request: LabelRequest) -> None:
    """Raise RequestError if a request with `explain` has too many entities or too large a top_k."""
    if len(request.entities) > EXPLAINED_LIMIT or request.top_k > EXPLAINED_TOP_K_LIMIT:
        raise RequestError(
            f"with explain, a request may have at most {EXPLAINED_LIMIT} entities and a top_k of "
            f"{EXPLAINED_TOP_K_LIMIT}; this one has {len(request.entities):,} and "
            f"{request.top_k:,}: send fewer at a time"
        )

"""`POST /v1/labels`: from the bytes of a request to the bytes of its answer."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pydantic
from pydantic import Field

from labelwright.entities.errors import MalformedError, RequestError
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.explain.reasons import Explanation, explain_predictions
from labelwright.models.registry import Model
from labelwright.service.http.query import LabelQueryForm

ENTITIES_LIMIT = 1_000
EXPLAINED_LIMIT = 100
"""Entities of a request that asks for reasons: finding them takes many times as long as labels."""
EXPLAINED_TOP_K_LIMIT = 20
EXPLAINED_COST = 150
"""Rows that are labelled in the time that one is explained in."""
_EXPLAINS = re.compile(rb'"explain"\s*:\s*true')
_BOOLEANS = np.array([b"false", b"true"], object)


class LabelRequest(LabelQueryForm):
    """Entities and what is asked about each of them."""

    model_config = pydantic.ConfigDict(strict=True)

    entities: list[Any] = Field(min_length=1, max_length=ENTITIES_LIMIT)
    explain: bool = Field(
        False,
        description="Give each label its log-odds and reasons; then at most "
        f"{EXPLAINED_LIMIT} entities and a top_k of {EXPLAINED_TOP_K_LIMIT}.",
    )


class Labels:
    """One request: its body is read and its answer is written on a compute thread."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._explain = False

    @property
    def rows(self) -> int:
        """About how many rows it is worth, without looking closely."""
        rows = min(max(self._body.count(b"{") - 1, 1), ENTITIES_LIMIT)
        return rows * EXPLAINED_COST if _EXPLAINS.search(self._body) else rows

    def read(self, model: Model) -> tuple[Entities, LabelQuery]:
        """What is asked.

        Raises MalformedError for a body that is not JSON, pydantic.ValidationError for one that is
        no such request, and RequestError for one that would take too long.
        """
        request = LabelRequest.model_validate(parsed(self._body))
        self._explain = request.explain
        if request.explain:
            _check_limits(request)
        return from_records(request.entities, model.bundle.labeler.schema), request.query

    def write(self, model: Model, entities: Entities, predictions: Predictions) -> bytes:
        """The answer as JSON."""
        if self._explain:
            found = explained_results(
                entities, explain_predictions(model.bundle.labeler, entities, predictions)
            )
        else:
            found = _encoded_results(entities, predictions)
        content: dict[str, Any] = {"model": model.identity, "results": found}
        if entities.warnings:
            content["warnings"] = entities.warnings
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def parsed(body: bytes) -> Any:
    """What a body of JSON says; raises MalformedError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedError(
            "the body is not valid JSON, is nested more than 1,024 levels deep, or has a "
            "number beyond all bounds"
        ) from None


def answer(body: bytes, model: Model) -> bytes:
    """Label the entities of a JSON request; for what it raises see `Labels.read`."""
    request = Labels(body)
    entities, query = request.read(model)
    return request.write(model, entities, model.bundle.labeler.label(entities, query))


def results(entities: Entities, predictions: Predictions) -> list[dict[str, Any]]:
    """One object for each entity, in order: its labels, or why it was rejected."""
    pairs = _pairs(predictions)
    return _by_entity(entities, predictions, lambda first, end: pairs[first:end])


def explained_results(entities: Entities, explanation: Explanation) -> list[dict[str, Any]]:
    """The same with the log-odds and the reasons of each label."""
    pairs = _pairs(explanation.predictions)
    stated = zip(pairs, explanation.log_odds.tolist(), explanation.to_records(), strict=True)
    told = [pair | {"log_odds": odds, "reasons": reasons} for pair, odds, reasons in stated]
    return _by_entity(entities, explanation.predictions, lambda first, end: told[first:end])


def _encoded_results(entities: Entities, predictions: Predictions) -> list[dict[str, Any]]:
    """`results` for orjson alone, in a fraction of the time: labels are JSON already."""
    pairs = _encoded_pairs(predictions)
    return _by_entity(
        entities,
        predictions,
        lambda first, end: orjson.Fragment(b"[%b]" % b",".join(pairs[first:end])),
    )


def lines(entities: Entities, predictions: Predictions) -> list[bytes]:
    """The results of entities, each as JSON."""
    return [orjson.dumps(result) for result in _encoded_results(entities, predictions)]


def _check_limits(request: LabelRequest) -> None:
    """Raise RequestError where explaining would take too long."""
    if len(request.entities) > EXPLAINED_LIMIT or request.top_k > EXPLAINED_TOP_K_LIMIT:
        raise RequestError(
            f"with explain, at most {EXPLAINED_LIMIT} entities and a top_k of "
            f"{EXPLAINED_TOP_K_LIMIT} can be asked for"
        )


def _pairs(predictions: Predictions) -> list[dict[str, Any]]:
    names = predictions.labels.names
    return [
        {"label": names[label], "probability": probability, "asserted": asserted}
        for label, probability, asserted in zip(
            predictions.ids.tolist(),
            predictions.probabilities,
            predictions.asserted.tolist(),
            strict=True,
        )
    ]


def _encoded_pairs(predictions: Predictions) -> list[bytes]:
    """A label, its probability and whether it is asserted, as JSON."""
    if not predictions.ids.size:
        return []
    numbers = orjson.dumps(predictions.probabilities, option=orjson.OPT_SERIALIZE_NUMPY)
    return [
        b'{"label":%b,"probability":%b,"asserted":%b}' % pair
        for pair in zip(
            predictions.labels.encoded[predictions.ids].tolist(),
            numbers[1:-1].split(b","),
            _BOOLEANS[predictions.asserted.view(np.int8)].tolist(),
            strict=True,
        )
    ]


def _by_entity(
    entities: Entities, predictions: Predictions, labels: Callable[[int, int], Any]
) -> list[dict[str, Any]]:
    bounds = itertools.pairwise(predictions.indptr.tolist())
    rejected = entities.rejected
    return [
        {"id": identifier, "error": {"detail": rejected[row]}}
        if row in rejected
        else {"id": identifier, "labels": labels(first, end)}
        for row, (identifier, (first, end)) in enumerate(
            zip(entities.ids.to_pylist(), bounds, strict=True)
        )
    ]

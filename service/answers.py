"""`POST /v1/labels`: from the bytes of a request to the bytes of its answer."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import orjson
import pydantic
from pydantic import Field

from entities.errors import RequestError
from entities.tables import Entities, from_records
from models.decisions import BALANCED, PRECISIONS, TOP_K_LIMIT, Answers, Question
from models.reasons import Explanation, explained
from models.registry import Model

ENTITIES_LIMIT = 1_000
EXPLAINED_LIMIT = 100
"""Entities of a request that asks for reasons: finding them takes many times as long as labels."""
EXPLAINED_TOP_K_LIMIT = 20
EXPLAINED_COST = 30
"""Rows that are labelled in the time that one is explained in."""
PATTERNS_LIMIT = 100
Pattern = Annotated[str, Field(min_length=1, max_length=200)]


class LabelRequest(pydantic.BaseModel):
    """Entities and what is asked about each of them."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    entities: list[Any] = Field(min_length=1, max_length=ENTITIES_LIMIT)
    top_k: int = Field(5, ge=1, le=TOP_K_LIMIT)
    min_probability: float = Field(0.0, ge=0, le=1)
    only: list[Pattern] = Field(default=[], max_length=PATTERNS_LIMIT)
    policy: str = Field(BALANCED, max_length=100)
    min_precision: float = Field(0.0, ge=0, le=PRECISIONS[-1])
    explain: bool = Field(
        False,
        description="Give each label its log-odds and reasons; then at most "
        f"{EXPLAINED_LIMIT} entities and a top_k of {EXPLAINED_TOP_K_LIMIT}.",
    )

    @property
    def question(self) -> Question:
        """The part that is the same for all entities."""
        return Question(
            self.top_k, self.policy, self.min_probability, tuple(self.only), self.min_precision
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
        return rows * EXPLAINED_COST if b'"explain"' in self._body else rows

    def read(self, model: Model) -> tuple[Entities, Question]:
        """What is asked.

        Raises pydantic.ValidationError for a body that is no such request, and RequestError for one
        that would take too long.
        """
        request = LabelRequest.model_validate_json(self._body)
        self._explain = request.explain
        if request.explain:
            _check_limits(request)
        return from_records(request.entities, model.bundle.labeler.schema), request.question

    def write(self, model: Model, entities: Entities, answers: Answers) -> bytes:
        """The answer as JSON."""
        if self._explain:
            found = explained_results(entities, explained(model.bundle.labeler, entities, answers))
        else:
            found = results(entities, answers)
        content: dict[str, Any] = {"model": identity(model), "results": found}
        if entities.warnings:
            content["warnings"] = entities.warnings
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def answer(body: bytes, model: Model) -> bytes:
    """Label the entities of a JSON request; for what it raises see `Labels.read`."""
    request = Labels(body)
    entities, question = request.read(model)
    return request.write(model, entities, model.bundle.labeler.label(entities, question))


def identity(model: Model) -> Mapping[str, Any]:
    """Which model answered: its name and version, and the hash of its content."""
    return {
        "name": model.name,
        "version": model.version,
        "content": model.bundle.manifest.content[:12],
    }


def results(entities: Entities, answers: Answers) -> list[dict[str, Any]]:
    """One object for each entity, in order: its labels, or why it was rejected."""
    return _by_entity(entities, answers, _pairs(answers))


def explained_results(entities: Entities, explanation: Explanation) -> list[dict[str, Any]]:
    """The same with the log-odds and the reasons of each label."""
    pairs = _pairs(explanation.answers)
    stated = zip(pairs, explanation.log_odds.tolist(), explanation.stated(), strict=True)
    explained = [pair | {"log_odds": odds, "reasons": reasons} for pair, odds, reasons in stated]
    return _by_entity(entities, explanation.answers, explained)


def _check_limits(request: LabelRequest) -> None:
    """Raise RequestError where explaining would take too long."""
    if len(request.entities) > EXPLAINED_LIMIT or request.top_k > EXPLAINED_TOP_K_LIMIT:
        raise RequestError(
            f"with explain, at most {EXPLAINED_LIMIT} entities and a top_k of "
            f"{EXPLAINED_TOP_K_LIMIT} can be asked for"
        )


def _pairs(answers: Answers) -> list[dict[str, Any]]:
    names = np.array(answers.labels.names, object)[answers.ids]
    return [
        {"label": label, "probability": probability, "asserted": asserted}
        for label, probability, asserted in zip(
            names, answers.probabilities, answers.asserted.tolist(), strict=True
        )
    ]


def _by_entity(
    entities: Entities, answers: Answers, pairs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    bounds = answers.indptr.tolist()
    found: list[dict[str, Any]] = []
    for row, identifier in enumerate(entities.ids.to_pylist()):
        if reason := entities.rejected.get(row):
            found.append({"id": identifier, "error": {"detail": reason}})
        else:
            found.append({"id": identifier, "labels": pairs[bounds[row] : bounds[row + 1]]})
    return found

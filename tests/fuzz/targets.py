"""Fuzz targets: every decoder of request bodies, without the network."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from labelwright.entities.errors import LabelwrightError
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import Model
from labelwright.service.http.streaming import Piece, StreamFormat
from labelwright.service.protocols.arrow import ArrowStream
from labelwright.service.protocols.label_messages import Labels
from labelwright.service.protocols.mlflow_messages import CSV, JSON, PARQUET, Scoring
from labelwright.service.protocols.ndjson import JsonLines
from labelwright.service.protocols.v2_messages import Inference
from labelwright.service.routes.review import reviewed

REFUSALS = (LabelwrightError, pydantic.ValidationError)
"""Errors that become a response with a status below 500."""
Target = Callable[[Model, bytes], object]


def _answered(request: Labels | Scoring | Inference | Piece, model: Model) -> object:
    entities, query = request.read(model)
    labels = model.bundle.labeler.label(entities, query)
    return request.write(model, entities, labels)


def _v2(model: Model, body: bytes) -> object:
    """The JSON part ends at its closing brace, or at the length in the first bytes."""
    end = body.rfind(b"}") + 1
    if not end and len(body) >= 2:
        (end,) = struct.unpack_from("<H", body)
    return _answered(Inference(body, end), model)


def _streamed(form: StreamFormat, model: Model, body: bytes) -> object:
    """The body arrives in two parts, split at a position derived from its length."""
    middle = len(body) * 5 // 8
    pieces = [*form.split([body[:middle]], False), *form.split([body[middle:]], True)]
    return [_answered(piece, model) for piece in pieces]


TARGETS: Mapping[str, Target] = {
    "json": lambda model, body: _answered(Labels(body), model),
    "review": lambda model, body: reviewed(body, model, model),
    "ndjson": lambda model, body: _streamed(JsonLines(LabelQuery()), model, body),
    "arrow": lambda model, body: _streamed(
        ArrowStream(LabelQuery(), model.bundle.labeler.schema), model, body
    ),
    "v2": _v2,
    "mlflow": lambda model, body: _answered(Scoring(body, JSON), model),
    "csv": lambda model, body: _answered(Scoring(body, CSV), model),
    "parquet": lambda model, body: _answered(Scoring(body, PARQUET), model),
}


def try_out(name: str, model: Model, body: bytes) -> Any:
    """The response to a body, or the expected error; any other error is a finding."""
    try:
        return TARGETS[name](model, body)
    except REFUSALS as error:
        return error

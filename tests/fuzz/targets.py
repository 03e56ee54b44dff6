"""What is fuzzed: each way from bytes to answers, without the network around it."""

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
"""What becomes an answer with a status below 500."""
Target = Callable[[Model, bytes], object]


def _answered(request: Labels | Scoring | Inference | Piece, model: Model) -> object:
    entities, query = request.read(model)
    labels = model.bundle.labeler.label(entities, query)
    return request.write(model, entities, labels)


def _v2(model: Model, body: bytes) -> object:
    """The JSON ends where its braces do, or where the first bytes say."""
    end = body.rfind(b"}") + 1
    if not end and len(body) >= 2:
        (end,) = struct.unpack_from("<H", body)
    return _answered(Inference(body, end), model)


def _streamed(form: StreamFormat, model: Model, body: bytes) -> object:
    """The body comes in two parts, cut where its length says."""
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
    """The answer to a body, or the error it is refused with; any other error is a finding."""
    try:
        return TARGETS[name](model, body)
    except REFUSALS as error:
        return error

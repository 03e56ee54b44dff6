"""What is fuzzed: each way from bytes to answers, without the network around it."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from entities.errors import LabelwrightError
from models.decisions import Question
from models.registry import Model
from service.answers import Labels
from service.protocols.arrow import ArrowStream
from service.protocols.inference import Inference
from service.protocols.ndjson import JsonLines
from service.protocols.scoring import CSV, JSON, PARQUET, Scoring
from service.review import reviewed
from service.streams import Format, Piece

REFUSALS = (LabelwrightError, pydantic.ValidationError)
"""What becomes an answer with a status below 500."""
Target = Callable[[Model, bytes], object]


def _answered(request: Labels | Scoring | Inference | Piece, model: Model) -> object:
    entities, question = request.read(model)
    labels = model.bundle.labeler.label(entities, question)
    return request.write(model, entities, labels)


def _v2(model: Model, body: bytes) -> object:
    """The JSON ends where its braces do, or where the first bytes say."""
    end = body.rfind(b"}") + 1
    if not end and len(body) >= 2:
        (end,) = struct.unpack_from("<H", body)
    return _answered(Inference(body, end), model)


def _streamed(form: Format, model: Model, body: bytes) -> object:
    """The body comes in two parts, cut where its length says."""
    middle = len(body) * 5 // 8
    pieces = [*form.cut([body[:middle]], False), *form.cut([body[middle:]], True)]
    return [_answered(piece, model) for piece in pieces]


TARGETS: Mapping[str, Target] = {
    "json": lambda model, body: _answered(Labels(body), model),
    "review": lambda model, body: reviewed(body, model, model),
    "ndjson": lambda model, body: _streamed(JsonLines(Question()), model, body),
    "arrow": lambda model, body: _streamed(
        ArrowStream(Question(), model.bundle.labeler.schema), model, body
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

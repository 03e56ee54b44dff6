"""Fuzz targets: the decoders of request bodies, without the network, and the readers of files."""

import struct
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from labelwright.entities.errors import LabelwrightError
from labelwright.entities.importers.label_books import read_book
from labelwright.entities.io.readers import read_batches
from labelwright.entities.io.row_ids import with_distinct_ids
from labelwright.entities.redirects import Redirects
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.http.streaming import Piece, StreamFormat
from labelwright.service.protocols import mlflow_messages, v2_messages
from labelwright.service.protocols.arrow import ArrowStream
from labelwright.service.protocols.label_messages import respond
from labelwright.service.protocols.mlflow_messages import CSV, JSON, PARQUET
from labelwright.service.protocols.ndjson import JsonLines
from labelwright.service.request import ParsedRequest
from labelwright.service.routes import review

REFUSALS = (LabelwrightError, pydantic.ValidationError)
"""Errors that become a response with a status below 500."""
Target = Callable[[Model, bytes], object]


def _predicted(request: ParsedRequest, model: Model) -> Predictions:
    return model.bundle.labeler.label(request.entities, request.query)


def _v2(model: Model, body: bytes) -> object:
    """Decode a body whose JSON part ends at the last brace or, without braces, at any offset."""
    end = body.rfind(b"}") + 1
    if not end and len(body) >= 2:
        (end,) = struct.unpack_from("<H", body)
    request = v2_messages.parse(body, end, model)
    return v2_messages.serialise(model, request, _predicted(request, model))


def _mlflow(model: Model, body: bytes, content_type: str) -> object:
    request = mlflow_messages.parse(body, content_type, model)
    return mlflow_messages.serialise(request, _predicted(request, model))


def _piece(piece: Piece, model: Model) -> bytes:
    request = piece.parse(model)
    return piece.serialise(model, request, _predicted(request, model))


def _streamed(form: StreamFormat, model: Model, body: bytes) -> object:
    """Decode a body that arrives in two parts."""
    middle = len(body) * 5 // 8
    pieces = [*form.split([body[:middle]], False), *form.split([body[middle:]], True)]
    return [_piece(piece, model) for piece in pieces]


def _redirects(model: Model, content: bytes) -> object:
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(content)
        file.flush()
        return Redirects.read(file.name)


def _label_book(suffix: str) -> Target:
    def read(model: Model, content: bytes) -> object:
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(content)
            file.flush()
            return read_book(file.name).texts()

    return read


def _file(suffix: str) -> Target:
    """A target that reads and labels a file, as `labelwright label` does."""

    def label(model: Model, content: bytes) -> object:
        labeler = model.bundle.labeler
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            file.write(content)
            file.flush()
            batches = with_distinct_ids(read_batches(file.name, labeler.schema))
            return [labeler.label(batch.entities, LabelQuery()) for batch in batches]

    return label


TARGETS: Mapping[str, Target] = {
    "json": lambda model, body: respond(body, model),
    "review": lambda model, body: review.respond(body, model, model),
    "ndjson": lambda model, body: _streamed(JsonLines(LabelQuery()), model, body),
    "arrow": lambda model, body: _streamed(
        ArrowStream(LabelQuery(), model.bundle.labeler.schema), model, body
    ),
    "v2": _v2,
    "mlflow": lambda model, body: _mlflow(model, body, JSON),
    "csv": lambda model, body: _mlflow(model, body, CSV),
    "parquet": lambda model, body: _mlflow(model, body, PARQUET),
    **{f"file{suffix}": _file(suffix) for suffix in (".csv", ".jsonl", ".geojson", ".parquet")},
    "redirects": _redirects,
    "label-book-toml": _label_book(".toml"),
    "label-book-csv": _label_book(".csv"),
    "label-book-rdf": _label_book(".rdf"),
}


def decode_or_refuse(name: str, model: Model, body: bytes) -> Any:
    """The response to a body, or the error that refuses it; any other error is raised."""
    try:
        return TARGETS[name](model, body)
    except REFUSALS as error:
        return error

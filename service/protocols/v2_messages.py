"""Messages of the Open Inference Protocol, version 2: parsing requests, serialising responses.

A body is JSON, or JSON followed by the bytes of binary tensors.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pydantic
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.arrays import RejectedRows
from labelwright.entities.errors import DataError, RequestError
from labelwright.entities.schema import NUMERIC, EntitySchema
from labelwright.entities.tables import Entities, check_columns, from_table
from labelwright.models.decisions import Predictions
from labelwright.models.registry import Model
from labelwright.service.http.query import LabelQueryForm, check_size
from labelwright.service.http.request_form import RequestForm
from labelwright.service.protocols.label_messages import parse_json
from labelwright.service.protocols.results import encoded_primaries, lines
from labelwright.service.protocols.v2_tensors import (
    TEXT,
    Array,
    InputTensor,
    OutputTensor,
    encode,
)
from labelwright.service.request import ParsedRequest

LABELS, PROBABILITIES, LABEL_IDS = "labels", "probabilities", "label_ids"
PRIMARY = "primary"
OUTPUTS = {LABELS: TEXT, PROBABILITIES: "FP32", LABEL_IDS: "INT32", PRIMARY: TEXT}
"""The datatypes of the outputs by name."""
ON_REQUEST = frozenset({PRIMARY})
"""The outputs that a response has only if the request names them."""
SHAPES = {LABELS: [-1], PROBABILITIES: [-1, -1], LABEL_IDS: [-1, -1], PRIMARY: [-1]}
"""The shapes of the outputs by name; -1 means any length."""
NO_LABEL = -1
"""The value in `label_ids` after the last label of an entity, if the row has more columns."""
IGNORED = frozenset(
    {"binary_data_output", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"}
)
"""Parameters of the protocol that are not part of the query."""


class RequestedOutput(RequestForm):
    """An output that the response should have."""

    name: str
    parameters: dict[str, Any] = Field(default={})


class InferenceRequest(RequestForm):
    """The JSON of a request. The protocol asks servers to ignore unknown members."""

    model_config = pydantic.ConfigDict(strict=True)

    id: str | None = Field(None, max_length=1_000)
    inputs: list[InputTensor] = Field(max_length=1_000)
    outputs: list[RequestedOutput] | None = Field(None, max_length=100)
    parameters: dict[str, Any] = Field(default={})


class ResponseParameters(TypedDict):
    """Parameters of a response."""

    warnings: Annotated[str, Field(description="Warnings, separated by semicolons.")]


class InferenceResponse(TypedDict):
    """The JSON of a response: the outputs have one element or row for each entity, in order.

    `labels` has the results of `POST /v1/labels` as JSON, without `primary`. If the request names
    the output `primary`, it has these values as JSON: the most probable kind of each entity, or
    null for a rejected row or a model without kinds. `probabilities` and `label_ids` have the
    top_k most probable labels. The id of a label is its position in `GET /v1/labels`; an id of -1
    means that there is no label.
    """

    model_name: str
    model_version: NotRequired[str]
    id: NotRequired[str]
    parameters: NotRequired[ResponseParameters]
    outputs: list[OutputTensor]


@dataclasses.dataclass(frozen=True)
class ParsedInferenceRequest(ParsedRequest):
    """A parsed request. `outputs` maps the name of each output to whether it is sent as bytes."""

    id: str | None
    outputs: Mapping[str, bool]


def parse(body: bytes, json_size: int | None, model: Model) -> ParsedInferenceRequest:
    """The request in a body, of which the first `json_size` bytes are JSON (None: all).

    Raises MalformedError for JSON that is not valid, pydantic.ValidationError for JSON that is not
    an InferenceRequest, DataError and RequestError.
    """
    json_size = len(body) if json_size is None else json_size
    if json_size > len(body):
        raise DataError(
            f"the JSON of a request cannot be longer than its body: {json_size:,} bytes of JSON "
            f"were announced, the body has {len(body):,}"
        )
    request = InferenceRequest.model_validate(parse_json(body[:json_size]))
    members = {name: value for name, value in request.parameters.items() if name not in IGNORED}
    query = LabelQueryForm.model_validate(members, strict=True).query
    check_size(max((tensor.rows for tensor in request.inputs), default=0), query)
    schema, rejected_rows = model.bundle.labeler.schema, RejectedRows()
    table = _table(request.inputs, body[json_size:], schema, rejected_rows)
    entities = from_table(table, schema).with_rejected(rejected_rows.reasons)
    return ParsedInferenceRequest(entities, query, request.id, _outputs(request))


def serialise(
    model: Model, request: ParsedInferenceRequest, predictions: Predictions
) -> tuple[bytes, int | None]:
    """The response, and the size of its JSON in bytes if binary tensors follow it, else None."""
    tensors = [
        encode(name, OUTPUTS[name], _output(name, request, predictions), binary)
        for name, binary in request.outputs.items()
    ]
    response: InferenceResponse = {
        "model_name": served_name(model),
        "outputs": [tensor for tensor, _ in tensors],
    }
    if model.version is not None:
        response["model_version"] = model.version
    if request.id is not None:
        response["id"] = request.id
    if request.entities.warnings:
        response["parameters"] = {"warnings": "; ".join(request.entities.warnings)}
    header = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    content = b"".join((header, *(binary for _, binary in tensors)))
    return content, len(header) if any(request.outputs.values()) else None


def served_name(model: Model) -> str:
    """The name of a model in paths: its name in the registry, or else the name of its schema."""
    return model.name or model.bundle.labeler.schema.name


def input_datatypes(schema: EntitySchema) -> dict[str, str]:
    """The names of the possible inputs, each with its datatype."""
    numbers = {
        field for column in schema.columns if column.kind in NUMERIC for field in column.fields
    }
    return {name: "FP64" if name in numbers else TEXT for name in ("id", *schema.fields)}


def _table(
    inputs: Sequence[InputTensor], binary: bytes, schema: EntitySchema, rejected_rows: RejectedRows
) -> pa.Table:
    """The columns of a request; `binary` has the bytes that follow the JSON.

    Columns that are not in the schema are not read and are null. Raises DataError if the tensors do
    not fit these bytes or differ in their number of rows, and for the columns that `from_table`
    refuses.
    """
    names = [tensor.name for tensor in inputs]
    check_columns(names, schema)
    known = {"id", *schema.fields}
    arrays, start = [], 0
    for tensor in inputs:
        size = tensor.binary_size
        if size is not None and start + size > len(binary):
            raise DataError(
                f"the body is shorter than its tensors: tensor {tensor.name!r} ends at byte "
                f"{start + size:,} of {len(binary):,} bytes after the JSON"
            )
        content = None if size is None else binary[start : start + size]
        arrays.append(
            tensor.array(content, rejected_rows) if tensor.name in known else pa.nulls(tensor.rows)
        )
        start += size or 0
    if start != len(binary):
        raise DataError(
            f"the body is longer than its tensors: they take {start:,} of {len(binary):,} bytes "
            "after the JSON"
        )
    if len({len(array) for array in arrays}) > 1:
        raise DataError("all tensors of a request must have the same number of rows")
    return pa.Table.from_arrays(arrays, names=names)


def _outputs(request: InferenceRequest) -> dict[str, bool]:
    """The names of the requested outputs, each with whether it is sent as bytes.

    Raises RequestError for an unknown name.
    """
    binary = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return {name: binary for name in OUTPUTS if name not in ON_REQUEST}
    if any(output.name not in OUTPUTS for output in request.outputs):
        raise RequestError(f"unknown output: the outputs are {', '.join(OUTPUTS)}")
    return {
        output.name: output.parameters.get("binary_data", binary) is True
        for output in request.outputs
    }


def _output(name: str, request: ParsedInferenceRequest, predictions: Predictions) -> Array:
    """The values of the output `name`, one element or row for each entity."""
    if name == LABELS:
        return lines(request.entities, predictions, primaries=False)
    if name == PRIMARY:
        primaries = encoded_primaries(predictions)
        for row in request.entities.rejected:
            primaries[row] = b"null"
        return primaries
    count = min(request.query.top_k, len(predictions.labels))
    if name == PROBABILITIES:
        return _first(request.entities, predictions, predictions.probabilities, 0.0, count)
    return _first(request.entities, predictions, predictions.ids, NO_LABEL, count)


def _first(
    entities: Entities, predictions: Predictions, values: npt.NDArray[Any], blank: float, count: int
) -> npt.NDArray[Any]:
    """The first `count` values of each entity, as [entities, count].

    Rows of rejected entities, and of entities with fewer values, are filled up with `blank`.
    """
    positions = predictions.indptr[:-1, None] + np.arange(count)
    present = positions < predictions.indptr[1:, None]
    present[list(entities.rejected)] = False
    first = np.full(positions.shape, blank, values.dtype)
    first[present] = values[positions[present]]
    return first

"""Requests and answers of the Open Inference Protocol, version 2."""

from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pydantic
from pydantic import Field

from labelwright.entities.errors import DataError, RequestError
from labelwright.entities.schema import NUMERIC, EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.http.query import LabelQueryForm, check_size, estimated_rows
from labelwright.service.protocols.label_messages import lines
from labelwright.service.protocols.v2_tensors import TEXT, Array, Tensor, told

LABELS, PROBABILITIES, LABEL_IDS = "labels", "probabilities", "label_ids"
OUTPUTS = {LABELS: TEXT, PROBABILITIES: "FP32", LABEL_IDS: "INT32"}
"""The datatypes of what is answered, by name."""
SHAPES = {LABELS: [-1], PROBABILITIES: [-1, -1], LABEL_IDS: [-1, -1]}
NO_LABEL = -1
IGNORED = frozenset(
    {"binary_data_output", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"}
)
"""Parameters that clients of any model may send."""


class Output(pydantic.BaseModel):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Request(pydantic.BaseModel):
    """The JSON of a request; members that are not known are passed over, as the protocol asks."""

    model_config = pydantic.ConfigDict(strict=True)

    id: str | None = Field(None, max_length=1_000)
    inputs: list[Tensor] = Field(max_length=1_000)
    outputs: list[Output] | None = Field(None, max_length=100)
    parameters: dict[str, Any] = {}


class Inference:
    """One request: its body is read and its answer is written on a compute thread.

    Of a body with binary tensors, the JSON takes the first `header_size` bytes.
    """

    def __init__(self, body: bytes, header_size: int | None) -> None:
        self._body = body
        self._header_size = len(body) if header_size is None else header_size
        self._id: str | None = None
        self._outputs: dict[str, bool] = {}
        self._top_k = 0

    @property
    def rows(self) -> int:
        """About how many rows it is worth, without looking closely."""
        return estimated_rows(self._body)

    def read(self, model: Model) -> tuple[Entities, LabelQuery]:
        """What is asked; raises pydantic.ValidationError, DataError, RequestError."""
        if self._header_size > len(self._body):
            raise DataError("the JSON of a request cannot be longer than its body")
        request = Request.model_validate_json(self._body[: self._header_size])
        self._id, self._outputs = request.id, _outputs(request)
        asked = {name: given for name, given in request.parameters.items() if name not in IGNORED}
        query = LabelQueryForm.model_validate(asked, strict=True).query
        self._top_k = query.top_k
        check_size(max((tensor.rows for tensor in request.inputs), default=0), query)
        table = _table(request.inputs, self._body[self._header_size :])
        return from_table(table, model.bundle.labeler.schema), query

    def write(
        self, model: Model, entities: Entities, predictions: Predictions
    ) -> tuple[bytes, int | None]:
        """The answer, and how many bytes of it are JSON where tensors follow."""
        tensors = [
            told(name, OUTPUTS[name], self._array(name, entities, predictions), binary)
            for name, binary in self._outputs.items()
        ]
        content: dict[str, Any] = {"model_name": name_of(model)}
        if model.version is not None:
            content["model_version"] = model.version
        if self._id is not None:
            content["id"] = self._id
        if entities.warnings:
            content["parameters"] = {"warnings": "; ".join(entities.warnings)}
        content["outputs"] = [about for about, _ in tensors]
        header = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
        behind = b"".join(binary for _, binary in tensors)
        return header + behind, len(header) if any(self._outputs.values()) else None

    def _array(self, name: str, entities: Entities, predictions: Predictions) -> Array:
        """A tensor of the answer."""
        if name == LABELS:
            return lines(entities, predictions)
        count = min(self._top_k, len(predictions.labels))
        if name == PROBABILITIES:
            return _first(entities, predictions, predictions.probabilities, 0.0, count)
        return _first(entities, predictions, predictions.ids, NO_LABEL, count)


def name_of(model: Model) -> str:
    """The name a model is asked by: that of the registry, else that of its schema."""
    return model.name or model.bundle.labeler.schema.name


def inputs_of(schema: EntitySchema) -> dict[str, str]:
    """The datatypes of what may be sent, by name."""
    numbers = {
        field for column in schema.columns if column.kind in NUMERIC for field in column.fields
    }
    return {name: "FP64" if name in numbers else TEXT for name in ("id", *schema.fields)}


def _table(inputs: list[Tensor], binary: bytes) -> pa.Table:
    arrays, at = [], 0
    for tensor in inputs:
        size = tensor.binary_size
        if size is not None and at + size > len(binary):
            raise DataError("the body is shorter than its tensors")
        arrays.append(tensor.array(None if size is None else binary[at : at + size]))
        at += size or 0
    if at != len(binary):
        raise DataError("the body is longer than its tensors")
    if len({len(array) for array in arrays}) > 1:
        raise DataError("all tensors must have the same number of rows")
    return pa.Table.from_arrays(arrays, names=[tensor.name for tensor in inputs])


def _outputs(request: Request) -> dict[str, bool]:
    binary = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return dict.fromkeys(OUTPUTS, binary)
    if any(output.name not in OUTPUTS for output in request.outputs):
        raise RequestError(f"outputs are {', '.join(OUTPUTS)}")
    return {
        output.name: output.parameters.get("binary_data", binary) is True
        for output in request.outputs
    }


def _first(
    entities: Entities, predictions: Predictions, values: npt.NDArray[Any], blank: float, count: int
) -> npt.NDArray[Any]:
    """The first `count` values of each entity; blanks where it has fewer, or is rejected."""
    places = predictions.indptr[:-1, None] + np.arange(count)
    there = places < predictions.indptr[1:, None]
    there[list(entities.rejected)] = False
    found = np.full(places.shape, blank, values.dtype)
    found[there] = values[places[there]]
    return found

"""Requests and answers of MLflow's scoring protocol."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from labelwright.entities.errors import DataError, RequestError
from labelwright.entities.io.uploads import from_csv, from_parquet
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.http.query import ROWS_LIMIT, LabelQueryForm, check_size, estimated_rows
from labelwright.service.protocols.label_messages import results

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
TABLES = {CSV: from_csv, PARQUET: from_parquet}
PARAMS = "params"


class Scoring:
    """One request: its body is read and its answer is written on a compute thread."""

    def __init__(self, body: bytes, kind: str) -> None:
        self._body = body
        self._kind = kind

    @property
    def rows(self) -> int:
        """About how many rows it is worth, without looking closely."""
        return estimated_rows(self._body)

    def read(self, model: Model) -> tuple[Entities, LabelQuery]:
        """What is asked; raises pydantic.ValidationError, DataError, RequestError."""
        schema = model.bundle.labeler.schema
        if self._kind in TABLES:
            return TABLES[self._kind](self._body, schema, ROWS_LIMIT), LabelQuery()
        content = _parsed(self._body)
        forms = [name for name in FORMS if name in content]
        if len(forms) != 1:
            raise RequestError(f"a request has exactly one of {', '.join(FORMS)}")
        query = LabelQueryForm.model_validate(content.get(PARAMS) or {}, strict=True).query
        records = FORMS[forms[0]](content[forms[0]])
        check_size(len(records), query)
        return from_records(records, schema), query

    def write(self, model: Model, entities: Entities, predictions: Predictions) -> bytes:
        """The predictions: what `POST /v1/labels` calls results."""
        content: dict[str, Any] = {"predictions": results(entities, predictions)}
        if entities.warnings:
            content["warnings"] = entities.warnings
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _parsed(body: bytes) -> Mapping[str, Any]:
    """A JSON object; pandas writes NaN for what is missing. Raises RequestError."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            content = json.loads(body, parse_constant=_CONSTANTS.get)
        except (ValueError, RecursionError) as error:
            raise RequestError("the body is not valid JSON") from error
    if not isinstance(content, dict):
        raise RequestError("a request is a JSON object")
    return content


_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}


def _records(given: Any) -> Sequence[Any]:
    if not isinstance(given, list) or not all(isinstance(record, dict) for record in given):
        raise DataError("rows are a list of objects")
    return given


def _split(given: Any) -> Sequence[Any]:
    """The form of `DataFrame.to_dict(orient="split")`."""
    if not isinstance(given, dict):
        raise DataError("dataframe_split is an object of columns and data")
    columns, data = given.get("columns"), given.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        raise DataError("dataframe_split has lists of columns and data")
    names = [str(column) if isinstance(column, str | int) else None for column in columns]
    if None in names or len(set(names)) < len(names):
        raise DataError("the names of columns are different texts")
    if not all(isinstance(row, list) and len(row) == len(names) for row in data):
        raise DataError("each row of data has a value for each column")
    return [dict(zip(names, row, strict=True)) for row in data]


def _inputs(given: Any) -> Sequence[Any]:
    """Rows, or an object of columns; one of single values is one row."""
    if not isinstance(given, dict):
        return _records(given)
    if not any(isinstance(values, list) for values in given.values()):
        return [given]
    columns = list(given.values())
    if not all(isinstance(values, list) and len(values) == len(columns[0]) for values in columns):
        raise DataError("columns are lists of equal length")
    return [dict(zip(given, row, strict=True)) for row in zip(*columns, strict=True)]


FORMS: Mapping[str, Callable[[Any], Sequence[Any]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _records,
    "inputs": _inputs,
}
"""The four forms of rows in JSON."""

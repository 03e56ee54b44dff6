"""Messages of MLflow's scoring protocol: parsing JSON, CSV and Parquet, serialising JSON."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired

import orjson
import pyarrow as pa
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.errors import DataError, RequestError
from labelwright.entities.io.uploads import from_csv, from_parquet
from labelwright.entities.json_text import parse_json
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.http.query import ROWS_LIMIT, LabelQueryForm, check_json, check_size
from labelwright.service.protocols.results import Result, results
from labelwright.service.request import ParsedRequest

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
TABLES = {CSV: from_csv, PARQUET: from_parquet}
PARAMS = "params"


class ScoringResponse(TypedDict):
    """One result for each row, in order."""

    predictions: list[Result]
    warnings: NotRequired[list[str]]


def parse(body: bytes | pa.Table, content_type: str, model: Model) -> ParsedRequest:
    """The request in a body or in a decoded Parquet file.

    Raises pydantic.ValidationError, DataError, RequestError and TooLargeError.
    """
    schema = model.bundle.labeler.schema
    if content_type in TABLES:
        return ParsedRequest(TABLES[content_type](body, schema, ROWS_LIMIT), LabelQuery())
    content = _parse_object(body)
    forms = [name for name in FORMS if name in content]
    if len(forms) != 1:
        found = " and ".join(forms) or "none of them"
        raise RequestError(f"a request has exactly one of {', '.join(FORMS)}; this one has {found}")
    query = LabelQueryForm.model_validate(content.get(PARAMS) or {}, strict=True).query
    records = FORMS[forms[0]](content[forms[0]])
    check_size(len(records), query)
    return ParsedRequest(from_records(records, schema), query)


def serialise(request: ParsedRequest, predictions: Predictions) -> bytes:
    """The response as JSON: its `predictions` are the results of `POST /v1/labels`."""
    return join(request, results(request.entities, predictions))


def join(request: ParsedRequest, found: list[Result]) -> bytes:
    """The response with these results, as JSON."""
    response: ScoringResponse = {"predictions": found}
    if request.entities.warnings:
        response["warnings"] = [*request.entities.warnings]
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


def _parse_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in a body; raises RequestError."""
    check_json(body)
    try:
        content = parse_json(body)
    except json.JSONDecodeError as error:
        raise RequestError("the body is not valid JSON") from error
    if not isinstance(content, dict):
        raise RequestError(f"a request is a JSON object with one of {', '.join(FORMS)}")
    return content


def _records(value: Any) -> Sequence[Any]:
    """Rows as a list of objects; other values in the list are rejected later, row by row."""
    if not isinstance(value, list) or (
        value and not any(isinstance(record, dict) for record in value)
    ):
        raise DataError("rows must be a list of objects, one object for each row")
    return value


def _split(value: Any) -> Sequence[Any]:
    """Rows in the form of pandas' `DataFrame.to_dict(orient="split")`."""
    if not isinstance(value, dict):
        raise DataError("dataframe_split must be an object with the lists columns and data")
    columns, data = value.get("columns"), value.get("data")
    if not isinstance(columns, list) or not isinstance(data, list):
        raise DataError("dataframe_split must have the lists columns and data")
    names = [str(column) if isinstance(column, str | int) else None for column in columns]
    if None in names or len(set(names)) < len(names):
        raise DataError("dataframe_split: the names in columns must be texts, all different")
    if not all(isinstance(row, list) and len(row) == len(names) for row in data):
        raise DataError(
            f"dataframe_split: each row of data must be a list of {len(names):,} values, one for "
            "each column"
        )
    return [dict(zip(names, row, strict=True)) for row in data]


def _inputs(value: Any) -> Sequence[Any]:
    """Rows as a list of objects, as an object of columns, or one row as an object."""
    if not isinstance(value, dict):
        return _records(value)
    if not any(isinstance(column, list) for column in value.values()):
        return [value]
    columns = list(value.values())
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        raise DataError("inputs: the columns must be lists of equal length")
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


FORMS: Mapping[str, Callable[[Any], Sequence[Any]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _records,
    "inputs": _inputs,
}
"""Parsers of the rows in a JSON request, by the member of the request that has the rows."""

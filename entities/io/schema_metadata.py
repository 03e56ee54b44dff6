"""Entity schemas in the metadata of Parquet files.

An importer stores a schema with facts about the labels (open-world groups, implications) in the
file that it writes. `labelwright train` reads the schema from there.
"""

import dataclasses
import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.errors import DataError, reason
from labelwright.entities.io.locations import Location, LocationLike
from labelwright.entities.io.readers import files_of, format_of
from labelwright.entities.schema import EntitySchema, load_schema

ENTRY = b"labelwright.schema"
"""The key of the Parquet metadata; the value is a schema as JSON."""


def schema_metadata(schema: EntitySchema) -> dict[bytes, bytes]:
    """The entry of the Parquet metadata for a schema."""
    return {ENTRY: json.dumps(schema.to_mapping(), ensure_ascii=False).encode()}


def schema_for(paths: Iterable[LocationLike], name: str | None = None) -> EntitySchema:
    """The schema to read the files at `paths` with; raises SchemaError or DataError.

    `name` is the name of a built-in schema or a TOML file. If it is None, the schema in the
    metadata of the files is used or, if there is none, the schema `places`.
    """
    if name is not None:
        return load_schema(name)
    return embedded_schema(paths) or load_schema("places")


def embedded_schema(paths: Iterable[LocationLike]) -> EntitySchema | None:
    """The schema in the metadata of the files at some paths; None if no file has one.

    The facts about labels of several schemas are merged. Raises
    DataError if a schema cannot be read, or if the columns of two schemas differ.
    """
    found: EntitySchema | None = None
    for path in paths:
        for file in files_of(path):
            schema = _schema_of(file) if format_of(file) == "parquet" else None
            if schema is not None:
                found = schema if found is None else _merged(found, schema)
    return found


def _schema_of(file: Location) -> EntitySchema | None:
    try:
        with file.open() as stream:
            metadata = pq.read_metadata(stream).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read: {reason(error)}") from error
    if ENTRY not in metadata:
        return None
    try:
        return EntitySchema.from_mapping(json.loads(metadata[ENTRY]))
    except (ValueError, DataError) as error:
        raise DataError(
            f"{file}: the schema in its metadata cannot be read; choose one with --schema"
        ) from error


def _merged(one: EntitySchema, other: EntitySchema) -> EntitySchema:
    if one == other:
        return one
    if one.columns != other.columns:
        raise DataError(
            "the schemas in the metadata of the files have different columns; give one "
            "schema for all files with --schema"
        )
    implies = dict(one.implies)
    for label, implied in other.implies.items():
        implies[label] = tuple(dict.fromkeys((*implies.get(label, ()), *implied)))
    return dataclasses.replace(
        one,
        open_world=tuple(dict.fromkeys((*one.open_world, *other.open_world))),
        implies=implies,
        redirects=dataclasses.replace(
            one.redirects, targets={**one.redirects.targets, **other.redirects.targets}
        ),
        groups={**one.groups, **other.groups},
    )

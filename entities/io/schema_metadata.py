"""The schema that a file of labelled entities brings with it, in the metadata of Parquet.

So what an importer knows of its labels (groups of an open world, implications) need not be told
again to `labelwright train`.
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
"""The entry of Parquet's metadata that holds a schema as JSON."""


def schema_metadata(schema: EntitySchema) -> dict[bytes, bytes]:
    """The metadata that states a schema."""
    return {ENTRY: json.dumps(schema.to_mapping(), ensure_ascii=False).encode()}


def schema_for(paths: Iterable[LocationLike], name: str | None = None) -> EntitySchema:
    """The schema with that name or TOML file; else the one stated in the data; else `places`.

    Raises SchemaError or DataError.
    """
    if name is not None:
        return load_schema(name)
    return embedded_schema(paths) or load_schema("places")


def embedded_schema(paths: Iterable[LocationLike]) -> EntitySchema | None:
    """The schema that the data of some paths state, None where none does; raises DataError.

    What several files say of their labels is put together.
    """
    found: EntitySchema | None = None
    for path in paths:
        for file in files_of(path):
            stated = _stated_in(file) if format_of(file) == "parquet" else None
            if stated is not None:
                found = stated if found is None else _combined(found, stated)
    return found


def _stated_in(file: Location) -> EntitySchema | None:
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
        raise DataError(f"{file} states a schema that cannot be read") from error


def _combined(one: EntitySchema, other: EntitySchema) -> EntitySchema:
    if one == other:
        return one
    if one.columns != other.columns:
        raise DataError("the files state schemas with other columns: choose one with --schema")
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
    )

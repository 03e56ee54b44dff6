"""OpenStreetMap files that need more than osmium: histories, and objects that an editor deleted."""

from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

import pyarrow as pa

from labelwright.entities.errors import DataError

_XML = (".osm", ".osm.bz2", ".osm.gz")
_ACTION = b"action="
_READ_BYTES = 1 << 20


def check_versions(path: Path) -> None:
    """Raise DataError if a file may have several versions of an object; raises RuntimeError."""
    import osmium

    with osmium.io.Reader(path, osmium.osm.NOTHING) as reader:
        stated = reader.header().has_multiple_object_versions
    if stated or osmium.io.File(path).has_multiple_object_versions:  # by the suffix of the name
        raise several_versions(path)


def several_versions(path: Path) -> DataError:
    """The error for a file with several versions of an object."""
    return DataError(
        f"{path} is a history or a file of changes, with several versions of an object: first make "
        "a file of one moment (osmium time-filter, osmium apply-changes)"
    )


def deleted_objects(path: Path) -> set[tuple[str, int]]:
    """Kind and id of the objects that an editor has marked with `action='delete'`.

    Only XML has such marks, and osmium does not read them. Raises DataError.
    """
    deleted: set[tuple[str, int]] = set()

    def on_start(kind: str, attributes: dict[str, str]) -> None:
        if attributes.get("action") == "delete" and attributes.get("id", "").lstrip("-").isdigit():
            deleted.add((kind, int(attributes["id"])))

    if not path.name.lower().endswith(_XML):
        return deleted
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            marked = _contains(stream, _ACTION)
        if marked:
            parser = expat.ParserCreate()
            parser.StartElementHandler = on_start
            with pa.input_stream(str(path), compression="detect") as stream:
                parser.ParseFile(stream)
    except (OSError, expat.ExpatError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return deleted


def _contains(stream: BinaryIO, word: bytes) -> bool:
    """Whether a word occurs in a stream."""
    end = b""
    while block := stream.read(_READ_BYTES):
        if word in end + block:
            return True
        end = block[-len(word) :]
    return False

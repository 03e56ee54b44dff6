"""Files of label books: TOML and CSV. The built-in book `osm` has OpenStreetMap's labels."""

import csv
import dataclasses
import functools
import io
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from labelwright.entities.errors import DataError, reason
from labelwright.entities.label_book import (
    BY_LANGUAGE,
    FIELDS,
    UNDETERMINED,
    LabelBook,
    LabelEntry,
    check_language,
    group_of,
    read_entry,
)
from labelwright.entities.schema import EntitySchema
from labelwright.entities.text import label_form

OSM = "osm"
BUILT_IN = (OSM,)
LABELS = "labels"
"""The table of a TOML file that has the entries."""
_SEVERAL = ("synonyms", "seeds", "implies", "replaces")
"""The fields with lists; in CSV, their items are separated by `|`."""
_HEADER = re.compile(r"\s*\[\s*labels\s*\.")
_BARE = re.compile("[A-Za-z0-9_-]+")
_YES = ("yes", "true", "1")
_NO = ("", "no", "false", "0")


def load_book(name_or_file: str) -> LabelBook:
    """A built-in book by its name, or the book of a TOML or CSV file; raises DataError."""
    if name_or_file in BUILT_IN:
        return osm_book()
    path = Path(name_or_file)
    readers = {".toml": _read_toml, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise DataError(
            f"no label book {name_or_file!r}: expected a file that ends in .toml or .csv, or one "
            f"of the built-in books: {', '.join(BUILT_IN)}"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"label book {path} cannot be read: the text is not UTF-8; convert it, for example "
            "from Latin-1: iconv -f LATIN1 -t UTF-8 FILE"
        ) from error
    except OSError as error:
        raise DataError(f"label book {path} cannot be read: {reason(error)}") from error
    try:
        book = readers[path.suffix.lower()](text)
    except DataError as error:
        raise DataError(f"label book {path}: {error}") from error
    if not len(book):
        raise DataError(f"label book {path} has no labels; see docs/label-books.md")
    return book


@functools.cache
def osm_book() -> LabelBook:
    """The titles and synonyms of OpenStreetMap's labels in all languages of the editor iD."""
    file = resources.files("labelwright.entities") / "data" / "osm_labels.parquet"
    titles: dict[str, dict[str, str]] = {}
    synonyms: dict[str, dict[str, tuple[str, ...]]] = {}
    with resources.as_file(file) as path:
        table = pq.read_table(path)
    for language, label, title, terms in zip(
        *(column.to_pylist() for column in table.columns), strict=True
    ):
        titles.setdefault(label, {})[language] = title
        if terms:
            synonyms.setdefault(label, {})[language] = tuple(terms)
    entries = {
        label: LabelEntry(titles[label], synonyms.get(label, {}), group=group_of(label))
        for label in sorted(titles)
    }
    return LabelBook(entries, of_any_data=True)


def book_of_model(labels: Iterable[str], book: LabelBook, schema: EntitySchema) -> LabelBook:
    """The book of a model: all its labels, their titles, implications and replacements.

    `book` is the book of its training. Labels that it does not have get OpenStreetMap's titles.
    """
    known = {**osm_book().entries, **book.entries}
    entries = {label: known.get(label, LabelEntry()) for label in labels}
    replaces: dict[str, list[str]] = {}
    for old, new in schema.redirects.targets.items():
        if new:
            replaces.setdefault(new, []).append(old)
        else:
            entries[old] = dataclasses.replace(known.get(old, LabelEntry()), retired=True)
    return LabelBook(
        {
            label: dataclasses.replace(
                entry,
                implies=schema.implies.get(label, entry.implies),
                replaces=tuple(replaces.get(label, ())),
            )
            for label, entry in entries.items()
        }
    )


def _read_toml(text: str) -> LabelBook:
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is not valid TOML: {error}") from error
    if unknown := sorted(set(content) - {LABELS}):
        raise DataError(
            f'unknown table or key {unknown[0]!r}; entries are tables like [labels."shop=bakery"]'
        )
    entries = content.get(LABELS, {})
    if not isinstance(entries, Mapping):
        raise DataError("'labels' must be a table of entries")
    return LabelBook.from_mapping(entries, _places(text, len(entries)))


def _places(text: str, entries: int) -> Sequence[str]:
    """The line of each entry; none if the entries do not all have a header of their own."""
    headers = [n for n, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    return [f"line {number}" for number in headers] if len(headers) == entries else ()


def _read_csv(text: str) -> LabelBook:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"this is not valid CSV: {error}") from error
    header = [name.strip() for name in rows[0]] if rows else []
    _check_header(header)
    entries = []
    for number, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        place = f"row {number}"
        if len(row) != len(header):
            raise DataError(
                f"{place} has {len(row)} cells, but the header has {len(header)} columns"
            )
        cells = dict(zip(header, row, strict=True))
        label = label_form(cells.pop("label"))
        entries.append((place, label, read_entry(place, _form_of_cells(place, cells))))
    return LabelBook.checked(entries)


def _check_header(header: Sequence[str]) -> None:
    """Raise DataError unless the columns are `label` and fields of entries."""
    if "label" not in header:
        raise DataError("row 1 has no column 'label'")
    for column in header:
        name, colon, language = column.partition(":")
        if colon and name in BY_LANGUAGE:
            check_language("row 1", name, language)
        elif column != "label" and column not in FIELDS:
            raise DataError(
                f"row 1 has an unknown column {column!r}; the columns are label, "
                f"{', '.join(FIELDS)}; title and synonyms may have a language, as in title:de"
            )
        if header.count(column) > 1:
            raise DataError(f"row 1 has the column {column!r} twice")


def _form_of_cells(place: str, cells: Mapping[str, str]) -> dict[str, Any]:
    """The TOML form of an entry, from its cells; empty cells are left out."""
    entry: dict[str, Any] = {}
    for column, cell in cells.items():
        name, _, language = column.partition(":")
        value: Any = cell
        if name == "retired":
            if cell.strip().lower() not in (*_YES, *_NO):
                raise DataError(f"{place}: 'retired' must be yes, no or empty")
            value = cell.strip().lower() in _YES
        elif not cell:
            continue
        elif name in _SEVERAL:
            value = cell.split("|")
        if name in BY_LANGUAGE:
            entry.setdefault(name, {})[language or UNDETERMINED] = value
        else:
            entry[name] = value
    return entry


def toml_of(book: LabelBook) -> str:
    """The book as TOML, which `load_book` reads."""
    return "\n".join(
        "\n".join([f"[{LABELS}.{_quoted(label)}]", *map(_line, entry.to_mapping().items()), ""])
        for label, entry in book.entries.items()
    )


def _line(item: tuple[str, Any]) -> str:
    name, value = item
    return f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    items = (f"{name if _BARE.fullmatch(name) else _quoted(name)} = {_value(each)}"
             for name, each in value.items())  # fmt: skip
    return f"{{ {', '.join(items)} }}"


def _quoted(text: str) -> str:
    """A basic string of TOML: control characters, quotes and backslashes are escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"'
        + "".join(c if c.isprintable() or c == " " else f"\\U{ord(c):08x}" for c in escaped)
        + '"'
    )

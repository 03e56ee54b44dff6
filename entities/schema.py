"""The entity schema: which columns an entity has, and how each is to be read."""

import dataclasses
import difflib
import enum
import functools
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

from labelwright.entities.errors import DataError, SchemaError
from labelwright.entities.redirects import Redirects

BUILT_IN = ("places", "text", "words")
RESERVED = ("id", "labels", "absent")
"""Columns that any table may have beside those of its schema."""

WARNINGS_LIMIT = 20
NAME_SHOWN = 100
"""Letters of an unknown name that a warning repeats."""


class Kind(enum.StrEnum):
    """How a column is read."""

    TEXT = "text"
    WORDS = "words"
    CATEGORY = "category"
    WEB = "web"
    PHONE = "phone"
    NUMBER = "number"
    POINT = "point"
    TAGS = "tags"


NUMERIC = frozenset({Kind.NUMBER, Kind.POINT})


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of an entity.

    `grams` asks for runs of letters beside whole words, and is for text only: worth it in names,
    too much in long texts. A point is one column with two fields: latitude and longitude in
    degrees.
    """

    name: str
    kind: Kind
    about: str = ""
    example: str | float | None = None
    grams: bool = True
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fields:
            object.__setattr__(self, "fields", (self.name,))


@dataclasses.dataclass(frozen=True)
class EntitySchema:
    """The columns of one kind of entity, in a fixed order, and what holds of their labels.

    Groups of labels in `open_world` (what stands before the equals sign) are told of some entities
    only: where a group is not mentioned, its labels are unknown rather than absent. `implies` says
    which labels an entity has that has a given one; `redirects` what has become of old labels.
    """

    name: str
    columns: tuple[Column, ...]
    open_world: tuple[str, ...] = ()
    implies: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    redirects: Redirects = dataclasses.field(default_factory=Redirects)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """Build a schema from what its TOML or JSON form holds; raises SchemaError."""
        try:
            if unknown := set(content) - {field.name for field in dataclasses.fields(cls)}:
                raise ValueError(f"unknown entries {', '.join(sorted(map(str, unknown)))}")
            schema = cls(
                name=str(content["name"]),
                columns=tuple(_column(name, given) for name, given in content["columns"].items()),
                open_world=_texts("open_world", content.get("open_world", ())),
                implies={
                    label: _texts("implies", implied)
                    for label, implied in content.get("implies", {}).items()
                },
                redirects=_redirects(content.get("redirects", {})),
            )
        except (KeyError, AttributeError, TypeError, ValueError, DataError) as error:
            raise SchemaError(f"not a valid entity schema: {error}") from error
        names = schema.fields
        if not schema.columns:
            raise SchemaError("an entity schema needs at least one column")
        if len(set(names)) < len(names) or set(names) & set(RESERVED):
            raise SchemaError(
                f"the columns of a schema must differ, and differ from {', '.join(RESERVED)}"
            )
        return schema

    def to_mapping(self) -> dict[str, Any]:
        """The inverse of `from_mapping`, with values that JSON and TOML can hold."""
        content: dict[str, Any] = {
            "name": self.name,
            "columns": {column.name: _options(column) for column in self.columns},
        }
        if self.open_world:
            content["open_world"] = list(self.open_world)
        if self.implies:
            content["implies"] = {label: list(given) for label, given in self.implies.items()}
        if self.redirects:
            content["redirects"] = dict(self.redirects.targets)
        return content

    @functools.cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of all table columns, those of points included, in order."""
        return tuple(field for column in self.columns for field in column.fields)

    @functools.cached_property
    def identity(self) -> str | None:
        """The column that tells chains apart: the first that is text or words."""
        named = (c.name for c in self.columns if c.kind in (Kind.TEXT, Kind.WORDS))
        return next(named, None)

    def warnings_for(self, names: Iterable[str]) -> list[str]:
        """One sentence for each column name that this schema does not know, of many for some."""
        known = (*self.fields, *RESERVED)
        unknown = sorted(set(names) - set(known))
        warnings = []
        for name in unknown[:WARNINGS_LIMIT]:
            close = difflib.get_close_matches(name[:NAME_SHOWN], known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            warnings.append(f"column {name[:NAME_SHOWN]!r} is not in schema {self.name!r}{hint}")
        if (more := len(unknown) - WARNINGS_LIMIT) > 0:
            warnings.append(f"{more:,} more columns are not in schema {self.name!r}")
        return warnings


def load_schema(name_or_file: str) -> EntitySchema:
    """A built-in schema by name, or one from a TOML file; raises SchemaError."""
    try:
        if name_or_file in BUILT_IN:
            file = resources.files("labelwright.entities") / "schemas" / f"{name_or_file}.toml"
            return EntitySchema.from_mapping(tomllib.loads(file.read_text("utf-8")))
        return EntitySchema.from_mapping(tomllib.loads(Path(name_or_file).read_text("utf-8")))
    except FileNotFoundError:
        built_in = ", ".join(BUILT_IN)
        raise SchemaError(
            f"no schema {name_or_file!r}: neither a file nor one of {built_in}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SchemaError(f"schema {name_or_file!r} cannot be read: {error}") from error


def _column(name: str, given: Mapping[str, Any]) -> Column:
    known = {field.name for field in dataclasses.fields(Column)} - {"name"}
    if unknown := set(given) - known:
        raise ValueError(f"column {name!r} has unknown options {', '.join(sorted(unknown))}")
    if "kind" not in given:
        raise ValueError(f"column {name!r} has no kind")
    for option, value in given.items():
        if not isinstance(value, _TYPES[option]) or (
            isinstance(value, bool) != (option == "grams")
        ):
            raise ValueError(f"column {name!r}: option {option!r} has a wrong type")
    kind = Kind(given["kind"])
    fields = tuple(given.get("fields", ()))
    if len(fields) != (2 if kind is Kind.POINT else 0):
        raise ValueError(f"column {name!r}: a point, and only a point, has two fields")
    for field in (name, *fields):
        _check_field(name, field)
    return Column(name, **{**given, "kind": kind, "fields": fields})


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "kind": str,
    "about": str,
    "example": (str, int, float),
    "grams": bool,
    "fields": (list, tuple),
}


def _texts(name: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(text, str) for text in given):
        raise ValueError(f"{name!r} must hold lists of text")
    for text in given:
        text.encode("utf-8")
    return tuple(given)


def _redirects(given: Mapping[str, Any]) -> Redirects:
    _texts("redirects", [*given, *given.values()])
    return Redirects(dict(given))


def _check_field(name: str, field: Any) -> None:
    """The name of a field is text that can be written down."""
    if not isinstance(field, str) or not field:
        raise ValueError(f"column {name!r}: the name of a field is text")
    field.encode("utf-8")


def _options(column: Column) -> dict[str, Any]:
    options: dict[str, Any] = {"kind": column.kind.value}
    for option in dataclasses.fields(Column)[2:]:
        value = getattr(column, option.name)
        if value != option.default and value != (column.name,):
            options[option.name] = list(value) if isinstance(value, tuple) else value
    return options

"""Entity schemas: the columns of an entity, and the kind of each column."""

import dataclasses
import difflib
import enum
import functools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

from labelwright.entities.errors import DataError, SchemaError
from labelwright.entities.label_groups import (
    ALL_LABELS,
    LabelGroup,
    Role,
    default_labels,
    group_numbers,
)
from labelwright.entities.redirects import Redirects

BUILT_IN = ("places", "text", "words")
LABELS = "labels"
RESERVED = ("id", LABELS, "absent")
"""Columns that a table may have in addition to those of its schema."""

WARNINGS_LIMIT = 20
NAME_SHOWN = 100
"""The largest number of characters of an unknown name that a warning shows."""


class Kind(enum.StrEnum):
    """The kind of a column, which determines how its values are read."""

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

    If `grams` is true, the features of a text column are words and character n-grams, otherwise
    words only. The n-grams help with names, but they cost too much for long texts. Other kinds
    ignore `grams`. `fields` are the names of the table columns that hold the values. A point has
    two, the latitude and the longitude in degrees. All other kinds have one, the column's own name.
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
    """The columns of one type of entity, in a fixed order, and facts about its labels.

    The group of a label is the part before the equals sign. If an entity has no label of a group in
    `open_world`, the labels of this group are unknown for it, unless the data lists the group as
    absent. In all other groups, labels that are not listed are absent. `implies` maps a label to
    the labels that every entity with this label also has. `redirects` maps old labels to current
    labels. `groups` are the groups with a role, and the exclusive groups, by name.
    """

    name: str
    columns: tuple[Column, ...]
    open_world: tuple[str, ...] = ()
    implies: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    redirects: Redirects = dataclasses.field(default_factory=Redirects)
    groups: Mapping[str, LabelGroup] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """Build a schema from the content of its TOML or JSON form; raises SchemaError."""
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
                groups={
                    name: LabelGroup.from_mapping(name, given)
                    for name, given in content.get("groups", {}).items()
                },
            )
            schema.check_groups()
        except (KeyError, AttributeError, TypeError, ValueError, DataError) as error:
            raise SchemaError(f"not a valid entity schema: {error}") from error
        names = schema.fields
        if not schema.columns:
            raise SchemaError("not a valid entity schema: it needs at least one column")
        if len(set(names)) < len(names) or set(names) & set(RESERVED):
            raise SchemaError(
                "not a valid entity schema: the names of its columns and fields must differ from "
                f"one another and from {', '.join(RESERVED)}"
            )
        return schema

    def to_mapping(self) -> dict[str, Any]:
        """The content of the schema's TOML or JSON form: the inverse of `from_mapping`."""
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
        if self.groups:
            content["groups"] = {
                name: group.to_mapping(name) for name, group in self.groups.items()
            }
        return content

    def check_groups(self) -> None:
        """Raise ValueError if an implication contradicts the groups."""
        names = sorted(
            {*self.implies, *(other for given in self.implies.values() for other in given)}
        )
        numbers = dict(zip(names, group_numbers(self.groups, names).tolist(), strict=True))
        groups = [*self.groups.items()]
        for label, implied in self.implies.items():
            for other in implied:
                if numbers[label] != numbers[other] or numbers[label] < 0 or label == other:
                    continue
                name, group = groups[numbers[label]]
                if group.exclusive:
                    raise ValueError(
                        f"group {name!r} is exclusive, but one of its labels implies another one: "
                        f"{label!r} implies {other!r}"
                    )

    def with_label_column(self, name: str | None, exclusive: bool) -> Self:
        """The schema for labels of the column `name`, which are one group of kinds of this name.

        If `exclusive` is true, all labels are one exclusive group, also without such a column.
        Raises SchemaError if an implication contradicts this.
        """
        group = name or LABELS
        if exclusive:
            groups = {group: LabelGroup(ALL_LABELS, True, Role.KIND)}
        elif name is None:
            return self
        else:
            stated = self.groups.get(name, LabelGroup(default_labels(name), role=Role.KIND))
            if stated.labels == default_labels(name):
                stated = dataclasses.replace(stated, labels=ALL_LABELS)
            groups = {**self.groups, name: stated}
        schema = dataclasses.replace(self, groups=groups)
        try:
            schema.check_groups()
        except ValueError as error:
            raise SchemaError(f"--exclusive does not fit the schema: {error}") from error
        return schema

    def with_groups_of(self, labels: Sequence[str]) -> Self:
        """The schema with only the groups that at least one of the labels belongs to."""
        used = set(group_numbers(self.groups, labels).tolist())
        kept = {name: group for at, (name, group) in enumerate(self.groups.items()) if at in used}
        return self if len(kept) == len(self.groups) else dataclasses.replace(self, groups=kept)

    @functools.cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of the table columns in the order of the schema; a point has two."""
        return tuple(field for column in self.columns for field in column.fields)

    @functools.cached_property
    def identity(self) -> str | None:
        """The column with the name of an entity: the first column of kind text or words.

        None if the schema has no such column.
        """
        named = (c.name for c in self.columns if c.kind in (Kind.TEXT, Kind.WORDS))
        return next(named, None)

    def column_of(self, field: str) -> Column | None:
        """The column that has its values in the given table column; None if there is none."""
        return next((column for column in self.columns if field in column.fields), None)

    def warnings_for(self, names: Iterable[str]) -> list[str]:
        """One warning for each of the first WARNINGS_LIMIT unknown names, and one for the rest."""
        known = (*self.fields, *RESERVED)
        unknown = sorted(set(names) - set(known))
        warnings = []
        if "" in unknown:
            unknown.remove("")
            warnings.append("a column without a name is not read")
        for name in unknown[:WARNINGS_LIMIT]:
            close = difflib.get_close_matches(name[:NAME_SHOWN], known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            warnings.append(f"column {name[:NAME_SHOWN]!r} is not in schema {self.name!r}{hint}")
        if (more := len(unknown) - WARNINGS_LIMIT) > 0:
            warnings.append(f"{more:,} more columns are not in schema {self.name!r}")
        return warnings


def load_schema(name_or_file: str) -> EntitySchema:
    """Load a built-in schema by its name, or a schema from a TOML file; raises SchemaError."""
    try:
        if name_or_file in BUILT_IN:
            file = resources.files("labelwright.entities") / "schemas" / f"{name_or_file}.toml"
            return EntitySchema.from_mapping(tomllib.loads(file.read_text("utf-8")))
        return EntitySchema.from_mapping(tomllib.loads(Path(name_or_file).read_text("utf-8")))
    except FileNotFoundError:
        built_in = ", ".join(BUILT_IN)
        raise SchemaError(
            f"no schema {name_or_file!r}: it is neither a TOML file nor one of {built_in}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SchemaError(f"schema {name_or_file!r} cannot be read: {error}") from error


def _column(name: str, given: Mapping[str, Any]) -> Column:
    known = {field.name for field in dataclasses.fields(Column)} - {"name"}
    if unknown := set(given) - known:
        raise ValueError(f"column {name!r} has unknown options {', '.join(sorted(unknown))}")
    if "kind" not in given:
        raise ValueError(f"column {name!r} has no kind: choose one of {', '.join(Kind)}")
    for option, value in given.items():
        if not isinstance(value, _TYPES[option]) or (
            isinstance(value, bool) != (option == "grams")
        ):
            raise ValueError(f"column {name!r}: option {option!r} has a wrong type")
    kind = Kind(given["kind"])
    fields = tuple(given.get("fields", ()))
    if len(fields) != (2 if kind is Kind.POINT else 0):
        raise ValueError(f"column {name!r}: a point must have two fields, other kinds none")
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
    """Raise ValueError unless a field's name is text that can be encoded."""
    if not isinstance(field, str) or not field:
        raise ValueError(f"column {name!r}: the names of fields must be text and not empty")
    field.encode("utf-8")


def _options(column: Column) -> dict[str, Any]:
    """The kind of a column, and its other options that differ from the defaults."""
    options: dict[str, Any] = {"kind": column.kind.value}
    for option in dataclasses.fields(Column)[2:]:
        value = getattr(column, option.name)
        if value != option.default and value != (column.name,):
            options[option.name] = list(value) if isinstance(value, tuple) else value
    return options

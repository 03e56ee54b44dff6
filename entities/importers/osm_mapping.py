"""Which of OpenStreetMap's tags are labels, and which are columns: a mapping file in TOML.

No tag can be both, so no label leaks into what a model reads. The default, which explains itself,
is `entities/data/osm_mapping.toml`.
"""

import dataclasses
import fnmatch
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

from labelwright.entities.errors import DataError
from labelwright.entities.schema import load_schema

NO = "no"
"""The value of a tag that says that an object is no such place."""

Tags = Mapping[str, str]
Sources = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class OpenWorld:
    """Plain keys that are told of some places only, and the labels of places they are asked of.

    A place that has none of these labels (patterns) has none of the keys' labels either; of the
    others nothing is known where the key is missing.
    """

    keys: tuple[str, ...]
    places: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OsmMapping:
    """What becomes of an object's tags; keys may have `*` and `?` where not said otherwise.

    `places` are plain keys that make an object a place; `labels` are keys; columns have the first
    of some tags (plain keys, joined if there are several in one text) or all of them.
    """

    places: tuple[str, ...]
    labels: tuple[str, ...]
    open_world: tuple[OpenWorld, ...] = ()
    first_of: Sources = dataclasses.field(default_factory=dict)
    all_of: Sources = dataclasses.field(default_factory=dict)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """Of what the TOML holds; raises DataError."""
        try:
            if unknown := set(content) - {field.name for field in dataclasses.fields(cls)}:
                raise ValueError(f"unknown entries {', '.join(sorted(unknown))}")
            mapping = cls(
                _keys(content["places"]),
                _keys(content["labels"]),
                tuple(
                    OpenWorld(_keys(part["keys"]), _keys(part["places"]))
                    for part in content.get("open_world", [])
                ),
                {name: _keys(given) for name, given in content.get("first_of", {}).items()},
                {name: _keys(given) for name, given in content.get("all_of", {}).items()},
            )
            mapping._check()
        except KeyError as error:
            raise DataError(f"not a valid mapping: {error} is missing") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"not a valid mapping: {error}") from error
        return mapping

    @property
    def inputs(self) -> list[str]:
        """All keys that become columns."""
        first = [key for given in self.first_of.values() for keys in given for key in keys.split()]
        return first + [key for given in self.all_of.values() for key in given]

    def is_place(self, tags: Tags) -> bool:
        """Whether an object with these tags is a place with a name."""
        named = any(tags.get(key, "").strip() for key in self.first_of["name"])
        return named and any(tags.get(key, NO) != NO for key in self.places)

    def labels_of(self, tags: Tags) -> list[str]:
        """The labels `key=value`, one for each value of a list like `pizza;kebab`."""
        found: dict[str, None] = {}
        for key in _matching(self.labels, tags):
            for value in tags[key].split(";"):
                plain = "_".join(value.lower().split())
                if plain and not (plain == NO and key in self.places):
                    found[f"{key}={plain}"] = None
        return list(found)

    def is_label(self, key: str) -> bool:
        """Whether tags with this key are labels."""
        return any(fnmatch.fnmatchcase(key, pattern) for pattern in self.labels)

    @property
    def open_groups(self) -> frozenset[str]:
        """The groups of labels of which nothing may be known where none is told."""
        return frozenset(key for part in self.open_world for key in part.keys)

    def absent_of(self, labels: Sequence[str]) -> list[str]:
        """The open groups that are not asked of a place with these labels."""
        return [
            key
            for part in self.open_world
            if not any(fnmatch.filter(labels, pattern) for pattern in part.places)
            for key in part.keys
        ]

    def columns_of(self, tags: Tags) -> dict[str, Any]:
        """The columns of a place; those it has nothing for are left out."""
        found: dict[str, Any] = {}
        for column, sources in self.first_of.items():
            if value := next(filter(None, (_joined(keys, tags) for keys in sources)), None):
                found[column] = value
        for column, patterns in self.all_of.items():
            keys = [key for key in _matching(patterns, tags) if tags[key].strip()]
            if not keys:
                continue
            if column == _TAGS:
                found[column] = [(key, tags[key]) for key in keys]
            else:
                values = dict.fromkeys(tags[key].strip() for key in keys)
                values.pop(found.get("name", ""), None)
                found[column] = ";".join(values) or None
        return found

    def _check(self) -> None:
        if not self.places or not self.labels or "name" not in self.first_of:
            raise ValueError("it needs places, labels, and a name")
        columns = [*self.first_of, *self.all_of]
        known = {column.name for column in load_schema("places").columns} - {"position"}
        if unknown := sorted(set(columns) - known):
            raise ValueError(f"{unknown[0]!r} is no column that can be filled")
        if len(set(columns)) < len(columns) or _TAGS in self.first_of:
            raise ValueError("a column has the first of some tags or all, and `tags` has all")
        for key in self.open_groups:
            if not self.is_label(key):
                raise ValueError(f"{key!r} is of an open world, but no label")
        for key in self.inputs:
            for label in (*self.labels, *self.places):
                if fnmatch.fnmatchcase(key, label) or fnmatch.fnmatchcase(label, key):
                    raise ValueError(f"{key!r} is an input and a label: it would give it away")


_TAGS = "tags"
"""The column that keeps the keys of the tags it has."""


def load_mapping(path: Path | None) -> OsmMapping:
    """The mapping of a file, or the default; raises DataError."""
    try:
        text = default_mapping() if path is None else path.read_text("utf-8")
        return OsmMapping.from_mapping(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"mapping {path} cannot be read: {error}") from error


def default_mapping() -> str:
    """The text of the default mapping."""
    data = resources.files("labelwright.entities") / "data"
    return (data / "osm_mapping.toml").read_text("utf-8")


def _keys(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(key, str) and key for key in given):
        raise ValueError("keys are lists of text")
    return tuple(given)


def _matching(patterns: Iterable[str], tags: Tags) -> Iterator[str]:
    """The keys of an object that any of the patterns names, in the order of the patterns."""
    for pattern in patterns:
        if pattern in tags:
            yield pattern
        elif "*" in pattern or "?" in pattern:
            yield from sorted(fnmatch.filter(tags, pattern))


def _joined(keys: str, tags: Tags) -> str | None:
    """The values of one key or more, if there is one of the first."""
    values = [tags.get(key, "").strip() for key in keys.split()]
    return " ".join(filter(None, values)) if values[0] else None

"""Mapping of OpenStreetMap's tags to labels and columns, read from a TOML file.

A key is never used for both a label and a column, because a model would then read the labels that
it must predict. The default mapping, with comments, is `entities/data/osm_mapping.toml`.
"""

import dataclasses
import fnmatch
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self

from labelwright.entities.errors import DataError
from labelwright.entities.label_groups import LabelGroup, Role, default_labels
from labelwright.entities.schema import load_schema

NO = "no"
"""The value of a tag that denies its key: `shop=no` is not a shop."""

YES = "yes"
CLOSED = ("disused", "abandoned", "demolished", "razed", "removed", "was", "closed")
"""The `closed` of a mapping that has no such entry."""

Tags = Mapping[str, str]
Sources = Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class OpenWorld:
    """Keys, without wildcards, that mappers often leave out.

    `places` are patterns of labels. If a place has a label that matches, but lacks one of the keys,
    the labels of this key are unknown. For all other places, the labels of the keys are absent.
    """

    keys: tuple[str, ...]
    places: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class OsmMapping:
    """A mapping from the tags of OpenStreetMap objects to labels and columns.

    `places` are the keys, without wildcards, that make an object a place. `labels` are patterns of
    keys, with `*` and `?`, whose tags become labels. `first_of` maps a column to keys without
    wildcards: the column gets the value of the first key that the object has. A text with several
    keys joins their values. `all_of` maps a column to patterns of keys: the column gets the values
    of all matching keys. `closed` are the keys and prefixes of keys of places that are closed.
    """

    places: tuple[str, ...]
    labels: tuple[str, ...]
    open_world: tuple[OpenWorld, ...] = ()
    first_of: Sources = dataclasses.field(default_factory=dict)
    all_of: Sources = dataclasses.field(default_factory=dict)
    closed: tuple[str, ...] = CLOSED

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """Build a mapping from the content of its TOML form; raises DataError."""
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
                _keys(content.get("closed", list(CLOSED))),
            )
            mapping._check()
        except KeyError as error:
            raise DataError(f"not a valid mapping: the entry {error} is missing") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"not a valid mapping: {error}") from error
        return mapping

    @property
    def inputs(self) -> list[str]:
        """The keys and patterns whose values become columns."""
        first = [key for given in self.first_of.values() for keys in given for key in keys.split()]
        return first + [key for given in self.all_of.values() for key in given]

    def is_place(self, tags: Tags) -> bool:
        """Whether an object with these tags is a place and has a name."""
        named = any(tags.get(key, "").strip() for key in self.first_of["name"])
        return named and any(tags.get(key, NO) != NO for key in self.places)

    @property
    def place_keys(self) -> list[str]:
        """The keys of places, open or closed."""
        return [*self.places, *(f"{word}:{key}" for word in self.closed for key in self.places)]

    def closed_tags(self, tags: Tags) -> Tags | None:
        """The tags that a closed place had while it was open; None for other objects.

        A closed place has a tag such as `disused=yes`, or the keys that would make it a place have
        a prefix, as in `disused:shop=bakery`.
        """
        if self.is_place(tags):
            return tags if any(tags.get(word) == YES for word in self.closed) else None
        prefixed = {key: key.partition(":") for key in tags}
        former = {
            key: tags[given] for given, (word, _, key) in prefixed.items() if word in self.closed
        }
        return {**tags, **former} if self.is_place({**tags, **former}) else None

    def labels_of(self, tags: Tags) -> list[str]:
        """The labels `key=value` of an object; a tag with the value `pizza;kebab` gives two."""
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
        """The groups whose labels can be unknown: the keys of all `open_world` entries."""
        return frozenset(key for part in self.open_world for key in part.keys)

    @property
    def groups(self) -> dict[str, LabelGroup]:
        """Groups of labels: keys of places are exclusive kinds, open keys are attributes."""
        kinds = {
            key: LabelGroup(default_labels(key), exclusive=True, role=Role.KIND)
            for key in self.places
            if self.is_label(key)
        }
        return kinds | {
            key: LabelGroup(default_labels(key), role=Role.ATTRIBUTE)
            for key in sorted(self.open_groups - kinds.keys())
        }

    def absent_of(self, labels: Sequence[str]) -> list[str]:
        """The open groups whose labels are absent for a place with these labels."""
        return [
            key
            for part in self.open_world
            if not any(fnmatch.filter(labels, pattern) for pattern in part.places)
            for key in part.keys
        ]

    def columns_of(self, tags: Tags) -> dict[str, Any]:
        """The values of a place's columns; columns without a value are left out."""
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
            raise ValueError("it needs places, labels, and keys for the name")
        columns = [*self.first_of, *self.all_of]
        known = {column.name for column in load_schema("places").columns} - {"position"}
        if unknown := sorted(set(columns) - known):
            raise ValueError(
                f"{unknown[0]!r} is not a column that can be filled; choose from "
                f"{', '.join(sorted(known))}"
            )
        if len(set(columns)) < len(columns) or _TAGS in self.first_of:
            raise ValueError(
                "a column must be either in first_of or in all_of, and `tags` in all_of"
            )
        for key in self.open_groups:
            if not self.is_label(key):
                raise ValueError(f"{key!r} is in open_world, but it is not a label")
        for key in self.inputs:
            for label in (*self.labels, *self.places):
                if fnmatch.fnmatchcase(key, label) or fnmatch.fnmatchcase(label, key):
                    raise ValueError(
                        f"{key!r} is used for a column and a label: models would read the label"
                    )


_TAGS = "tags"
"""The column of tags with their keys; all other columns have the values only."""


def load_mapping(path: Path | None) -> OsmMapping:
    """Load a mapping from a file, or the default mapping if `path` is None; raises DataError."""
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
        raise ValueError("keys must be lists of text")
    return tuple(given)


def _matching(patterns: Iterable[str], tags: Tags) -> Iterator[str]:
    """The keys of an object that match any of the patterns, in the order of the patterns."""
    for pattern in patterns:
        if pattern in tags:
            yield pattern
        elif "*" in pattern or "?" in pattern:
            yield from sorted(fnmatch.filter(tags, pattern))


def _joined(keys: str, tags: Tags) -> str | None:
    """The values of space-separated keys, joined by spaces; None if the first has no value."""
    values = [tags.get(key, "").strip() for key in keys.split()]
    return " ".join(filter(None, values)) if values[0] else None

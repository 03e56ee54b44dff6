"""Groups of labels: kinds, attributes, and groups of which an entity has at most one label."""

import dataclasses
import enum
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

LEARNED = "learned"
"""The `of` of a group of attributes whose kinds are learned from the training rows."""
ALL_LABELS = ("*",)
"""The patterns of a group of all labels."""


class Role(enum.StrEnum):
    """The question that the labels of a group answer.

    A kind says what an entity is, an attribute what it has.
    """

    KIND = "kind"
    ATTRIBUTE = "attribute"


@dataclasses.dataclass(frozen=True)
class LabelGroup:
    """A group of labels.

    `labels` are the names of the labels, or patterns with `*` and `?`. If `exclusive` is true, an
    entity has at most one label of the group. `of` are the kinds that an attribute applies to, as
    names or patterns; None means that they are learned.
    """

    labels: tuple[str, ...]
    exclusive: bool = False
    role: Role | None = None
    of: tuple[str, ...] | None = None

    @classmethod
    def from_mapping(cls, name: str, content: Mapping[str, Any]) -> Self:
        """Build a group from its TOML or JSON form; raises ValueError or TypeError."""
        if unknown := sorted(set(content) - {"exclusive", "role", "of", "labels"}):
            raise ValueError(f"group {name!r} has unknown options {', '.join(unknown)}")
        exclusive, role = content.get("exclusive", False), content.get("role")
        if not isinstance(exclusive, bool):
            raise ValueError(f"group {name!r}: 'exclusive' must be true or false")
        if role is not None and role not in [*Role]:
            raise ValueError(f"group {name!r}: 'role' must be one of {', '.join(Role)}")
        of = content.get("of", LEARNED)
        if "of" in content and role != Role.ATTRIBUTE:
            raise ValueError(f"group {name!r}: only a group with role = 'attribute' has 'of'")
        return cls(
            _patterns(name, "labels", content.get("labels", default_labels(name))),
            exclusive,
            None if role is None else Role(role),
            None if of == LEARNED else _patterns(name, "of", of),
        )

    def to_mapping(self, name: str) -> dict[str, Any]:
        """The TOML or JSON form of the group: the inverse of `from_mapping`."""
        content: dict[str, Any] = {}
        if self.exclusive:
            content["exclusive"] = True
        if self.role is not None:
            content["role"] = self.role.value
        if self.of is not None:
            content["of"] = list(self.of)
        if self.labels != default_labels(name):
            content["labels"] = list(self.labels)
        return content


def default_labels(name: str) -> tuple[str, ...]:
    """The pattern of the labels of a group that does not list its labels: `amenity=*`."""
    return (f"{name}=*",)


def group_numbers(groups: Mapping[str, LabelGroup], names: Sequence[str]) -> npt.NDArray[np.int32]:
    """The position in `groups` of the group of each label (int32[labels]); -1 if it has none.

    A label belongs to the first group with a matching name or pattern.
    """
    numbers = np.full(len(names), -1, np.int32)
    for number, group in reversed([*enumerate(groups.values())]):
        numbers[matches(group.labels, names)] = number
    return numbers


def matches(patterns: Iterable[str], names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each name (bool[names]) equals or matches at least one pattern."""
    given = tuple(patterns)
    exact = frozenset(given)
    wild = [pattern for pattern in given if "*" in pattern or "?" in pattern]
    expression = "|".join(fnmatch.translate(pattern.replace("[", "[[]")) for pattern in wild)
    found = re.compile(expression).match if wild else lambda name: None
    return np.array([name in exact or found(name) is not None for name in names], np.bool_)


def _patterns(group: str, option: str, given: Any) -> tuple[str, ...]:
    texts = isinstance(given, (list, tuple)) and all(isinstance(part, str) for part in given)
    if not texts or not given or not all(given):
        learned = f" or {LEARNED!r}" if option == "of" else ""
        raise ValueError(f"group {group!r}: {option!r} must be a list of labels{learned}")
    for text in given:
        text.encode("utf-8")
    return tuple(given)

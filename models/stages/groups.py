"""Groups of labels: exclusive groups, kinds, and attributes that apply to some kinds only.

At most one label of an exclusive group is true. If o(i) are the odds of the candidates of a group,
the probability of candidate i becomes o(i)^s / (n + sum of all o(j)^s). The sharpness s and the
weight n of *none of these* are fitted for each group (for s = n = 1, these are the probabilities of
independent labels on the condition that at most one is true).

The probability of an attribute is the probability that it applies and holds. It is the product of
the probability that the group is asked of the entity and, given that, the probability of the label.
The first factor follows from the probabilities of the kinds.
"""

import dataclasses
import functools
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from labelwright.entities.label_book import group_of
from labelwright.entities.label_groups import Role, group_numbers, matches
from labelwright.entities.schema import EntitySchema
from labelwright.models.kernels.jit import compiled
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications, raise_row
from labelwright.models.stages.linear import LabelIds

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int32]

LEAST_TEMPERING = 1e-4
"""Lower bound of the numbers in `Groups.tempering`."""
_LEAST, _MOST = 1e-7, 1 - 1e-7
"""Bounds of the probabilities from which odds are computed."""


@dataclasses.dataclass(frozen=True)
class Memberships:
    """The groups of the labels of a model, which follow from its schema.

    `exclusive` and `attribute` (int32[labels]) are the numbers of the exclusive group and of the
    group of attributes of each label, or -1. `exclusive_names` and `attribute_names` are the names
    of these groups. `kinds` (bool[labels]) marks kinds. `open` (bool[labels]) marks the attributes
    of an open world: the reranker knows them only where they are stated. `of[g]` (bool[labels]) are
    the kinds that attribute group g applies to, or None if these are learned. Attributes of the
    closed world whose kinds are learned have no group: the reranker knows where they do not apply.
    """

    exclusive: Numbers
    exclusive_names: tuple[str, ...]
    attribute: Numbers
    attribute_names: tuple[str, ...]
    kinds: Flags
    open: Flags
    of: tuple[Flags | None, ...]

    @classmethod
    def of_labels(cls, schema: EntitySchema, labels: LabelSet) -> Self:
        """The memberships of a label set."""
        groups = [*schema.groups.items()]
        numbers = group_numbers(schema.groups, labels.names)
        count = len(labels)
        exclusive, attribute = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        kinds, is_open = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        exclusive_names: list[str] = []
        attribute_names: list[str] = []
        of: list[Flags | None] = []
        unstated = np.array(
            [group_of(name) in schema.open_world for name in labels.names], np.bool_
        )
        for number in np.unique(numbers[numbers >= 0]).tolist():
            name, group = groups[number]
            members = numbers == number
            if group.exclusive:
                exclusive[members] = len(exclusive_names)
                exclusive_names.append(name)
            if group.role is Role.KIND:
                kinds |= members
            if group.role is Role.ATTRIBUTE and (group.of or unstated[members].any()):
                attribute[members] = len(attribute_names)
                is_open |= members & unstated
                attribute_names.append(name)
                of.append(None if group.of is None else matches(group.of, labels.names))
        names = tuple(exclusive_names), tuple(attribute_names)
        return cls(exclusive, names[0], attribute, names[1], kinds, is_open, tuple(of))

    def same_exclusive(self) -> Flags:
        """Whether two labels are in the same exclusive group, bool[labels, labels]."""
        same: Flags = self.exclusive[:, None] == self.exclusive[None, :]
        return same & (self.exclusive >= 0)


class GroupArrays(NamedTuple):
    """The arrays of `Groups` for kernels. Those about groups that do not exist are empty.

    `sizes` (int64) are the numbers of labels of the exclusive groups. `learned` (bool) marks the
    groups of attributes whose kinds are learned. The other arrays are described in `Memberships`
    and in `Groups`.
    """

    exclusive: Numbers
    sizes: npt.NDArray[np.int64]
    attribute: Numbers
    open: Flags
    learned: Flags
    kinds: Flags
    tempering: npt.NDArray[np.float64]
    asked: Floats


@dataclasses.dataclass(frozen=True)
class Groups:
    """The groups of a model, with fitted numbers.

    `tempering` (float64[exclusive groups, 2]) has the sharpness and the weight of *none of these*.
    `asked` (float32[groups of attributes, labels + 1]) is the share of the entities of each kind of
    which a group of attributes is asked; the last column is for entities of none of the kinds.
    """

    memberships: Memberships
    tempering: npt.NDArray[np.float64]
    asked: Floats

    @classmethod
    def none(cls, labels: LabelSet) -> Self:
        """No groups, for a model with these labels."""
        nothing = EntitySchema("none", ())
        memberships = Memberships.of_labels(nothing, labels)
        return cls(memberships, np.zeros((0, 2)), np.zeros((0, len(labels) + 1), np.float32))

    @functools.cached_property
    def arrays(self) -> GroupArrays:
        """The arrays for kernels."""
        given = self.memberships
        some_exclusive, some_attribute = bool(given.exclusive_names), bool(given.attribute_names)
        return GroupArrays(
            given.exclusive if some_exclusive else np.zeros(0, np.int32),
            np.bincount(given.exclusive[given.exclusive >= 0]).astype(np.int64),
            given.attribute if some_attribute else np.zeros(0, np.int32),
            given.open if some_attribute else np.zeros(0, np.bool_),
            np.array([kinds is None for kinds in given.of], np.bool_),
            given.kinds if given.kinds.any() else np.zeros(0, np.bool_),
            self.tempering,
            self.asked,
        )

    def apply(self, implications: Implications, chosen: LabelIds, probabilities: Floats) -> None:
        """Apply the groups to the probabilities of candidates, in place.

        `chosen` are the ids of the candidates, n x candidates. Ancestors precede their descendants.
        """
        _apply(self.arrays, implications, chosen, probabilities)

    def blocked(self, implications: Implications, chosen: LabelIds, probabilities: Floats) -> Flags:
        """The candidates that exclusive groups keep from being asserted, bool[n, candidates]."""
        blocked = np.zeros(chosen.shape, np.bool_)
        if self.memberships.exclusive_names:
            _block(self.arrays, implications, chosen, probabilities, blocked)
        return blocked


@compiled
def apply_groups(
    groups: GroupArrays, implications: Implications, chosen: LabelIds, probabilities: Floats
) -> None:
    """Apply the groups to the probabilities of the candidates of one row."""
    if groups.exclusive.size > 0:
        _make_exclusive(groups, chosen, probabilities)
    if groups.attribute.size > 0:
        _weigh_attributes(groups, chosen, probabilities)
    if groups.exclusive.size > 0:
        _lower_row(groups, implications, chosen, probabilities)
    if groups.exclusive.size + groups.attribute.size > 0:
        raise_row(implications, chosen, probabilities)


@compiled
def ceiling_of_others(groups: GroupArrays, chosen: LabelIds, probabilities: Floats) -> np.float32:
    """The largest probability of a label that is not a candidate.

    It is the smallest probability of the candidates, or less, so that the sum of an exclusive group
    is at most 1.
    """
    ceiling = probabilities.min()
    if groups.exclusive.size > 0:
        rest = np.ones(groups.sizes.size, np.float32)
        others = groups.sizes.copy()
        for i in range(chosen.size):
            group = groups.exclusive[chosen[i]]
            if group >= 0:
                rest[group] -= probabilities[i]
                others[group] -= 1
        for group in range(others.size):
            if others[group] > 0:
                share = max(rest[group], np.float32(0)) / np.float32(others[group])
                ceiling = min(ceiling, share)
    return np.float32(ceiling)


@compiled
def block_row(
    groups: GroupArrays,
    implications: Implications,
    chosen: LabelIds,
    probabilities: Floats,
    blocked: Flags,
) -> None:
    """Mark the candidates of one row that must not be asserted.

    In each exclusive group, these are all but the most probable candidate. Labels that imply one of
    them are blocked as well.
    """
    best = np.full(groups.sizes.size, -1, np.int64)
    for i in range(chosen.size):
        group = groups.exclusive[chosen[i]]
        if group >= 0 and (best[group] < 0 or probabilities[i] > probabilities[best[group]]):
            best[group] = i
    for i in range(chosen.size):
        group = groups.exclusive[chosen[i]]
        blocked[i] = group >= 0 and best[group] != i
        for j in range(implications.indptr[chosen[i]], implications.indptr[chosen[i] + 1]):
            for other in range(i):  # ancestors precede their descendants
                if chosen[other] == implications.ancestors[j]:
                    blocked[i] |= blocked[other]


@compiled
def _make_exclusive(groups: GroupArrays, chosen: LabelIds, probabilities: Floats) -> None:
    weights = np.empty(chosen.size, np.float64)
    totals = groups.tempering[:, 1].copy()
    for i in range(chosen.size):
        group = groups.exclusive[chosen[i]]
        if group >= 0:
            bounded = min(max(np.float64(probabilities[i]), _LEAST), _MOST)
            weights[i] = (bounded / (1 - bounded)) ** groups.tempering[group, 0]
            totals[group] += weights[i]
    for i in range(chosen.size):
        group = groups.exclusive[chosen[i]]
        if group >= 0:
            probabilities[i] = weights[i] / totals[group]


@compiled
def asked_of_row(
    groups: GroupArrays, group: int, chosen: LabelIds, probabilities: Floats
) -> np.float32:
    """The probability that a group of attributes is asked of the entity of one row."""
    kinds, asked = np.float32(0), np.float32(0)
    for i in range(chosen.size):
        label = chosen[i]
        if not groups.learned[group]:
            asked += probabilities[i] * groups.asked[group, label]
        elif groups.kinds.size > 0 and groups.kinds[label]:
            kinds += probabilities[i]
            asked += probabilities[i] * groups.asked[group, label]
    if not groups.learned[group]:
        return min(asked, np.float32(1))
    rest = max(np.float32(1) - kinds, np.float32(0)) * groups.asked[group, -1]
    return np.float32(asked / max(kinds, np.float32(1)) + rest)


@compiled
def _weigh_attributes(groups: GroupArrays, chosen: LabelIds, probabilities: Floats) -> None:
    asked = np.full(groups.asked.shape[0], -1, np.float32)
    for i in range(chosen.size):
        group = groups.attribute[chosen[i]]
        if group >= 0 and asked[group] < 0:
            asked[group] = asked_of_row(groups, group, chosen, probabilities)
    for i in range(chosen.size):
        group = groups.attribute[chosen[i]]
        if group < 0:
            continue
        if groups.open[chosen[i]]:
            probabilities[i] *= asked[group]
        else:
            probabilities[i] = min(probabilities[i], asked[group])


@compiled
def _lower_row(
    groups: GroupArrays, implications: Implications, chosen: LabelIds, probabilities: Floats
) -> None:
    """Lower labels to the probabilities of their ancestors in exclusive groups."""
    for place in range(chosen.size):
        for i in range(implications.indptr[chosen[place]], implications.indptr[chosen[place] + 1]):
            ancestor = implications.ancestors[i]
            if groups.exclusive[ancestor] < 0:
                continue
            for other in range(place):  # ancestors precede their descendants
                if chosen[other] == ancestor:
                    probabilities[place] = min(probabilities[place], probabilities[other])


@compiled
def _apply(
    groups: GroupArrays, implications: Implications, chosen: LabelIds, probabilities: Floats
) -> None:
    for row in range(chosen.shape[0]):
        apply_groups(groups, implications, chosen[row], probabilities[row])


@compiled
def _block(
    groups: GroupArrays,
    implications: Implications,
    chosen: LabelIds,
    probabilities: Floats,
    blocked: Flags,
) -> None:
    for row in range(chosen.shape[0]):
        block_row(groups, implications, chosen[row], probabilities[row], blocked[row])

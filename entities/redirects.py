"""Redirects of labels that were renamed, merged or retired."""

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.text import label_form

HEADER = ("old", "new")


@dataclasses.dataclass(frozen=True)
class Redirects:
    """A map from old labels to current labels.

    Chains (a to b, b to c) are resolved: `targets` maps both a and b to c. An old label with an
    empty target is retired. Raises DataError if the redirects form a cycle.
    """

    targets: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", _final_targets(self.targets))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a CSV file with the columns `old` and `new`; raises DataError."""
        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                rows = [row for row in csv.reader(file, strict=True) if row]
        except UnicodeDecodeError as error:
            raise DataError(
                f"redirects {path} cannot be read: the text is not UTF-8; convert it, for example "
                "from Latin-1: iconv -f LATIN1 -t UTF-8 FILE"
            ) from error
        except (OSError, csv.Error) as error:
            raise DataError(f"redirects {path} cannot be read: {error}") from error
        if not rows or tuple(rows[0]) != HEADER:
            raise DataError(f"redirects {path} must begin with the header {','.join(HEADER)}")
        targets: dict[str, str] = {}
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(HEADER) or not row[0]:
                raise DataError(
                    f"redirects {path}: row {number} must have two cells, an old and a new label"
                )
            old, new = map(label_form, row)
            if targets.setdefault(old, new) != new:
                raise DataError(f"redirects {path}: the old label of row {number} has two targets")
        return cls(targets)

    def __bool__(self) -> bool:
        return bool(self.targets)

    def current(self, label: str) -> str | None:
        """The current label that replaces `label`; None if `label` is retired.

        A label without a redirect is returned unchanged.
        """
        return self.targets.get(label, label) or None

    def rewrite(self, lists: pa.ListArray) -> pa.ListArray:
        """Replace old labels by current labels in lists; null lists stay null.

        A changed list has each label once.
        """
        import numpy as np
        import pyarrow.compute as pc

        if not self.targets:
            return lists
        filled = lists
        if lists.null_count:  # a null list may still have values
            filled = pc.if_else(lists.is_valid(), lists, pa.scalar([], lists.type))
        old = pc.index_in(filled.flatten(), pa.array(list(self.targets), pa.string())).is_valid()
        rows = pc.unique(pc.list_parent_indices(filled).filter(old)).to_numpy()
        if not len(rows):
            return lists
        renamed = [self._renamed(labels) for labels in lists.take(pa.array(rows)).to_pylist()]
        order = np.arange(len(lists))
        order[rows] = np.arange(len(rows)) + len(lists)
        both = pa.concat_arrays([lists, pa.array(renamed, lists.type)])
        return both.take(pa.array(order))

    def _renamed(self, labels: list[str | None]) -> list[str]:
        current = (self.current(label) for label in labels if label is not None)
        return list(dict.fromkeys(label for label in current if label is not None))


def _final_targets(targets: Mapping[str, str]) -> dict[str, str]:
    """The end of the chain that begins with each old label; raises DataError for a cycle."""
    final: dict[str, str] = {}
    for old in targets:
        chain: dict[str, None] = {}  # in order
        label = old
        while label in targets and label not in final:
            if label in chain:
                raise DataError("the redirects of labels form a cycle; remove one of its rows")
            chain[label] = None
            label = targets[label]
        final.update(dict.fromkeys(chain, final.get(label, label)))
    return {old: final[old] for old in targets}

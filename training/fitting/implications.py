"""Which labels imply which: declared in the schema, or learned from the training rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications

MIN_SUPPORT = 150
"""Fewer training rows teach an implication only between paths (`_continues`)."""
MAX_EXCEPTIONS = 0.002
"""The share of a label's rows that may lack what it implies: data has errors."""

Shares = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


def learn_implications(
    labels: LabelSet,
    counts: Counts,
    shares: Shares,
    evidence: Shares,
    declared: Mapping[str, Sequence[str]],
) -> Implications:
    """What is declared, and what holds for all but MAX_EXCEPTIONS of a label's training rows.

    `counts` are the rows of each label, `shares[a, b]` the share of those with label a that also
    have b, which rests on `evidence[a, b]` rows. Of two labels that imply each other, only the
    rarer implies the other. Raises DataError for declarations that go in a circle.
    """
    ids = labels.ids
    ancestors: list[set[int]] = [set() for _ in labels.names]
    for name, implied in declared.items():
        for other in implied:
            if name in ids and other in ids and not _add(ancestors, ids[name], ids[other]):
                raise DataError(f"the schema's implications go in a circle at {name!r}")
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))  # the commonest is first
    holds = (shares >= 1 - MAX_EXCEPTIONS) & (rank[:, None] > rank)
    for label, ancestor in np.argwhere(holds):
        names = labels.names[label], labels.names[ancestor]
        if evidence[label, ancestor] >= (1 if _continues(*names) else MIN_SUPPORT):
            _add(ancestors, int(label), int(ancestor))
    indptr = np.cumsum([0, *(len(given) for given in ancestors)])
    depth = [len(above) for above in ancestors]
    flat = [a for given in ancestors for a in sorted(given, key=lambda a: (-depth[a], a))]
    return Implications(indptr.astype(np.int64), np.array(flat, np.int32))


def _continues(label: str, ancestor: str) -> bool:
    """Whether a label's value is a path below that of another: `sub=a/b/c` below `top=a/b`."""
    value, above = (name.partition("=")[2] or name for name in (label, ancestor))
    return value.startswith(f"{above}/")


def _add(ancestors: list[set[int]], label: int, ancestor: int) -> bool:
    """Let a label imply another, and all that follows from it; False if that made a circle."""
    above = {ancestor} | ancestors[ancestor]
    if label in above:
        return False
    for given, known in enumerate(ancestors):
        if given == label or label in known:
            known |= above
    return True

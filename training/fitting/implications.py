"""Implications between labels: declared in the schema, or learned from the training rows."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.models.labels import LabelSet
from labelwright.models.stages.implications import Implications

MIN_SUPPORT = 150
"""Minimum number of rows that support a learned implication. One row is sufficient if the label is
a path below the implied label (`_is_below`)."""
MAX_EXCEPTIONS = 0.002
"""Maximum share of a label's rows without the implied label. Such rows exist because of errors in
the data."""

Shares = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


def learn_implications(
    labels: LabelSet,
    counts: Counts,
    shares: Shares,
    evidence: Shares,
    declared: Mapping[str, Sequence[str]],
    excluded: npt.NDArray[np.bool_] | None = None,
    inherited: Iterable[tuple[int, int]] = (),
) -> Implications:
    """Declared implications, inherited implications, and implications learned from the rows.

    A learned implication holds for at least 1 - MAX_EXCEPTIONS of a label's rows. `counts` are the
    numbers of rows of each label. `shares[a, b]` is the share of the rows with label a that also
    have label b; it is based on `evidence[a, b]` rows. If two labels imply each other, only the
    implication from the rarer to the more frequent label is kept. `excluded` (bool[labels, labels])
    marks implications that are not learned. An implication of `inherited`, a pair of labels, is
    kept unless it is excluded or the rows contradict it. Raises DataError if the declared
    implications form a circle.
    """
    ids = labels.ids
    ancestors: list[set[int]] = [set() for _ in labels.names]
    for name, implied in declared.items():
        for other in implied:
            if name in ids and other in ids and not _add(ancestors, ids[name], ids[other]):
                raise DataError(
                    f"the implications of the schema form a circle at {name!r}: remove one of them"
                )
    for label, ancestor in inherited:
        contradicted = evidence[label, ancestor] and shares[label, ancestor] < 1 - MAX_EXCEPTIONS
        if not contradicted and not (excluded is not None and excluded[label, ancestor]):
            _add(ancestors, label, ancestor)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))  # 0: most frequent
    holds = (shares >= 1 - MAX_EXCEPTIONS) & (rank[:, None] > rank)
    if excluded is not None:
        holds &= ~excluded
    for label, ancestor in np.argwhere(holds):
        names = labels.names[label], labels.names[ancestor]
        if evidence[label, ancestor] >= (1 if _is_below(*names) else MIN_SUPPORT):
            _add(ancestors, int(label), int(ancestor))
    indptr = np.cumsum([0, *(len(given) for given in ancestors)])
    depth = [len(above) for above in ancestors]
    flat = [a for given in ancestors for a in sorted(given, key=lambda a: (-depth[a], a))]
    return Implications(indptr.astype(np.int64), np.array(flat, np.int32))


def _is_below(label: str, ancestor: str) -> bool:
    """Whether the value of `label` is a path below the value of `ancestor`.

    For example, `sub=a/b/c` is below `top=a/b`.
    """
    value, above = (name.partition("=")[2] or name for name in (label, ancestor))
    return value.startswith(f"{above}/")


def _add(ancestors: list[set[int]], label: int, ancestor: int) -> bool:
    """Add an implication and the implications that follow from it.

    Returns False, and adds nothing, if the implication would form a circle.
    """
    above = {ancestor} | ancestors[ancestor]
    if label in above:
        return False
    for given, known in enumerate(ancestors):
        if given == label or label in known:
            known |= above
    return True

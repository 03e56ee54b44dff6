"""Counting of the labels of namesakes: the training entities of the same name."""

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.jit import compiled
from labelwright.models.labels import LabelMatrix
from labelwright.models.stages.namesakes import COUNTED_AT_MOST, Hashes, Namesakes

Floats = npt.NDArray[np.float32]


def learn_namesakes(names: Hashes, labels: LabelMatrix) -> Namesakes:
    """Count the labels of the rows of each name.

    `names` are hashes; rows without a name (0) are left out. A partial row counts only for the
    labels that are known of it.
    """
    order = np.argsort(names, kind="stable")
    order = order[np.count_nonzero(names == 0) :]
    given = names[order]
    firsts = np.flatnonzero(np.diff(given, prepend=np.uint64(0)))
    keys, counts = given[firsts], np.diff(firsts, append=len(given))
    indptr = np.zeros(len(keys) + 1, np.int64)
    ids = np.empty(len(labels.ids) + len(labels.denied_ids), np.int32)
    shares = np.empty(len(ids), np.uint8)
    whole = np.add.reduceat(~labels.partial[order], firsts, dtype=np.int64) if len(keys) else counts
    known = (labels.indptr, labels.ids, labels.partial, labels.denied_indptr, labels.denied_ids)
    _gather(order, firsts, counts, whole, *known, labels.labels, indptr, ids, shares)
    kind = np.result_type(np.uint16, np.min_scalar_type(labels.labels))
    return Namesakes(
        keys,
        np.minimum(whole, COUNTED_AT_MOST).astype(np.uint8),
        indptr,
        ids[: indptr[-1]].astype(kind),
        shares[: indptr[-1]],
    )


@compiled
def _gather(
    order: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    whole: npt.NDArray[np.int64],
    label_indptr: npt.NDArray[np.int64],
    label_ids: npt.NDArray[np.int32],
    partial: npt.NDArray[np.bool_],
    denied_indptr: npt.NDArray[np.int64],
    denied_ids: npt.NDArray[np.int32],
    labels: int,
    indptr: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int32],
    shares: npt.NDArray[np.uint8],
) -> None:
    """Collect the labels of each name, in the order in which they first occur.

    Labels whose share rounds to 0 are left out, unless all rows of the name are partial: then only
    this entry tells that the label is absent.
    """
    found = np.zeros(labels, np.int64)
    known = np.zeros(labels, np.int64)
    at = 0
    for name in range(firsts.size):
        first = at
        for row in order[firsts[name] : firsts[name] + counts[name]]:
            for i in range(label_indptr[row], label_indptr[row + 1]):
                label = label_ids[i]
                if found[label] == 0 and known[label] == 0:
                    ids[at] = label
                    at += 1
                found[label] += 1
                known[label] += partial[row]
            for i in range(denied_indptr[row], denied_indptr[row + 1]):
                label = denied_ids[i]
                if found[label] == 0 and known[label] == 0:
                    ids[at] = label
                    at += 1
                known[label] += 1
        end, at = at, first
        for i in range(first, end):
            label = ids[i]
            share = np.rint(np.float64(255) * found[label] / (whole[name] + known[label]))
            found[label] = 0
            known[label] = 0
            if share > 0 or whole[name] == 0:
                ids[at] = label
                shares[at] = share
                at += 1
        indptr[name + 1] = at

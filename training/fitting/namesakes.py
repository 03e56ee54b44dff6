"""Fitting of the namesakes stage: counts of the labels of training entities with the same name."""

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.hashes import Hashes
from labelwright.models.kernels.jit import compiled
from labelwright.models.labels import LabelMatrix, LabelStates
from labelwright.models.stages.namesakes import COUNTED_AT_MOST, Namesakes

Floats = npt.NDArray[np.float32]


def learn_namesakes(names: Hashes, labels: LabelMatrix) -> Namesakes:
    """Count the labels of the rows of each name.

    `names` (uint64, one for each row) are hashes; rows without a name (0) are left out. A partial
    row counts only for its known labels.
    """
    order = np.argsort(names, kind="stable")
    order = order[np.count_nonzero(names == 0) :]
    given = names[order]
    firsts = np.flatnonzero(np.diff(given, prepend=np.uint64(0)))
    keys, counts = given[firsts], np.diff(firsts, append=len(given))
    indptr = np.zeros(len(keys) + 1, np.int64)
    ids = np.empty(len(labels.present.ids) + len(labels.absent.ids), np.int32)
    shares = np.empty(len(ids), np.uint8)
    whole = np.add.reduceat(~labels.partial[order], firsts, dtype=np.int64) if len(keys) else counts
    _gather(order, firsts, counts, whole, labels.states, indptr, ids, shares)
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
    states: LabelStates,
    indptr: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int32],
    shares: npt.NDArray[np.uint8],
) -> None:
    """Write the labels of each name and their shares, in the order in which the labels first occur.

    A label whose share rounds to 0 is left out, unless all rows of the name are partial. In this
    case, the entry is the only record that the label is known to be absent.
    """
    present, absent, groups, complete = states
    found = np.zeros(groups.size, np.int64)
    known = np.zeros(groups.size, np.int64)
    at = 0
    for name in range(firsts.size):
        first = at
        for row in order[firsts[name] : firsts[name] + counts[name]]:
            partial = not complete[row, 0]
            for i in range(present.indptr[row], present.indptr[row + 1]):
                label = present.ids[i]
                if found[label] == 0 and known[label] == 0:
                    ids[at] = label
                    at += 1
                found[label] += 1
                known[label] += partial
            if not partial:
                continue
            for i in range(absent.indptr[row], absent.indptr[row + 1]):
                label = absent.ids[i]
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

"""Fitting of the groups: exclusive probabilities, and the kinds that attributes are asked of."""

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.sparse

from labelwright.models.labels import LabelMatrix
from labelwright.models.stages.groups import LEAST_TEMPERING, Groups, Memberships
from labelwright.training.fitting.held_out import HeldOutPairs

PRIOR_ROWS = 2.0
"""Number of rows by which the share of a kind is drawn to the share of all rows."""
PENALTIES = np.array([1.0, 0.1])
"""Penalties on the squared logarithms of the tempering: with few rows, it stays near 1."""
BOUNDS = [(np.log(0.2), np.log(5.0)), (np.log(LEAST_TEMPERING), np.log(1e4))]
"""Bounds of the logarithms of the sharpness and of the weight of *none of these*."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def fit_groups(
    memberships: Memberships,
    truth: LabelMatrix,
    held_out: HeldOutPairs,
    probabilities: npt.NDArray[np.float32],
) -> Groups:
    """Fit the numbers of all groups.

    `truth` are the labels of the training rows. `probabilities` (n x candidates) are those of the
    held-out pairs before the groups are applied.
    """
    return Groups(
        memberships, _tempering(memberships, held_out, probabilities), asked(memberships, truth)
    )


def asked(memberships: Memberships, truth: LabelMatrix) -> npt.NDArray[np.float32]:
    """The share of the rows of each kind of which each group of attributes is asked.

    Returns [groups, labels + 1]; the last column is the share of all rows. If the kinds are
    learned, a group is asked of a row that has a label of the group, or lists one as absent. Rows
    of which only some labels are known do not count.
    """
    shares = np.zeros((len(memberships.of), truth.labels + 1), np.float32)
    if not len(shares):
        return shares
    whole = ~truth.partial
    of_kinds = _matrix(truth, whole, memberships.kinds)
    rows = np.bincount(of_kinds.indices, minlength=truth.labels)
    for group, kinds in enumerate(memberships.of):
        if kinds is not None:
            shares[group, :-1] = kinds
            continue
        stated = _stated(truth, memberships.attribute == group) & whole
        together = of_kinds.T @ stated.astype(np.float64)
        overall = float(stated.sum() / max(whole.sum(), 1))
        shares[group, :-1] = (together + PRIOR_ROWS * overall) / (rows + PRIOR_ROWS)
        shares[group, -1] = overall
    return shares


def _matrix(truth: LabelMatrix, rows: Flags, labels: Flags) -> scipy.sparse.csr_array:
    """The present labels of some rows and labels, rows x labels."""
    row, label = truth.present.rows(), truth.present.ids
    kept = rows[row] & labels[label]
    shape = len(truth), truth.labels
    return scipy.sparse.csr_array((np.ones(kept.sum()), (row[kept], label[kept])), shape=shape)


def _stated(truth: LabelMatrix, labels: Flags) -> Flags:
    """The rows that list one of the labels as present or absent."""
    stated = np.zeros(len(truth), np.bool_)
    for listed in (truth.present, truth.absent):
        stated[listed.rows()[labels[listed.ids]]] = True
    return stated


def _tempering(
    memberships: Memberships, held_out: HeldOutPairs, probabilities: npt.NDArray[np.float32]
) -> Floats:
    """The sharpness and the weight of *none of these* of each exclusive group, [groups, 2]."""
    found = np.ones((len(memberships.exclusive_names), 2))
    if not len(found):
        return found
    numbers = memberships.exclusive[held_out.chosen]
    odds = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    log_odds = np.log(odds) - np.log1p(-odds)
    for group in range(len(found)):
        inside = numbers == group
        rows = inside.any(axis=1) & (held_out.known | ~inside).all(axis=1)
        if rows.any():
            found[group] = fit_tempering(
                np.where(inside, log_odds, -np.inf)[rows], (held_out.present & inside)[rows]
            )
    return found


def fit_tempering(log_odds: Floats, present: Flags) -> Floats:
    """The sharpness and the weight of *none of these* with the lowest log-loss.

    `log_odds` (n x candidates) are -inf for labels of other groups. `present` (n x candidates)
    marks the true labels. A row with several true labels counts as a part of a row for each.
    """
    finite = np.where(np.isfinite(log_odds), log_odds, 0.0)
    counts = present.sum(axis=1)
    none = counts == 0
    target = (finite * present).sum(axis=1) / np.maximum(counts, 1)

    def loss(logs: Floats) -> tuple[float, Floats]:
        sharpness = np.exp(logs[0])
        scaled = np.where(np.isfinite(log_odds), sharpness * finite, -np.inf)
        top = np.maximum(scaled.max(axis=1), logs[1])
        weights = np.exp(scaled - top[:, None])
        weight_of_none = np.exp(logs[1] - top)
        total = weights.sum(axis=1) + weight_of_none
        expected = (weights * finite).sum(axis=1) / total
        losses = np.log(total) + top - np.where(none, logs[1], sharpness * target)
        gradient = np.array(
            [
                sharpness * (expected - np.where(none, 0.0, target)).sum(),
                (weight_of_none / total - none).sum(),
            ]
        )
        penalty = PENALTIES * logs
        return float(losses.sum() + (penalty * logs).sum()), gradient + 2 * penalty

    best = scipy.optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=BOUNDS)
    tempering: Floats = np.maximum(np.exp(best.x), LEAST_TEMPERING)
    return tempering

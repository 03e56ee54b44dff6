"""Drift: how much the rows that a model labels differ from its test rows."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from labelwright.entities.schema import NUMERIC, Column, Kind
from labelwright.models.labeler import Labeler
from labelwright.models.monitoring.profile import (
    BINS,
    MOSTLY_UNSEEN,
    SCORES,
    UNSEEN,
    Counts,
    Profile,
)

ALARM = 0.25
"""Shifts of at least this index are usually called large (Siddiqi, Credit Risk Scorecards 2006)."""
LEAST_ROWS = 200
"""The number of rows that a profile needs before it is compared."""
_SIGMAS = 4.75
"""A normal variable exceeds its mean by so many standard deviations once in a million. The limit is
so high because a model may have thousands of labels, and each of them is compared."""
_VALUES = ((np.arange(BINS) + 0.5) / BINS, np.arange(BINS))
"""For each of SCORES, the values of its bins."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Shift:
    """The shift of one distribution between two profiles.

    `kind` is "field" for a column, "score" or "label". `psi` is the population stability index.
    `moved` is true if the index is at least ALARM and too large to be chance. `figures` are pairs
    of numbers, before and now. For a column they are the shares of rows where the column is
    `filled`, and where its value is `unseen`; for a label, the share of rows where it is
    `asserted`; for a score, its `mean`.
    """

    kind: str
    name: str
    psi: float
    moved: bool
    figures: Mapping[str, tuple[float, float]]


def psi(before: Counts, now: Counts) -> Floats:
    """Population stability index of histograms (... x bins): the sum of (q - p) ln(q / p).

    p and q are the shares of a bin before and now (Siddiqi 2006; the divergence of Jeffreys 1946).
    Half a row is added to every bin that has rows in either histogram, so that no share is 0.
    """
    used = before + now > 0
    p, q = (_shares(counts + 0.5 * used) for counts in (before, now))
    terms = np.zeros(used.shape)
    terms[used] = (q[used] - p[used]) * np.log(q[used] / p[used])
    total: Floats = terms.sum(axis=-1)
    return total


def chance_limit(before: Counts, now: Counts) -> Floats:
    """The index that two samples of the same distribution exceed only once in a million.

    The index of samples of n and m rows is distributed like (1 / n + 1 / m) times chi-squared
    (Yurdakul, Statistical Properties of Population Stability Index, 2018). The quantile of
    chi-squared is approximated as in Wilson & Hilferty 1931.
    """
    freedom = np.maximum((before + now > 0).sum(axis=-1) - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _SIGMAS * np.sqrt(spread)) ** 3
    limit: Floats = quantile * (1 / before.sum(axis=-1) + 1 / now.sum(axis=-1))
    return limit


def shifts(labeler: Labeler, before: Profile, now: Profile) -> list[Shift]:
    """The shifts of all columns, scores and labels: first those that moved, then by index.

    Both profiles must have rows.
    """
    found = [*_fields(labeler, before, now), *_scores(before, now), *_labels(labeler, before, now)]
    return sorted(found, key=lambda shift: (-shift.moved, -shift.psi))


def _fields(labeler: Labeler, before: Profile, now: Profile) -> Iterator[Shift]:
    histograms = before.fields, now.fields
    shares = [_shares(counts) for counts in histograms]
    for at, column in enumerate(labeler.schema.columns):
        bins = {"filled": slice(1, None), **_unseen(column)}
        figures = {
            name: (float(shares[0][at, part].sum()), float(shares[1][at, part].sum()))
            for name, part in bins.items()
        }
        yield _shift("field", column.name, histograms[0][at], histograms[1][at], figures)


def _unseen(column: Column) -> Mapping[str, slice]:
    """The bins of rows with an unseen value; empty for kinds of columns without such bins."""
    if column.kind in NUMERIC:
        return {}
    if column.kind is Kind.CATEGORY:
        return {"unseen": slice(UNSEEN, UNSEEN + 1)}
    return {"unseen": slice(MOSTLY_UNSEEN, None)}


def _scores(before: Profile, now: Profile) -> Iterator[Shift]:
    histograms = before.scores, now.scores
    for at, (name, values) in enumerate(zip(SCORES, _VALUES, strict=True)):
        mean = (
            float(_shares(histograms[0][at]) @ values),
            float(_shares(histograms[1][at]) @ values),
        )
        yield _shift("score", name, histograms[0][at], histograms[1][at], {"mean": mean})


def _labels(labeler: Labeler, before: Profile, now: Profile) -> Iterator[Shift]:
    histograms = [
        np.stack([profile.labels, profile.rows - profile.labels], axis=-1)
        for profile in (before, now)
    ]
    index, limit = psi(*histograms), np.maximum(ALARM, chance_limit(*histograms))
    shares = [_shares(counts)[:, 0].tolist() for counts in histograms]
    moved = (index >= limit).tolist()
    for at, name in enumerate(labeler.labels.names):
        asserted = {"asserted": (shares[0][at], shares[1][at])}
        yield Shift("label", name, float(index[at]), moved[at], asserted)


def _shift(
    kind: str, name: str, before: Counts, now: Counts, figures: Mapping[str, tuple[float, float]]
) -> Shift:
    index = float(psi(before, now))
    return Shift(kind, name, index, index >= max(ALARM, float(chance_limit(before, now))), figures)


def _shares(counts: npt.NDArray[np.int64] | Floats) -> Floats:
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares

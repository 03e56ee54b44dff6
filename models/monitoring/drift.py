"""How far what a model is asked about has moved from what it was judged on."""

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
"""From here on a shift is usually called large (Siddiqi, Credit Risk Scorecards, 2006)."""
LEAST_ROWS = 200
"""Of a profile that can be compared."""
_SIGMAS = 4.75
"""Of a normal distribution, one in a million lies above: a model may have thousands of labels."""
_VALUES = ((np.arange(BINS) + 0.5) / BINS, np.arange(BINS))
"""What the bins of SCORES stand for."""

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Shift:
    """How far a column, a score or a label (its `kind`) has moved.

    `psi` is the population stability index; it has `moved` where that is ALARM or more, and more
    than chance explains. `figures` are told before (in the profile) and now: the share of rows that
    are `filled`, that are `unseen`, that have a label `asserted`, or the `mean` of a score.
    """

    kind: str
    name: str
    psi: float
    moved: bool
    figures: Mapping[str, tuple[float, float]]


def psi(before: Counts, now: Counts) -> Floats:
    """Population stability index of histograms (... x bins): the sum of (q - p) ln(q / p).

    p and q are the shares of a bin (Siddiqi 2006; the divergence of Jeffreys 1946). Half a row is
    added to every bin that has any, so that no share is 0.
    """
    used = before + now > 0
    p, q = (_shares(counts + 0.5 * used) for counts in (before, now))
    terms = np.zeros(used.shape)
    terms[used] = (q[used] - p[used]) * np.log(q[used] / p[used])
    total: Floats = terms.sum(axis=-1)
    return total


def chance(before: Counts, now: Counts) -> Floats:
    """What the index stays below, but once in a million, where nothing has moved.

    It is then distributed like (1 / n + 1 / m) times chi-squared (Yurdakul, Statistical Properties
    of Population Stability Index, 2018), whose quantile is that of Wilson & Hilferty 1931.
    """
    freedom = np.maximum((before + now > 0).sum(axis=-1) - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _SIGMAS * np.sqrt(spread)) ** 3
    limit: Floats = quantile * (1 / before.sum(axis=-1) + 1 / now.sum(axis=-1))
    return limit


def shifts(labeler: Labeler, before: Profile, now: Profile) -> list[Shift]:
    """All columns, scores and labels, those that moved furthest first; both must have rows."""
    found = [*_fields(labeler, before, now), *_scores(before, now), *_labels(labeler, before, now)]
    return sorted(found, key=lambda shift: (-shift.moved, -shift.psi))


def _fields(labeler: Labeler, before: Profile, now: Profile) -> Iterator[Shift]:
    both = before.fields, now.fields
    shares = [_shares(counts) for counts in both]
    for at, column in enumerate(labeler.schema.columns):
        bins = {"filled": slice(1, None), **_unseen(column)}
        figures = {
            name: (float(shares[0][at, part].sum()), float(shares[1][at, part].sum()))
            for name, part in bins.items()
        }
        yield _shift("field", column.name, both[0][at], both[1][at], figures)


def _unseen(column: Column) -> Mapping[str, slice]:
    """The bins of rows that training has not met the like of, where a column has such."""
    if column.kind in NUMERIC:
        return {}
    if column.kind is Kind.CATEGORY:
        return {"unseen": slice(UNSEEN, UNSEEN + 1)}
    return {"unseen": slice(MOSTLY_UNSEEN, None)}


def _scores(before: Profile, now: Profile) -> Iterator[Shift]:
    both = before.scores, now.scores
    for at, (name, values) in enumerate(zip(SCORES, _VALUES, strict=True)):
        mean = float(_shares(both[0][at]) @ values), float(_shares(both[1][at]) @ values)
        yield _shift("score", name, both[0][at], both[1][at], {"mean": mean})


def _labels(labeler: Labeler, before: Profile, now: Profile) -> Iterator[Shift]:
    both = [
        np.stack([profile.labels, profile.rows - profile.labels], axis=-1)
        for profile in (before, now)
    ]
    index, limit = psi(*both), np.maximum(ALARM, chance(*both))
    shares = [_shares(counts)[:, 0].tolist() for counts in both]
    moved = (index >= limit).tolist()
    for at, name in enumerate(labeler.labels.names):
        asserted = {"asserted": (shares[0][at], shares[1][at])}
        yield Shift("label", name, float(index[at]), moved[at], asserted)


def _shift(
    kind: str, name: str, before: Counts, now: Counts, figures: Mapping[str, tuple[float, float]]
) -> Shift:
    index = float(psi(before, now))
    return Shift(kind, name, index, index >= max(ALARM, float(chance(before, now))), figures)


def _shares(counts: npt.NDArray[np.int64] | Floats) -> Floats:
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares

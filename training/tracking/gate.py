"""Promotion gate: judges the measured difference between a new model and the champion.

Challenger and champion label the same rows. The metric is nDCG over the first DEPTH labels,
computed on the labels that both models know. Labels that only one model knows are ignored, because
they do not show which model is better. The verdict gives the numbers of added and lost labels.
"""

import dataclasses
import enum
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from labelwright.entities.tables import Entities
from labelwright.training.evaluation.answers import RowScores
from labelwright.training.evaluation.intervals import CONFIDENCE, Interval, clustered_mean
from labelwright.training.evaluation.metrics import DEPTH
from labelwright.training.evaluation.slices import slices

TOLERANCE = 0.005
"""Maximum loss of nDCG compared with the champion."""
MAX_SLICE_LOSS = 0.05
"""Maximum loss of nDCG in a slice, compared with the champion."""
_LARGEST_ADVICE = 10_000_000
"""Largest number of further rows that a verdict names."""


class Finding(enum.StrEnum):
    """The result of a comparison with the champion."""

    BETTER = "better"
    NO_WORSE = "no worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"
    NOT_COMPARED = "not compared"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The decision whether a model is promoted, and the reason: a phrase with the figures."""

    promoted: bool
    reason: str
    finding: Finding = Finding.NOT_COMPARED


FIRST_VERSION = Verdict(True, "it is the first version")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The measured difference between the challenger and the champion.

    `changes` are the differences of nDCG of the rows `entities`. `names` (uint64) are hashes of
    their names: rows with the same name depend on each other. `source` says how the rows were
    labelled, and `unit` is the kind of rows of which more would narrow the interval. `shared`,
    `lost` and `new` are the numbers of labels that both models, only the champion and only the
    challenger know.
    """

    changes: RowScores
    names: npt.NDArray[np.uint64]
    entities: Entities
    source: str
    unit: str
    shared: int
    lost: int = 0
    new: int = 0

    @property
    def figures(self) -> str:
        """A phrase with the difference of all rows, and with the labels of only one model."""
        change = clustered_mean(self.changes, self.names)
        parts = (
            (self.lost, "it lacks {:,} of the champion's labels"),
            (self.new, "it adds {:,} labels"),
        )
        others = "".join(f"; {words.format(count)}" for count, words in parts if count)
        return (
            f"nDCG@{DEPTH} {points(change.mean)} points against the champion, between "
            f"{points(change.low)} and {points(change.high)} with {CONFIDENCE:.0%} confidence, on "
            f"{len(self.changes):,} {self.source} and {self.shared:,} shared labels; tolerance: "
            f"{points(-TOLERANCE)}{others}"
        )


def judge(evidence: Evidence, find_doubts: Callable[[], Sequence[str]]) -> Verdict:
    """Decide whether the challenger is promoted.

    It is promoted if it is better or no worse than the champion, and refused if it is worse. If the
    rows cannot tell, it is promoted unless `find_doubts` finds doubts: phrases that say how it
    differs from the champion's recipe on more data. They are only looked for in this case.
    """
    if collapsed := _worst_slice(evidence):
        reason = f"{Finding.WORSE}: {collapsed}; overall {evidence.figures}"
        return Verdict(False, reason, Finding.WORSE)
    change = clustered_mean(evidence.changes, evidence.names)
    finding = find(change)
    reason = f"{finding}: {evidence.figures}"
    if finding is not Finding.CANNOT_TELL:
        return Verdict(finding is not Finding.WORSE, reason, finding)
    more = further_rows(change, len(evidence.changes))
    reason += f"; about {more:,} more {evidence.unit} would tell"
    if doubts := find_doubts():
        reason += (
            f"; it is not promoted because {' and '.join(doubts)}: give more {evidence.unit}, or "
            "promote it with `labelwright promote --force`"
        )
        return Verdict(False, reason, finding)
    reason += "; it is promoted because its data only grew and no corrected entity got worse"
    return Verdict(True, reason, finding)


def find(change: Interval) -> Finding:
    """The finding for an interval of the difference between challenger and champion."""
    if change.low > 0:
        return Finding.BETTER
    if change.low >= -TOLERANCE:
        return Finding.NO_WORSE
    return Finding.WORSE if change.high < 0 else Finding.CANNOT_TELL


def further_rows(change: Interval, rows: int) -> int:
    """The number of further rows with which the same difference would be worse or no worse.

    The width of an interval falls with the square root of the number of rows. The number has one
    or two significant digits.
    """
    wanted = max(change.mean + TOLERANCE, -change.mean)
    more = min(rows * ((change.reach / wanted) ** 2 - 1), _LARGEST_ADVICE)
    step = int(10 ** max(len(str(int(more))) - 2, 1))
    return max(round(more / step) * step, step)


def points(share: float) -> str:
    """A difference in points, with its sign."""
    return f"{100 * share:+.2f}"


def _worst_slice(evidence: Evidence) -> str | None:
    """A phrase about the slice with the largest significant loss above MAX_SLICE_LOSS, or None.

    The risk that chance refuses a model is divided among all slices (Bonferroni 1936).
    """
    losses = []
    parts = slices(evidence.entities)
    confidence = 1 - (1 - CONFIDENCE) / max(len(parts), 1)
    for part in parts:
        change = clustered_mean(evidence.changes[part.rows], evidence.names[part.rows], confidence)
        if change.mean < -MAX_SLICE_LOSS and change.high < 0:
            losses.append((change.mean, part.name))
    if not losses:
        return None
    worst, name = min(losses)
    return f"slice {name!r} {points(worst)} points (tolerance: {points(-MAX_SLICE_LOSS)})"

"""What a report is about, and what was found out about it."""

import dataclasses
import functools
from collections.abc import Sequence

import pyarrow as pa

from labelwright.models.decisions import Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.metrics import Evaluation
from labelwright.training.evaluation.reviewer_agreement import ReviewerAgreement
from labelwright.training.evaluation.slices import Counts
from labelwright.training.fitting.fit import Configuration


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model that has just been trained, and all that a report about it is made of.

    The labeler was fitted on `train`; `predictions` and `evaluation` are of `test`, with the
    default query. `test_files` names the files the test rows were read from, where they were not
    split off by name. `reviewed` there is where corrections were learned from.
    """

    name: str
    version: str
    labeler: Labeler
    train: LabelledEntities
    test: LabelledEntities
    predictions: Predictions
    evaluation: Evaluation
    configuration: Configuration
    warnings: Sequence[str] = ()
    test_files: Sequence[str] = ()
    reviewed: ReviewerAgreement | None = None

    @functools.cached_property
    def truth(self) -> LabelMatrix:
        """The true labels of the test rows."""
        return self.test.matrix(self.labeler.labels)

    @functools.cached_property
    def tallies(self) -> tuple[int, int, int]:
        """How many labels are asserted, asserted rightly, and true, on all test rows."""
        per_label = self.evaluation.per_label
        given, right = (int(per_label[name].to_numpy().sum()) for name in ("asserted", "correct"))
        return given, right, len(self.truth.ids) + int(self.truth.foreign.sum())

    @functools.cached_property
    def frequency(self) -> Counts:
        """How many training rows have each label."""
        return self.train.matrix(self.labeler.labels).counts()


@dataclasses.dataclass(frozen=True)
class ReportTables:
    """The tables beside the card: by slice, by label, confused pairs, kept promises.

    `per_label` has the `training_rows` of each label and its `precise` threshold, null where the
    policy never asserts it.
    """

    slices: pa.Table
    per_label: pa.Table
    confused: pa.Table
    promises: pa.Table

"""Content of a report: the trained model and the tables about it."""

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
    """A model that has just been trained, with the data and the evaluation of a report.

    The labeler was fitted on `train`. `predictions` are the labeler's predictions for `test` with
    the default query, and `evaluation` is their evaluation. `version` is the version of
    labelwright. `test_files` are the names of the test files; it is empty if the test rows were
    split off by name. `reviewer_agreement` is None without corrections.
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
    reviewer_agreement: ReviewerAgreement | None = None

    @functools.cached_property
    def truth(self) -> LabelMatrix:
        """The true labels of the test rows."""
        return self.test.matrix(self.labeler.labels)

    @functools.cached_property
    def tallies(self) -> tuple[int, int, int]:
        """Numbers of asserted, correctly asserted and true labels of all test rows."""
        per_label = self.evaluation.per_label
        given, right = (int(per_label[name].to_numpy().sum()) for name in ("asserted", "correct"))
        return given, right, len(self.truth.present.ids) + int(self.truth.foreign.sum())

    @functools.cached_property
    def frequency(self) -> Counts:
        """The number of training rows of each label."""
        return self.train.matrix(self.labeler.labels).counts()


@dataclasses.dataclass(frozen=True)
class ReportTables:
    """The tables of a report: slices, labels, confused pairs and precision guarantees.

    `slices` is the table of `metrics_by_slice`, `confused` the table of `confusions`, and
    `guarantees` the table of `measure_guarantees`. `per_label` is the table of an evaluation with
    two more columns: `training_rows` and `precise`. The column `precise` is the threshold of this
    policy; it is null for a label without enough evidence.
    """

    slices: pa.Table
    per_label: pa.Table
    confused: pa.Table
    guarantees: pa.Table

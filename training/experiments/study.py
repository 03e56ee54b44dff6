"""Study: the dependence of a model's quality on the number of rows, the seed and the columns.

A study fits many models and registers none. Each fit is an MLflow run, nested in the study's run.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import scipy.special

from labelwright.entities.errors import DataError
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.schema import Column
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery
from labelwright.training.data import LabelledEntities, split
from labelwright.training.evaluation.evaluate import evaluate_labeler
from labelwright.training.evaluation.intervals import CONFIDENCE
from labelwright.training.evaluation.metrics import Metrics
from labelwright.training.fitting.fit import Configuration, Progress, fit_labeler, no_progress
from labelwright.training.job import Task
from labelwright.training.tracking import record
from labelwright.training.tracking.runs import KILLED, Run, active_run, experiment_id_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHARES = (0.1, 0.25, 0.5)
"""Shares of the training rows on the learning curve; the last point of the curve has all rows."""
SEEDS, CURVE, ABLATION = "seeds", "curve", "ablation"
"""Parts of a study: repeated seeds, learning curve, and fits without one column."""
MEASURES = ("p_at_1", "p_at_3", "p_at_5", "micro_f1", "macro_f1", "ece")
"""The fields of `Metrics` that measure quality."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """A fit of a study: its seed, its share of the training rows, and the column it leaves out."""

    part: str
    seed: int
    share: float = 1.0
    without: Column | None = None

    @property
    def name(self) -> str:
        """The name of the fit in tables and in MLflow."""
        if self.without is not None:
            return f"without {self.without.name}"
        return f"seed {self.seed}" if self.part == SEEDS else f"{self.share:.0%} of the rows"


@dataclasses.dataclass(frozen=True)
class FitResult:
    """The result of a fit: numbers of training rows and labels, metrics, and duration."""

    variant: Variant
    rows: int
    labels: int
    metrics: Metrics
    seconds: float


@dataclasses.dataclass(frozen=True)
class Interval:
    """Mean and standard deviation over n fits that differ only in their seed."""

    n: int
    mean: float
    deviation: float

    @property
    def margin(self) -> float:
        """Half the width of the confidence interval of the mean (Student's t)."""
        return self._quantile() * self.deviation / math.sqrt(self.n)

    @property
    def scatter(self) -> float:
        """Half the width of the prediction interval for one more fit with another seed."""
        return self._quantile() * self.deviation * math.sqrt(1 + 1 / self.n)

    def _quantile(self) -> float:
        return float(scipy.special.stdtrit(self.n - 1, (1 + CONFIDENCE) / 2))


@dataclasses.dataclass(frozen=True)
class Study:
    """The result of a study; `planned` is the number of fits of a study that is not interrupted."""

    run_id: str
    experiment: str
    test_rows: int
    planned: int
    results: Sequence[FitResult]
    warnings: Sequence[str]
    interrupted: bool

    def part(self, name: str) -> list[FitResult]:
        """The results of one part (SEEDS, CURVE or ABLATION), in the order of the fits."""
        return [result for result in self.results if result.variant.part == name]

    @property
    def intervals(self) -> dict[str, Interval]:
        """An interval over the seeds for each of MEASURES; empty with fewer than two seeds."""
        repeated = [result.metrics for result in self.part(SEEDS)]
        if len(repeated) < 2:
            return {}
        values = {name: [getattr(metrics, name) for metrics in repeated] for name in MEASURES}
        return {
            name: Interval(len(given), float(np.mean(given)), float(np.std(given, ddof=1)))
            for name, given in values.items()
        }


def study(task: Task, seeds: int, progress: Progress = no_progress) -> Study:
    """Fit with `seeds` seeds, on parts of the rows, and without each column in turn.

    `progress` reports each fit as a share of all fits. After Ctrl-C, the active runs have the
    status KILLED, and the finished fits are returned. If no fit has finished, KeyboardInterrupt is
    raised. If a later fit has too few rows, it is left out with a warning. Raises DataError,
    RegistryError or StorageError.
    """
    name = f"{task.name}-study"
    record.check_name(name)
    experiment_id = experiment_id_of(name)
    train, test, warnings = _read(task)
    variants = _variants(train, task.configuration, seeds)
    results: list[FitResult] = []
    with active_run(experiment_id, "study") as parent:
        parent.log(_parameters(task, train, test), tags=_tags(train, test))
        try:
            for variant in variants:
                progress(variant.name, 0.0)
                try:
                    with active_run(experiment_id, variant.name, parent) as run:
                        results.append(_fit_variant(run, variant, task.configuration, train, test))
                except DataError as error:
                    if not results:
                        raise
                    warnings.append(f"{variant.name}: {error}")
                progress(variant.name, 1 / len(variants))
        except KeyboardInterrupt:
            if not results:
                raise
            parent.status = KILLED
        interrupted = parent.status == KILLED
        finished = Study(parent.id, name, len(test), len(variants), results, warnings, interrupted)
        _log_study(parent, finished)
    return finished


def _read(task: Task) -> tuple[LabelledEntities, LabelledEntities, list[str]]:
    data = task.read_labelled(task.data)
    if task.test:
        test = task.read_labelled(task.test)
        return data, test, [*data.warnings, *test.warnings]
    return *split(data), list(data.warnings)


def _variants(data: LabelledEntities, configuration: Configuration, seeds: int) -> list[Variant]:
    """All fits of a study, the most important first."""
    first = configuration.seed
    columns = filled_columns(data.entities)
    return [
        *(Variant(SEEDS, first + seed) for seed in range(seeds)),
        *(Variant(CURVE, first, share) for share in SHARES),
        *(Variant(ABLATION, first, without=column) for column in columns if len(columns) > 1),
    ]


def filled_columns(entities: Entities) -> list[Column]:
    """The columns of the schema that have a value in at least one row."""
    table = entities.table
    return [
        column
        for column in entities.schema.columns
        if any(
            table[field].null_count < len(table)
            for field in column.fields
            if field in table.column_names
        )
    ]


def _fit_variant(
    run: Run,
    variant: Variant,
    configuration: Configuration,
    train: LabelledEntities,
    test: LabelledEntities,
) -> FitResult:
    """Fit a variant, evaluate it, and log its parameters and metrics."""
    configuration = dataclasses.replace(configuration, seed=variant.seed)
    rows = train.take(_sample(len(train), variant.share))
    if variant.without is not None:
        rows, test = _without(rows, variant.without), _without(test, variant.without)
    started = time.perf_counter()
    labeler = fit_labeler(rows, configuration)
    seconds = time.perf_counter() - started
    metrics = evaluate_labeler(labeler, test, LabelQuery(), configuration.threads).metrics
    result = FitResult(variant, len(rows), len(labeler.labels), metrics, seconds)
    run.log(
        dataclasses.asdict(configuration) | _variant_parameters(result),
        metrics.by_name | {"seconds": seconds},
    )
    return result


def _sample(rows: int, share: float) -> npt.NDArray[np.int64]:
    """Row numbers of a sample.

    They do not depend on the seed of a fit. A smaller sample is a subset of every larger sample.
    """
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[: round(share * rows)])


def _without(data: LabelledEntities, column: Column) -> LabelledEntities:
    table = data.entities.table
    fields = [field for field in column.fields if field in table.column_names]
    fewer = Entities(data.entities.schema, table.drop_columns(fields))
    return dataclasses.replace(data, entities=fewer)


def _variant_parameters(result: FitResult) -> dict[str, Any]:
    variant = result.variant
    return {
        "part": variant.part,
        "share": variant.share,
        "without": None if variant.without is None else variant.without.name,
        "training_rows": result.rows,
        "labels": result.labels,
    }


def _parameters(task: Task, train: LabelledEntities, test: LabelledEntities) -> dict[str, Any]:
    given = dataclasses.asdict(task.configuration) | {"schema": task.schema.name}
    return given | {"training_rows": len(train), "test_rows": len(test)}


def _tags(train: LabelledEntities, test: LabelledEntities) -> dict[str, str]:
    return {
        record.DATA_FINGERPRINT: train.fingerprint,
        "labelwright.test_data": test.fingerprint,
    }


def _log_study(run: Run, finished: Study) -> None:
    """Log the intervals, the table and the plot of the learning curve."""
    run.log(
        metrics={
            f"{name}_{figure}": value
            for name, interval in finished.intervals.items()
            for figure, value in (
                ("mean", interval.mean),
                ("deviation", interval.deviation),
                ("margin", interval.margin),
            )
        }
    )
    with temporary_folder() as folder:
        csv, png = folder / "study.csv", folder / "learning_curve.png"
        pyarrow.csv.write_csv(table(finished), csv)
        learning_curve(finished).savefig(png, dpi=150)
        run.store(csv)
        run.store(png)


def table(finished: Study) -> pa.Table:
    """A table with one row for each fit."""
    return pa.Table.from_pylist(
        [
            {"name": result.variant.name, "seed": result.variant.seed}
            | _variant_parameters(result)
            | {name: getattr(result.metrics, name) for name in MEASURES}
            | {"seconds": round(result.seconds, 3)}
            for result in finished.results
        ]
    )


def learning_curve(finished: Study) -> "Figure":
    """A plot of quality by number of training rows; the last point shows the seeds' interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    precision, f1 = figure.subplots(1, 2)
    _draw(precision, finished, {"p_at_1": "P@1", "p_at_3": "P@3", "p_at_5": "P@5"}, "percent")
    _draw(f1, finished, {"micro_f1": "micro-F1", "macro_f1": "macro-F1"}, "F1")
    figure.suptitle(f"{finished.experiment}: {finished.test_rows:,} test rows")
    return figure


def _draw(axes: "Axes", finished: Study, measures: Mapping[str, str], unit: str) -> None:
    curve, repeated = finished.part(CURVE), finished.part(SEEDS)
    rows = [result.rows for result in (*curve, *repeated[:1])]
    for name, label in measures.items():
        values = [getattr(result.metrics, name) for result in (*curve, *repeated[:1])]
        margins = np.zeros(len(values))
        if interval := finished.intervals.get(name):
            values[-1], margins[-1] = interval.mean, interval.margin
        axes.errorbar(rows, values, yerr=margins, marker="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="training rows", ylabel=unit, ylim=(0, None))
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.legend()

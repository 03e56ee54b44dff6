"""What the figures of a model rest on: how many rows, which seed, and which columns.

A study fits many models of which none is registered. Each is a run nested in the run of the study.
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
from labelwright.training.data import LabelledEntities, read_labelled, split
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
"""The learning curve's shares of the training rows, before all of them."""
SEEDS, CURVE, ABLATION = "seeds", "curve", "ablation"
MEASURES = ("p_at_1", "p_at_3", "p_at_5", "micro_f1", "macro_f1", "ece")
"""The fields of `Metrics` that tell how good a model is."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """One fit of a study: on a share of the rows, with a seed, and without a column or with all."""

    part: str
    seed: int
    share: float = 1.0
    without: Column | None = None

    @property
    def name(self) -> str:
        """What it is called in tables and in MLflow."""
        if self.without is not None:
            return f"without {self.without.name}"
        return f"seed {self.seed}" if self.part == SEEDS else f"{self.share:.0%} of the rows"


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A variant's fit: on how many rows, with how many labels, how good, in how many seconds."""

    variant: Variant
    rows: int
    labels: int
    metrics: Metrics
    seconds: float


@dataclasses.dataclass(frozen=True)
class Interval:
    """Mean and standard deviation over n fits that differ by their seed alone."""

    n: int
    mean: float
    deviation: float

    @property
    def margin(self) -> float:
        """The mean's confidence interval is the mean plus and minus this (Student's t)."""
        return self._quantile() * self.deviation / math.sqrt(self.n)

    @property
    def scatter(self) -> float:
        """How far from the mean one more fit may lie for no other reason than its seed."""
        return self._quantile() * self.deviation * math.sqrt(1 + 1 / self.n)

    def _quantile(self) -> float:
        return float(scipy.special.stdtrit(self.n - 1, (1 + CONFIDENCE) / 2))


@dataclasses.dataclass(frozen=True)
class Study:
    """What came of a study; `planned` is how many fits it would have been without interruption."""

    run_id: str
    experiment: str
    test_rows: int
    planned: int
    results: Sequence[FitResult]
    warnings: Sequence[str]
    interrupted: bool

    def part(self, name: str) -> list[FitResult]:
        """The results of one part, in the order of the fits."""
        return [result for result in self.results if result.variant.part == name]

    @property
    def intervals(self) -> dict[str, Interval]:
        """For each of MEASURES, over the seeds; empty where fewer than two were finished."""
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

    `progress` is told each fit's share of all fits. Ctrl-C ends the runs as killed, and what is
    finished is returned; before the first fit is finished it is raised. Raises DataError,
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
        found = Study(parent.id, name, len(test), len(variants), results, warnings, interrupted)
        _log_study(parent, found)
    return found


def _read(task: Task) -> tuple[LabelledEntities, LabelledEntities, list[str]]:
    data = read_labelled(task.data, task.schema, task.columns)
    if task.test:
        test = read_labelled(task.test, task.schema, task.columns)
        return data, test, [*data.warnings, *test.warnings]
    return *split(data), list(data.warnings)


def _variants(data: LabelledEntities, configuration: Configuration, seeds: int) -> list[Variant]:
    """All fits; what matters most comes first."""
    first = configuration.seed
    columns = filled_columns(data.entities)
    return [
        *(Variant(SEEDS, first + seed) for seed in range(seeds)),
        *(Variant(CURVE, first, share) for share in SHARES),
        *(Variant(ABLATION, first, without=column) for column in columns if len(columns) > 1),
    ]


def filled_columns(entities: Entities) -> list[Column]:
    """The columns of the schema that have a value in some row."""
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
        dataclasses.asdict(configuration) | _described(result),
        dataclasses.asdict(metrics) | {"seconds": seconds},
    )
    return result


def _sample(rows: int, share: float) -> npt.NDArray[np.int64]:
    """Row numbers; the same for each seed, and a smaller sample is part of every larger one."""
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[: round(share * rows)])


def _without(data: LabelledEntities, column: Column) -> LabelledEntities:
    table = data.entities.table
    fields = [field for field in column.fields if field in table.column_names]
    fewer = Entities(data.entities.schema, table.drop_columns(fields))
    return dataclasses.replace(data, entities=fewer)


def _described(result: FitResult) -> dict[str, Any]:
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


def _log_study(run: Run, found: Study) -> None:
    """Log what the whole study says: intervals, the table, the plot."""
    run.log(
        metrics={
            f"{name}_{figure}": value
            for name, interval in found.intervals.items()
            for figure, value in (
                ("mean", interval.mean),
                ("deviation", interval.deviation),
                ("margin", interval.margin),
            )
        }
    )
    with temporary_folder() as folder:
        csv, png = folder / "study.csv", folder / "learning_curve.png"
        pyarrow.csv.write_csv(table(found), csv)
        learning_curve(found).savefig(png, dpi=150)
        run.store(csv)
        run.store(png)


def table(found: Study) -> pa.Table:
    """One row for each fit."""
    return pa.Table.from_pylist(
        [
            {"name": result.variant.name, "seed": result.variant.seed}
            | _described(result)
            | {name: getattr(result.metrics, name) for name in MEASURES}
            | {"seconds": round(result.seconds, 3)}
            for result in found.results
        ]
    )


def learning_curve(found: Study) -> "Figure":
    """How good models are by the number of training rows, with the seeds' interval at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    precision, f1 = figure.subplots(1, 2)
    _draw(precision, found, {"p_at_1": "P@1", "p_at_3": "P@3", "p_at_5": "P@5"}, "percent")
    _draw(f1, found, {"micro_f1": "micro-F1", "macro_f1": "macro-F1"}, "F1")
    figure.suptitle(f"{found.experiment}: {found.test_rows:,} test rows")
    return figure


def _draw(axes: "Axes", found: Study, measures: Mapping[str, str], unit: str) -> None:
    curve, repeated = found.part(CURVE), found.part(SEEDS)
    rows = [result.rows for result in (*curve, *repeated[:1])]
    for name, label in measures.items():
        values = [getattr(result.metrics, name) for result in (*curve, *repeated[:1])]
        margins = np.zeros(len(values))
        if interval := found.intervals.get(name):
            values[-1], margins[-1] = interval.mean, interval.margin
        axes.errorbar(rows, values, yerr=margins, marker="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="training rows", ylabel=unit, ylim=(0, None))
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.legend()

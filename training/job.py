"""The training job: read, split, fit, evaluate, log, register, and promote or refuse."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from labelwright.entities.errors import DataError
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.io.label_columns import EmptyLabels
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import SAME_NAMES
from labelwright.entities.label_book import LabelBook
from labelwright.entities.label_groups import Role
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, concatenate
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.registry import Model, load_model
from labelwright.training.data import (
    LabelledEntities,
    read_labelled,
    read_unlabelled,
    table_hash,
)
from labelwright.training.evaluation.cross_validation import Rows
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.margins import evaluate_with_margins
from labelwright.training.evaluation.metrics import Evaluation
from labelwright.training.evaluation.reviewer_agreement import (
    Agreement,
    ReviewerAgreement,
    compare_with_corrections,
)
from labelwright.training.feedback.merge import TrainingData, with_corrections, without_corrections
from labelwright.training.feedback.votes import read_corrections
from labelwright.training.fitting.base import check_columns
from labelwright.training.fitting.distillation import Unlabelled
from labelwright.training.fitting.fit import Configuration, Progress, fit_labeler, no_progress
from labelwright.training.reporting.contents import TrainedModel
from labelwright.training.reporting.description import describe, describe_model
from labelwright.training.teachers.encoder import Encoder, open_encoder
from labelwright.training.teachers.texts import texts_of
from labelwright.training.tracking import environment, gate, record, runs, versions
from labelwright.training.tracking.champion import Challenger, Comparison, comparable_champion

if TYPE_CHECKING:
    from labelwright.training.reporting.run_files import RunFiles


NOT_TAUGHT = (
    "the rows of --unlabelled are not used: rows without labels need a teacher; name a sentence "
    "encoder with --encoder"
)


@dataclasses.dataclass(frozen=True)
class Task:
    """The input of a training job.

    Test rows are split off from `data` if there are no `test` files. The model is registered as
    `name`. `columns` maps the names of the schema's columns to column names of the files.
    `feedback` is the location of the corrections: a database, or an exported file. `memory` is the
    maximum size of the large arrays in memory, in bytes (`SpillingAllocator`).

    `encoder` is a sentence encoder (`training.teachers.encoder`), which teaches the model on rows
    without labels: those of `data` and all rows of `unlabelled`. `tokenizer` is the encoder's
    tokenizer, if it lies elsewhere. `book` has texts about labels; the schema has its implications
    and redirects. `base` is the URI of a model whose knowledge is the start of the fit
    (`training.fitting.base`). `empty_labels` is the meaning of empty cells of labels in CSV.
    """

    data: Sequence[LocationLike]
    test: Sequence[LocationLike]
    schema: EntitySchema
    name: str
    configuration: Configuration
    promote: bool = True
    columns: ColumnMap = SAME_NAMES
    feedback: str | None = None
    memory: int | None = None
    unlabelled: Sequence[LocationLike] = ()
    encoder: str | None = None
    tokenizer: str | None = None
    book: LabelBook | None = None
    base: str | None = None
    empty_labels: EmptyLabels = EmptyLabels.UNKNOWN

    def read_labelled(
        self, paths: Sequence[LocationLike], keep_unlabelled: bool = False
    ) -> LabelledEntities:
        """Read `data` or `test`; raises DataError."""
        return read_labelled(paths, self.schema, self.columns, keep_unlabelled, self.empty_labels)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a training job.

    `seconds` is the wall time from the start of reading to the last step. `agreements` is the
    agreement with the reviewers; it is empty without corrections.
    """

    registered: record.Registered
    evaluation: Evaluation
    verdict: gate.Verdict
    warnings: Sequence[str]
    seconds: float
    agreements: Sequence[Agreement] = ()


@dataclasses.dataclass(frozen=True)
class PreparedTraining:
    """The rows, the teacher and the base of a task, and the time at which reading began.

    `since` is this time by `time.time()`, `started` by `time.perf_counter()`.
    """

    training_data: TrainingData
    since: float
    started: float
    teacher: Encoder | None = None
    base: Model | None = None


def train(task: Task, progress: Progress = no_progress) -> Outcome:
    """Run the whole job; raises DataError, RegistryError or StorageError, and ModelError if the
    base cannot be loaded."""
    return complete(task, prepare(task, progress), progress)


def prepare(task: Task, progress: Progress = no_progress) -> PreparedTraining:
    """Read the rows of a task; raises the errors of `train`."""
    started, since = time.perf_counter(), time.time()
    record.check_name(task.name)
    # fails early if the registry cannot be reached, or if no run can be logged
    runs.existing_experiment(task.name)
    teacher, base = _open_teacher(task), _load_base(task)
    training_data = _read(task)
    progress("reading", 1.0)
    return PreparedTraining(training_data, since, started, teacher, base)


def complete(task: Task, prepared: PreparedTraining, progress: Progress = no_progress) -> Outcome:
    """Fit, evaluate, log, register, and promote or refuse; raises the errors of `train`.

    The MLflow run is created after the model has been evaluated. The version is registered after
    all its files have been stored and the promotion gate has decided, so no version is incomplete.
    """
    from labelwright.training.reporting.run_files import write_run_files  # imports matplotlib

    data, started = prepared.training_data, prepared.started
    unlabelled = _with_vectors(data, prepared.teacher, progress)
    warnings = [*data.train.warnings, *_unfinished_runs(task.name)]
    warnings += prepared.teacher.warnings if prepared.teacher else []
    base = None if prepared.base is None else prepared.base.bundle.labeler
    labeler = fit_labeler(
        data.train, task.configuration, progress, task.memory, unlabelled, task.book, base
    )
    trained = _evaluated(task, data, labeler)
    progress("evaluation", 1.0)
    with temporary_folder() as folder:
        files = write_run_files(folder, trained)
        run_record = _record(task, prepared, trained, files)
        experiment_id = runs.experiment_id_of(task.name)
        with runs.active_run(experiment_id, since=prepared.since) as run:
            run.log(metrics={"seconds": time.perf_counter() - started})
            wheel = environment.find_wheel()
            warnings += wheel.warnings
            model = record.write_run(run, run_record, wheel.path)
            progress("record", 1.0)
            comparison = Comparison(_challenger(task, trained, data, unlabelled, base, run_record))
            comparison.judge()  # before the lock, because it may take as long as the fit
            if answers := comparison.write_answers(folder):
                run.store(answers)
            with versions.promotion_lock():
                verdict = comparison.judge()
                decision = verdict if task.promote else _not_promoted(verdict)
                description = describe(trained, files.tables, decision, experiment_id, run.id)
                run.log(tags={record.DESCRIPTION: description})
                version = _version(task.schema, run_record.tags, description, verdict)
                registered = record.register(run, task.name, model, version)
                if decision.promoted:
                    versions.make_champion(task.name, registered.version)
    progress("promotion", 1.0)
    seconds = time.perf_counter() - started
    agreements = trained.reviewer_agreement.agreements if trained.reviewer_agreement else ()
    return Outcome(registered, trained.evaluation, decision, warnings, seconds, agreements)


def inputs_hash(task: Task, prepared: PreparedTraining) -> str:
    """A hash of all inputs of a training: rows, teacher, base, configuration, schema and version.

    Corrections change the hash only if they change a settled label. The number of threads does not
    change it.
    """
    data, teacher, base = prepared.training_data, prepared.teacher, prepared.base
    parts = (data.train, data.test, data.unseen)
    content = {
        "rows": [None if part is None else part.fingerprint for part in parts],
        "unlabelled": None if data.unlabelled is None else table_hash(data.unlabelled.table),
        "teacher": None if teacher is None else teacher.identity,
        "base": None if base is None else base.bundle.manifest.content,
        "configuration": dataclasses.asdict(task.configuration) | {"threads": 0},
        "schema": task.schema.to_mapping(),
        "version": importlib.metadata.version("labelwright"),
    }
    if task.book:
        content["book"] = task.book.to_mapping()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unfinished_runs(name: str) -> list[str]:
    """One sentence for each unfinished run of an earlier training of this model."""
    return [
        f"run {run.run_id} of an earlier training did not finish: `labelwright prune {name}` "
        "deletes it"
        for run in runs.unfinished_runs()
        if run.experiment == name
    ]


def _open_teacher(task: Task) -> Encoder | None:
    if task.encoder is None:
        return None
    return open_encoder(task.encoder, task.tokenizer, task.configuration.threads)


def _load_base(task: Task) -> Model | None:
    """The base of a task; raises DataError if it is a version of the model to train."""
    if task.base is None:
        return None
    base = load_model(task.base)
    if base.name == task.name:
        raise DataError(
            f"--base is a version of {task.name!r}, the model to train: a model cannot be its own "
            "base; name another model, or another --name"
        )
    check_columns(base.bundle.labeler.schema, task.schema)
    return base


def _read(task: Task) -> TrainingData:
    """The rows of a task, with the corrections if it has any."""
    data = task.read_labelled(task.data, task.encoder is not None)
    test = task.read_labelled(task.test) if task.test else None
    unlabelled, warnings = _read_unlabelled(task, data)
    warnings = [*data.warnings, *warnings]
    if task.feedback is None:
        merged = without_corrections(data, test)
    else:
        corrections = read_corrections(task.feedback, task.name, task.schema)
        merged = with_corrections(data, test, corrections)
        warnings += corrections.settled.warnings
    train = dataclasses.replace(merged.train, warnings=warnings)
    return dataclasses.replace(merged, train=train, unlabelled=unlabelled)


def _read_unlabelled(task: Task, data: LabelledEntities) -> tuple[Entities | None, Sequence[str]]:
    """The rows without labels, and warnings about them; None if there is no teacher.

    Raises DataError if there is a teacher but no such row.
    """
    if task.encoder is None:
        return None, [NOT_TAUGHT] if task.unlabelled else []
    rows, warnings = read_unlabelled(task.unlabelled, task.schema, task.columns)
    if data.unlabelled:
        rows = concatenate([data.unlabelled, rows])
    if not len(rows):
        raise DataError(
            "--encoder has nothing to teach with: there are no rows without labels; name files of "
            "such rows with --unlabelled, or give rows with null labels in --data"
        )
    return rows, warnings


def _with_vectors(
    data: TrainingData, teacher: Encoder | None, progress: Progress
) -> Unlabelled | None:
    """The rows without labels, and the encoder's vectors of all rows."""
    if teacher is None or data.unlabelled is None:
        return None
    reported = 0.0

    def report(done: int, total: int) -> None:
        nonlocal reported
        progress("embedding", done / total - reported)
        reported = done / total

    texts = pa.concat_arrays([texts_of(data.train.entities), texts_of(data.unlabelled)])
    return Unlabelled.of(data.unlabelled, teacher.embed(texts, report))


def _evaluated(task: Task, data: TrainingData, labeler: Labeler) -> TrainedModel:
    """The new model with its predictions and metrics on the test rows."""
    predictions, truth = label_with_truth(
        labeler, data.test, LabelQuery(), task.configuration.threads
    )
    return TrainedModel(
        name=task.name,
        version=importlib.metadata.version("labelwright"),
        labeler=labeler,
        train=data.train,
        test=data.test,
        predictions=predictions,
        evaluation=evaluate_with_margins(
            predictions, truth, data.test.entities, labeler.one_exclusive_group
        ),
        configuration=task.configuration,
        warnings=data.train.warnings,
        test_files=[locate(where).name for where in task.test],
        reviewer_agreement=_reviewer_agreement(task, data, labeler),
    )


def _reviewer_agreement(
    task: Task, data: TrainingData, labeler: Labeler
) -> ReviewerAgreement | None:
    """Agreement of the new model and the champion with the reviewers; None without corrections."""
    if data.corrections is None:
        return None
    version, champion = comparable_champion(task.name, labeler.schema) or (None, None)
    threads = task.configuration.threads
    compared = compare_with_corrections(labeler, champion, data, threads)
    return ReviewerAgreement(data.corrections, version, compared)


def _challenger(
    task: Task,
    trained: TrainedModel,
    data: TrainingData,
    unlabelled: Unlabelled | None,
    base: Labeler | None,
    run_record: record.Record,
) -> Challenger:
    """The new model as the promotion gate sees it."""
    configuration = task.configuration

    def fit(rows: Rows) -> Labeler:
        taught = None if unlabelled is None else unlabelled.taught_by(rows)
        return fit_labeler(
            data.train.take(rows),
            configuration,
            unlabelled=taught,
            book=task.book,
            base=base,
        )

    return Challenger(
        task.name,
        trained.labeler,
        data,
        configuration,
        run_record.parameters,
        fit,
        functools.partial(fit_labeler, book=task.book, base=base) if unlabelled is None else None,
        trained.reviewer_agreement,
    )


def _not_promoted(verdict: gate.Verdict) -> gate.Verdict:
    judged = "promote" if verdict.promoted else "refuse"
    reason = f"--no-promote was given; the gate would {judged} it: {verdict.reason}"
    return dataclasses.replace(verdict, promoted=False, reason=reason)


def _version(
    schema: EntitySchema, tags: Mapping[str, str], description: str, verdict: gate.Verdict
) -> record.Version:
    """The texts and tags of the version to register."""
    kept = {name: tags[name] for name in (record.CONTENT, record.INPUTS)}
    return record.Version(
        description,
        kept | versions.verdict_tags(verdict),
        describe_model(schema),
    )


def _record(
    task: Task,
    prepared: PreparedTraining,
    trained: TrainedModel,
    files: "RunFiles",
) -> record.Record:
    """The content of the run: parameters, metrics, tags, datasets, artifacts and bundle."""
    data = prepared.training_data
    train, test = data.train, data.test
    metrics = trained.evaluation.metrics.by_name
    if trained.reviewer_agreement:
        metrics |= trained.reviewer_agreement.metrics
    return record.Record(
        parameters={
            **dataclasses.asdict(task.configuration),
            "schema": task.schema.name,
            **_group_parameters(task.schema),
            "unlabelled_rows": 0 if data.unlabelled is None else len(data.unlabelled),
            "encoder": task.encoder,
            **_book_parameters(task.book, trained),
            **_base_parameters(prepared.base),
        },
        metrics=metrics,
        tags={
            record.CONTENT: files.content,
            record.INPUTS: inputs_hash(task, prepared),
            record.DATA_FINGERPRINT: train.fingerprint,
            **_commit(),
        },
        datasets=[
            record.Dataset("training", task.data, len(train), train.fingerprint),
            record.Dataset("test", task.test or task.data, len(test), test.fingerprint),
        ],
        artifacts=files.artifacts,
        schema=task.schema,
        bundle=files.bundle,
    )


def _base_parameters(base: Model | None) -> Mapping[str, object]:
    """The URI of the base, and the first digits of the hash of its content."""
    return {} if base is None else {"base": base.uri, "base_content": base.identity["content"]}


def _group_parameters(schema: EntitySchema) -> Mapping[str, object]:
    """The names of the kinds, attributes and exclusive groups of a schema that has groups."""
    groups = schema.groups
    named = {
        "kinds": [name for name, group in groups.items() if group.role is Role.KIND],
        "attributes": [name for name, group in groups.items() if group.role is Role.ATTRIBUTE],
        "exclusive_groups": [name for name, group in groups.items() if group.exclusive],
    }
    return {parameter: ", ".join(names) for parameter, names in named.items() if names}


def _book_parameters(book: LabelBook | None, trained: TrainedModel) -> Mapping[str, int]:
    """The sizes of the label book: its labels, and the labels of the model without rows."""
    if book is None:
        return {}
    without_rows = int((trained.frequency == 0).sum())
    return {"book_labels": len(book), "labels_without_rows": without_rows}


def _commit() -> Mapping[str, str]:
    """A tag with the Git commit of the source code; empty if the code is not in a Git checkout."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": found.stdout.strip()}

"""The training job: read, split, fit, evaluate, record, register, and promote or refuse."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.entities.errors import OutdatedBundleError, StorageError, reason
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.io.readers import SAME_NAMES
from labelwright.entities.schema import EntitySchema
from labelwright.models.bundle import golden
from labelwright.models.bundle.format import read_bundle, write_bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.features.fingerprints import content_fingerprints
from labelwright.models.labeler import Labeler
from labelwright.models.monitoring.profile import Profile
from labelwright.models.registry import CHAMPION, load_model
from labelwright.training.data import LabelledEntities, read_labelled
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.metrics import Evaluation, evaluate
from labelwright.training.evaluation.reviewer_agreement import (
    Agreement,
    ReviewerAgreement,
    compare_with_corrections,
)
from labelwright.training.feedback.merge import TrainingData, with_corrections, without_corrections
from labelwright.training.feedback.votes import read_corrections
from labelwright.training.fitting.fit import Configuration, Progress, fit_labeler, no_progress
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.description import describe
from labelwright.training.reporting.markdown import code
from labelwright.training.reporting.summary import summary
from labelwright.training.tracking import environment, gate, record, runs, versions

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo


@dataclasses.dataclass(frozen=True)
class Task:
    """What to train on, and under which name to register it; no test files means a split.

    `columns` says what the files call the columns of the schema. `feedback` names the corrections
    to learn from: a database, or a file that was exported. For `memory`, in bytes, see
    `training.fitting.spill`.
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


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a training. `seconds` is wall time from reading the data to the last step.

    `agreements` with reviewers there are where there were corrections to learn from.
    """

    registered: record.Registered
    evaluation: Evaluation
    verdict: gate.Verdict
    warnings: Sequence[str]
    seconds: float
    agreements: Sequence[Agreement] = ()


@dataclasses.dataclass(frozen=True)
class PreparedTraining:
    """What was read for a task, since when by `time.time()`, and by `time.perf_counter()`."""

    training_data: TrainingData
    since: float
    started: float


def train(task: Task, progress: Progress = no_progress) -> Outcome:
    """Run the whole job; raises DataError, RegistryError or StorageError."""
    return complete(task, prepare(task, progress), progress)


def prepare(task: Task, progress: Progress = no_progress) -> PreparedTraining:
    """Read what there is to learn from; raises the same."""
    started, since = time.perf_counter(), time.time()
    record.check_name(task.name)
    versions.current_champion(task.name)  # a registry that is down is better known at once
    training_data = _read(task)
    progress("reading", 1.0)
    return PreparedTraining(training_data, since, started)


def complete(task: Task, prepared: PreparedTraining, progress: Progress = no_progress) -> Outcome:
    """Learn from it, and the rest; raises the same.

    The run in MLflow begins when there is something to record. A version is made when all that
    belongs to it has been stored and judged, so that none is ever there by half.
    """
    training_data, started = prepared.training_data, prepared.started
    data, test = training_data.train, training_data.test
    warnings = [*data.warnings, *_left_behind(task.name)]
    labeler = fit_labeler(data, task.configuration, progress, task.memory)
    predictions, truth = label_with_truth(labeler, test, LabelQuery(), task.configuration.threads)
    evaluation = evaluate(predictions, truth)
    reviewed = _reviewed(task, training_data, labeler)
    progress("evaluation", 1.0)
    trained = TrainedModel(
        name=task.name,
        version=importlib.metadata.version("labelwright"),
        labeler=labeler,
        train=data,
        test=test,
        predictions=predictions,
        evaluation=evaluation,
        configuration=task.configuration,
        warnings=data.warnings,
        test_files=[locate(where).name for where in task.test],
        reviewed=reviewed,
    )
    with temporary_folder() as folder:
        tables, run_record = _record(task, training_data, trained, folder)
        experiment_id = runs.experiment_id_of(task.name)
        with runs.active_run(experiment_id, since=prepared.since) as run:
            run.log(metrics={"seconds": time.perf_counter() - started})
            wheel = environment.find_wheel()
            warnings += wheel.warnings
            model = record.write_run(run, run_record, wheel.path)
            progress("record", 1.0)
            with versions.promotion_lock():
                verdict = _judge(task, versions.current_champion(task.name), labeler, test)
                decided = verdict if task.promote else _unused(verdict)
                description = describe(trained, tables, decided, experiment_id, run.id)
                registered = _register(task, run, model, run_record, description, verdict)
    progress("promotion", 1.0)
    seconds = time.perf_counter() - started
    agreements = reviewed.agreements if reviewed else ()
    return Outcome(registered, evaluation, decided, warnings, seconds, agreements)


def inputs_hash(task: Task, training_data: TrainingData) -> str:
    """A hash of all that a training depends on: rows, configuration, schema and this program.

    Corrections count by what they settle: another vote for what is settled already is no change.
    """
    parts = (training_data.train, training_data.test, training_data.unseen)
    content = {
        "rows": [None if part is None else part.fingerprint for part in parts],
        "configuration": dataclasses.asdict(task.configuration) | {"threads": 0},
        "schema": task.schema.to_mapping(),
        "version": importlib.metadata.version("labelwright"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _register(
    task: Task,
    run: runs.Run,
    model: "ModelInfo",
    run_record: record.Record,
    description: str,
    verdict: gate.Verdict,
) -> record.Registered:
    """Make the version, and the champion of it if it is to be."""
    run.log(tags={record.DESCRIPTION: description})
    version = record.Version(
        description,
        {name: run_record.tags[name] for name in (record.CONTENT, record.INPUTS)}
        | versions.verdict_tags(verdict),
        f"Gives labels to entities of the schema {code(task.schema.name)}. The alias "
        f"{code(CHAMPION)} names the version in use; each version says how it was judged.",
    )
    registered = record.register(run, task.name, model, version)
    if verdict.promoted and task.promote:
        versions.make_champion(task.name, registered.version)
    return registered


def _unused(verdict: gate.Verdict) -> gate.Verdict:
    return gate.Verdict(False, f"--no-promote was given; judged: {verdict.reason}")


def _left_behind(name: str) -> list[str]:
    """What earlier trainings have left that did not come to their end."""
    lost = [run.run_id for run in runs.unfinished_runs() if run.experiment == name]
    return [
        f"run {run_id} of an earlier training was cut short: `labelwright prune {name}` clears it "
        "away"
        for run_id in lost
    ]


def _read(task: Task) -> TrainingData:
    data = read_labelled(task.data, task.schema, task.columns)
    test = read_labelled(task.test, task.schema, task.columns) if task.test else None
    if task.feedback is None:
        return without_corrections(data, test)
    reviews = read_corrections(task.feedback, task.name, task.schema)
    training_data = with_corrections(data, test, reviews)
    warnings = [*data.warnings, *reviews.settled.warnings]
    return dataclasses.replace(
        training_data, train=dataclasses.replace(training_data.train, warnings=warnings)
    )


def _reviewed(
    task: Task, training_data: TrainingData, labeler: Labeler
) -> ReviewerAgreement | None:
    """What the corrections changed since the champion, if there is one that reads the same."""
    if training_data.corrections is None:
        return None
    version, champion = versions.current_champion(task.name), None
    if version is not None:
        with contextlib.suppress(OutdatedBundleError):
            champion = load_model(f"models:/{task.name}/{version}").bundle.labeler
    if champion is None or champion.schema.columns != labeler.schema.columns:
        version, champion = None, None
    threads = task.configuration.threads
    compared = compare_with_corrections(labeler, champion, training_data, threads)
    return ReviewerAgreement(training_data.corrections, version, compared)


def _judge(
    task: Task, champion: str | None, labeler: Labeler, test: LabelledEntities
) -> gate.Verdict:
    if champion is None:
        return gate.FIRST_VERSION
    try:
        current = load_model(f"models:/{task.name}/{champion}").bundle.labeler
    except OutdatedBundleError as error:
        return gate.Verdict(True, f"the champion cannot serve any more: {error}")
    if current.schema.columns != labeler.schema.columns:
        return gate.Verdict(
            False,
            "the champion reads other columns, so the same rows do not compare them: see "
            "`labelwright diff`, and promote it with --force",
        )
    configuration = task.configuration
    verdict = gate.compare(labeler, current, test, configuration.seed, configuration.threads)
    with temporary_folder() as folder:
        seen = record.training_rows(task.name, champion, folder)
    if seen is None or not (share := np.isin(content_fingerprints(test.entities), seen).mean()):
        return verdict
    note = f"the champion was trained on {share:.1%} of these rows, which favours it"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {note}")


def _record(
    task: Task, training_data: TrainingData, trained: TrainedModel, folder: Path
) -> tuple[ReportTables, record.Record]:
    """Write all files of a run into a folder: the bundle, and what is stored beside it.

    That is the report, the environment, and which rows the model has seen.
    """
    from labelwright.training.reporting.report import (
        write_report,  # drawing takes a second to import
    )

    train, test = trained.train, trained.test
    artifacts = folder / "artifacts"
    tables = write_report(artifacts, trained)
    metrics = dataclasses.asdict(trained.evaluation.metrics)
    details = {
        "name": task.name,
        "rows": len(train),
        "test_rows": len(test),
        "data": train.fingerprint,
        "test_data": test.fingerprint,
        "configuration": dataclasses.asdict(task.configuration),
        "metrics": metrics,
        "report": summary(trained, tables),
    }
    bundle = folder / "bundle"
    profile = Profile.of(trained.labeler, test.entities)
    manifest = write_bundle(trained.labeler, bundle, trained.version, details, profile)
    golden.check(read_bundle(bundle))  # what is registered has been read back once
    try:
        (artifacts / "environment.txt").write_text(_environment(), "utf-8")
        rows = content_fingerprints(train.entities)
        np.save(artifacts / record.TRAINING_ROWS, rows, allow_pickle=False)
    except OSError as error:
        raise StorageError(f"{artifacts} cannot be written to: {reason(error)}") from error
    run_record = record.Record(
        parameters=_parameters(task),
        metrics={**metrics, **(trained.reviewed.metrics if trained.reviewed else {})},
        tags={
            record.CONTENT: manifest.content,
            record.INPUTS: inputs_hash(task, training_data),
            record.DATA_FINGERPRINT: train.fingerprint,
            **_commit(),
        },
        datasets=[
            record.Dataset("training", task.data, len(train), train.fingerprint),
            record.Dataset("test", task.test or task.data, len(test), test.fingerprint),
        ],
        artifacts=artifacts,
        schema=task.schema,
        example=_example(task.schema),
        bundle=bundle,
    )
    return tables, run_record


def _parameters(task: Task) -> Mapping[str, Any]:
    return dataclasses.asdict(task.configuration) | {"schema": task.schema.name}


def _example(schema: EntitySchema) -> Mapping[str, Any]:
    given = {c.name: c.example for c in schema.columns if c.example is not None}
    return given or dict.fromkeys(schema.fields[:1], None)


def _environment() -> str:
    packages = sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())
    return "\n".join([f"python {platform.python_version()}", platform.platform(), *packages, ""])


def _commit() -> Mapping[str, str]:
    """The commit of the checkout that is trained from, where there is one."""
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

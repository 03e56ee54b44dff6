"""The training job: read, split, fit, evaluate, record, register, and promote or refuse."""

import dataclasses
import importlib.metadata
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entities.errors import OutdatedBundleError, StorageError, reason
from entities.locations import Where, locate
from entities.schema import EntitySchema
from models import canned
from models.bundle import read_bundle, write_bundle
from models.decisions import Question
from models.labeler import Labeler
from models.profile import Profile
from models.registry import CHAMPION, load_model
from training import promotion, runs, tracking, versions
from training.data import LabelledEntities, read_labelled, row_hashes, split
from training.description import describe
from training.fit import Configuration, Progress, fit_labeler, silent
from training.judging import judged
from training.markdown import code
from training.metrics import Evaluation, evaluate
from training.subject import Findings, Subject
from training.summary import summary

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo


@dataclasses.dataclass(frozen=True)
class Task:
    """What to train on, and under which name to register it; no test files means a split."""

    data: Sequence[Where]
    test: Sequence[Where]
    schema: EntitySchema
    name: str
    configuration: Configuration
    promote: bool = True


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a training. `seconds` is wall time from reading the data to the last step."""

    registered: tracking.Registered
    evaluation: Evaluation
    verdict: promotion.Verdict
    warnings: Sequence[str]
    seconds: float


def train(task: Task, progress: Progress = silent) -> Outcome:
    """Run the whole job; raises DataError, RegistryError or StorageError.

    The run in MLflow begins when there is something to record. A version is made when all that
    belongs to it has been stored and judged, so that none is ever there by half.
    """
    started, since = time.perf_counter(), time.time()
    tracking.check_name(task.name)
    versions.current_champion(task.name)  # a registry that is down is better known at once
    data, test = _read(task)
    warnings = [*data.warnings, *_left_behind(task.name)]
    progress("reading", 1.0)
    labeler = fit_labeler(data, task.configuration, progress)
    answers, truth = judged(labeler, test, Question(), task.configuration.threads)
    evaluation = evaluate(answers, truth)
    progress("evaluation", 1.0)
    subject = Subject(
        name=task.name,
        version=importlib.metadata.version("labelwright"),
        labeler=labeler,
        train=data,
        test=test,
        answers=answers,
        evaluation=evaluation,
        configuration=task.configuration,
        warnings=data.warnings,
        test_files=[locate(where).name for where in task.test],
    )
    with _working_folder() as folder:
        findings, record = _record(task, subject, Path(folder))
        experiment_id = runs.experiment(task.name)
        with runs.running(experiment_id, since=since) as run:
            run.note(metrics={"seconds": time.perf_counter() - started})
            model = tracking.write_run(run, record)
            progress("record", 1.0)
            with versions.deciding():
                verdict = _judge(task, versions.current_champion(task.name), labeler, test)
                decided = verdict if task.promote else _unused(verdict)
                description = describe(subject, findings, decided, experiment_id, run.id)
                registered = _register(task, run, model, record, description, verdict)
    progress("promotion", 1.0)
    seconds = time.perf_counter() - started
    return Outcome(registered, evaluation, decided, warnings, seconds)


def _register(
    task: Task,
    run: runs.Run,
    model: "ModelInfo",
    record: tracking.Record,
    description: str,
    verdict: promotion.Verdict,
) -> tracking.Registered:
    """Make the version, and the champion of it if it is to be."""
    run.note(tags={tracking.DESCRIPTION: description})
    version = tracking.Version(
        description,
        {tracking.CONTENT: record.tags[tracking.CONTENT]} | versions.tags_of(verdict),
        f"Gives labels to entities of the schema {code(task.schema.name)}. The alias "
        f"{code(CHAMPION)} names the version in use; each version says how it was judged.",
    )
    registered = tracking.register(run, task.name, model, version)
    if verdict.promoted and task.promote:
        versions.make_champion(task.name, registered.version)
    return registered


def _unused(verdict: promotion.Verdict) -> promotion.Verdict:
    return promotion.Verdict(False, f"--no-promote was given; judged: {verdict.reason}")


def _left_behind(name: str) -> list[str]:
    """What earlier trainings have left that did not come to their end."""
    lost = [run.run_id for run in runs.cut_short() if run.experiment == name]
    return [
        f"run {run_id} of an earlier training was cut short: `labelwright prune {name}` clears it "
        "away"
        for run_id in lost
    ]


def _read(task: Task) -> tuple[LabelledEntities, LabelledEntities]:
    data = read_labelled(task.data, task.schema)
    if not task.test:
        train_rows, test_rows = split(data)
        return dataclasses.replace(train_rows, warnings=data.warnings), test_rows
    return data, read_labelled(task.test, task.schema)


def _judge(
    task: Task, champion: str | None, labeler: Labeler, test: LabelledEntities
) -> promotion.Verdict:
    if champion is None:
        return promotion.FIRST
    try:
        current = load_model(f"models:/{task.name}/{champion}").bundle.labeler
    except OutdatedBundleError as error:
        return promotion.Verdict(True, f"the champion cannot serve any more: {error}")
    if current.schema.columns != labeler.schema.columns:
        return promotion.Verdict(
            False,
            "the champion reads other columns, so the same rows do not compare them: see "
            "`labelwright diff`, and promote it with --force",
        )
    configuration = task.configuration
    verdict = promotion.compare(labeler, current, test, configuration.seed, configuration.threads)
    with _working_folder() as folder:
        seen = tracking.training_rows(task.name, champion, Path(folder))
    if seen is None or not (share := np.isin(row_hashes(test.entities), seen).mean()):
        return verdict
    note = f"the champion was trained on {share:.1%} of these rows, which favours it"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {note}")


def _record(task: Task, subject: Subject, folder: Path) -> tuple[Findings, tracking.Record]:
    """Write all files of a run into a folder: the bundle, and what is stored beside it.

    That is the report, the environment, and which rows the model has seen.
    """
    from training.report import write_report  # drawing takes a second to import

    train, test = subject.train, subject.test
    artifacts = folder / "artifacts"
    findings = write_report(artifacts, subject)
    metrics = dataclasses.asdict(subject.evaluation.metrics)
    details = {
        "name": task.name,
        "rows": len(train),
        "test_rows": len(test),
        "data": train.fingerprint,
        "test_data": test.fingerprint,
        "configuration": dataclasses.asdict(task.configuration),
        "metrics": metrics,
        "report": summary(subject, findings),
    }
<<<<<<< HEAD
    bundle, artifacts = folder / "bundle", folder / "artifacts"
    profile = Profile.of(subject.labeler, test.entities)
    manifest = write_bundle(subject.labeler, bundle, subject.version, details, profile)
=======
    bundle = folder / "bundle"
    manifest = write_bundle(subject.labeler, bundle, subject.version, details)
>>>>>>> 4633d61 (feat: a page to try, review and see the model)
    canned.check(read_bundle(bundle))  # what is registered has been read back once
    try:
        (artifacts / "environment.txt").write_text(_environment(), "utf-8")
        rows = row_hashes(train.entities)
        np.save(artifacts / tracking.TRAINING_ROWS, rows, allow_pickle=False)
    except OSError as error:
        raise StorageError(f"{artifacts} cannot be written to: {reason(error)}") from error
    record = tracking.Record(
        parameters=_parameters(task),
        metrics=metrics,
        tags={
            tracking.CONTENT: manifest.content,
            tracking.DATA_FINGERPRINT: train.fingerprint,
            **_commit(),
        },
        datasets=[
            tracking.Dataset("training", task.data, len(train), train.fingerprint),
            tracking.Dataset("test", task.test or task.data, len(test), test.fingerprint),
        ],
        artifacts=artifacts,
        schema=task.schema,
        example=_example(task.schema),
        bundle=bundle,
    )
    return findings, record


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


def _working_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="labelwright-")
    except OSError as error:
        raise StorageError(f"no temporary folder can be made: {reason(error)}") from error

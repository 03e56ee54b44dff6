"""The training job: read, split, fit, evaluate, record, register, and promote or refuse."""

import dataclasses
import importlib.metadata
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entities.errors import StorageError
from entities.schema import EntitySchema
from models.bundle import read_bundle, write_bundle
from models.decisions import Answers, Question
from models.labeler import Labeler
from models.registry import load_model
from training import promotion, tracking, versions
from training.data import LabelledEntities, read_labelled, row_hashes, split
from training.fit import Configuration, Progress, fit_labeler, silent
from training.judging import judged
from training.metrics import Evaluation, evaluate


@dataclasses.dataclass(frozen=True)
class Task:
    """What to train on, and under which name to register it; no test files means a split."""

    data: Sequence[Path]
    test: Sequence[Path]
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
    """Run the whole job; raises DataError, RegistryError or StorageError."""
    started = time.perf_counter()
    tracking.check_name(task.name)
    versions.current_champion(task.name)  # a registry that is down is better known at once
    data, test = _read(task)
    progress("reading", 1.0)
    labeler = fit_labeler(data, task.configuration, progress)
    with _working_folder() as folder:
        answers, truth = judged(labeler, test, Question(), task.configuration.threads)
        evaluation = evaluate(answers, truth)
        progress("evaluation", 1.0)
        metrics = dataclasses.asdict(evaluation.metrics)
        details = _details(task, data, test) | {"metrics": metrics}
        bundle = Path(folder) / "bundle"
        manifest = write_bundle(labeler, bundle, _version(), details)
        read_bundle(bundle)  # what is registered has been read back once
        record = tracking.Record(
            name=task.name,
            parameters=_parameters(task),
            metrics=metrics | {"seconds": time.perf_counter() - started},
            tags={
                tracking.CONTENT: manifest.content,
                tracking.DATA_FINGERPRINT: str(details["data"]),
                "labelwright.version": _version(),
                **_commit(),
            },
            datasets=_datasets(task, data, test),
            artifacts=_artifacts(
                Path(folder) / "artifacts", task, labeler, data, test, answers, evaluation
            ),
            schema=task.schema,
            example=_example(task.schema),
            bundle=bundle,
        )
        registered = tracking.write_run(record)
    progress("record", 1.0)
    verdict = _decide(task, registered.version, labeler, test)
    progress("promotion", 1.0)
    seconds = time.perf_counter() - started
    return Outcome(registered, evaluation, verdict, data.warnings, seconds)


def _read(task: Task) -> tuple[LabelledEntities, LabelledEntities]:
    data = read_labelled(task.data, task.schema)
    if not task.test:
        train_rows, test_rows = split(data)
        return dataclasses.replace(train_rows, warnings=data.warnings), test_rows
    return data, read_labelled(task.test, task.schema)


def _decide(
    task: Task, version: str, labeler: Labeler, test: LabelledEntities
) -> promotion.Verdict:
    """Judge the new version against the champion of this moment, and act on it."""
    with versions.deciding():
        verdict = _judge(task, versions.current_champion(task.name), labeler, test)
        versions.note_verdict(task.name, version, verdict)
        if verdict.promoted and task.promote:
            versions.make_champion(task.name, version)
            return verdict
    if task.promote:
        return verdict
    return promotion.Verdict(False, f"--no-promote was given; judged: {verdict.reason}")


def _judge(
    task: Task, champion: str | None, labeler: Labeler, test: LabelledEntities
) -> promotion.Verdict:
    if champion is None:
        return promotion.FIRST
    current = load_model(f"models:/{task.name}/{champion}").bundle.labeler
    configuration = task.configuration
    verdict = promotion.compare(labeler, current, test, configuration.seed, configuration.threads)
    with _working_folder() as folder:
        seen = tracking.training_rows(task.name, champion, Path(folder))
    if seen is None or not (share := np.isin(row_hashes(test.entities), seen).mean()):
        return verdict
    note = f"the champion was trained on {share:.1%} of these rows, which favours it"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {note}")


def _details(task: Task, data: LabelledEntities, test: LabelledEntities) -> dict[str, Any]:
    return {
        "name": task.name,
        "rows": len(data),
        "test_rows": len(test),
        "data": data.fingerprint,
        "test_data": test.fingerprint,
        "configuration": dataclasses.asdict(task.configuration),
    }


def _parameters(task: Task) -> Mapping[str, Any]:
    return dataclasses.asdict(task.configuration) | {"schema": task.schema.name}


def _example(schema: EntitySchema) -> Mapping[str, Any]:
    given = {c.name: c.example for c in schema.columns if c.example is not None}
    return given or dict.fromkeys(schema.fields[:1], None)


def _datasets(
    task: Task, data: LabelledEntities, test: LabelledEntities
) -> Sequence[tracking.Dataset]:
    return [
        tracking.Dataset("training", task.data, data.fingerprint),
        tracking.Dataset("test", task.test or task.data, test.fingerprint),
    ]


def _artifacts(
    folder: Path,
    task: Task,
    labeler: Labeler,
    data: LabelledEntities,
    test: LabelledEntities,
    answers: Answers,
    evaluation: Evaluation,
) -> Path:
    """The files of a run beside the model: its report, its environment, the rows it has seen."""
    from training.report import Subject, write_report  # drawing takes a second to import

    subject = Subject(
        name=task.name,
        version=_version(),
        labeler=labeler,
        train=data,
        test=test,
        answers=answers,
        evaluation=evaluation,
        configuration=task.configuration,
        warnings=data.warnings,
        test_files=[path.name for path in task.test],
    )
    write_report(folder, subject)
    (folder / "environment.txt").write_text(_environment(), "utf-8")
    np.save(folder / tracking.TRAINING_ROWS, row_hashes(data.entities), allow_pickle=False)
    return folder


def _version() -> str:
    return importlib.metadata.version("labelwright")


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
        raise StorageError(f"no temporary folder can be made: {error.strerror}") from error

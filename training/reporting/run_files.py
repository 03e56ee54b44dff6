"""Files of a training run: the report, the environment, the training rows and the bundle."""

import dataclasses
import importlib.metadata
import platform
from pathlib import Path

from labelwright.entities.errors import StorageError, reason
from labelwright.models.bundle.format import read_bundle, write_bundle
from labelwright.models.monitoring.profile import Profile
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.report import write_report
from labelwright.training.reporting.summary import summary
from labelwright.training.tracking.stored_rows import write_training_rows


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The written files of a run.

    `artifacts` is a folder, `bundle` the folder of the bundle, and `content` the bundle's hash.
    `tables` are the tables of the report.
    """

    artifacts: Path
    bundle: Path
    content: str
    tables: ReportTables


def write_run_files(folder: Path, trained: TrainedModel) -> RunFiles:
    """Write all files of a run into a folder; raises StorageError."""
    artifacts, bundle = folder / "artifacts", folder / "bundle"
    tables = write_report(artifacts, trained)
    content = _write_bundle(bundle, trained, tables)
    try:
        (artifacts / "environment.txt").write_text(_environment(), "utf-8")
        write_training_rows(artifacts, trained.train)
    except OSError as error:
        raise StorageError(
            f"{artifacts} cannot be written: {reason(error)}; free disk space, or set TMPDIR to "
            "another folder"
        ) from error
    return RunFiles(artifacts, bundle, content, tables)


def _write_bundle(folder: Path, trained: TrainedModel, tables: ReportTables) -> str:
    """Write the bundle, check that it can be read back, and return the hash of its content."""
    details = {
        "name": trained.name,
        "rows": len(trained.train),
        "test_rows": len(trained.test),
        "data": trained.train.fingerprint,
        "test_data": trained.test.fingerprint,
        "configuration": dataclasses.asdict(trained.configuration),
        "metrics": trained.evaluation.metrics.by_name,
        "report": summary(trained, tables),
    }
    profile = Profile.of(trained.labeler, trained.test.entities)
    manifest = write_bundle(trained.labeler, folder, trained.version, details, profile)
    written = read_bundle(folder)
    written.golden.check(written.labeler)
    return manifest.content


def _environment() -> str:
    """The versions of Python, of the platform and of all installed packages."""
    packages = sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())
    return "\n".join([f"python {platform.python_version()}", platform.platform(), *packages, ""])

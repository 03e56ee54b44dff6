"""The report of a training: a model card with its tables and pictures, in one folder."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from labelwright.entities.errors import StorageError, reason
from labelwright.models.decisions import NEVER, PRECISE, LabelQuery
from labelwright.training.evaluation.mistakes import confusions, mistakes
from labelwright.training.evaluation.precision import kept_promises
from labelwright.training.evaluation.slices import metrics_by_slice
from labelwright.training.reporting.card import model_card
from labelwright.training.reporting.contents import Findings, Subject
from labelwright.training.reporting.plots import write_plots

CONFUSED = 20
"""So many confused pairs are shown."""


def write_report(folder: Path, subject: Subject) -> Findings:
    """Write the report into a folder, which is made where there is none; raises StorageError."""
    predictions, truth, entities = subject.predictions, subject.truth, subject.test.entities
    threads, seed = subject.configuration.threads, subject.configuration.seed
    findings = Findings(
        slices=metrics_by_slice(predictions, truth, entities, subject.frequency, seed),
        per_label=_per_label(subject),
        confused=confusions(predictions, truth, CONFUSED),
        promises=kept_promises(predictions, truth, subject.labeler.decisions),
    )
    tables = {
        "promises": findings.promises,
        "slices": findings.slices,
        "per_label": findings.per_label,
        "mistakes": mistakes(subject.labeler, entities, predictions, truth, threads),
    }
    if subject.reviewed is not None:
        tables["corrections"] = subject.reviewed.compared
    try:
        plots = folder / "plots"
        plots.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            pyarrow.csv.write_csv(table, folder / f"{name}.csv")
        write_plots(plots, predictions, truth, findings.per_label, findings.confused)
        (folder / "model_card.md").write_text(model_card(subject, findings), "utf-8")
    except OSError as error:
        raise StorageError(f"the report was not written: {reason(error)}") from error
    return findings


def _per_label(subject: Subject) -> pa.Table:
    precise = subject.labeler.decisions.thresholds(LabelQuery(policy=PRECISE))
    table = subject.evaluation.per_label.add_column(1, "training_rows", pa.array(subject.frequency))
    return table.append_column(PRECISE, pa.array(precise, mask=precise == NEVER))

"""Writing of a report into a folder: model card, tables and plots."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from labelwright.entities.errors import StorageError, reason
from labelwright.models.decisions import NEVER, PRECISE, LabelQuery
from labelwright.training.evaluation.mistakes import confusions, mistakes
from labelwright.training.evaluation.precision import measure_guarantees
from labelwright.training.evaluation.slices import metrics_by_slice
from labelwright.training.reporting.card import model_card
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.plots import write_plots

MAX_CONFUSIONS = 20
"""Maximum number of pairs of confused labels in a report."""


def write_report(folder: Path, trained: TrainedModel) -> ReportTables:
    """Write a report into a folder, which is created if necessary; raises StorageError."""
    predictions, truth, entities = trained.predictions, trained.truth, trained.test.entities
    threads, seed = trained.configuration.threads, trained.configuration.seed
    tables = ReportTables(
        slices=metrics_by_slice(predictions, truth, entities, trained.frequency, seed),
        per_label=_per_label(trained),
        confused=confusions(predictions, truth, MAX_CONFUSIONS),
        guarantees=measure_guarantees(predictions, truth, trained.labeler.decisions),
    )
    files = {
        "promises": tables.guarantees,
        "slices": tables.slices,
        "per_label": tables.per_label,
        "mistakes": mistakes(trained.labeler, entities, predictions, truth, threads),
    }
    if trained.reviewer_agreement is not None:
        files["corrections"] = trained.reviewer_agreement.compared
    try:
        plots = folder / "plots"
        plots.mkdir(parents=True, exist_ok=True)
        for name, table in files.items():
            pyarrow.csv.write_csv(table, folder / f"{name}.csv")
        write_plots(plots, predictions, truth, tables.per_label, tables.confused)
        (folder / "model_card.md").write_text(model_card(trained, tables), "utf-8")
    except OSError as error:
        raise StorageError(
            f"the report was not written: {reason(error)}; free disk space, or name another folder "
            "with TMPDIR"
        ) from error
    return tables


def _per_label(trained: TrainedModel) -> pa.Table:
    precise = trained.labeler.decisions.thresholds(LabelQuery(policy=PRECISE))
    table = trained.evaluation.per_label.add_column(1, "training_rows", pa.array(trained.frequency))
    return table.append_column(PRECISE, pa.array(precise, mask=precise == NEVER))

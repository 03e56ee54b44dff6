"""Description of a run and of its registered version in MLflow: a short form of the model card."""

from collections.abc import Iterator

from labelwright.entities.schema import EntitySchema
from labelwright.models.registry import CHAMPION
from labelwright.training.evaluation.reviewer_agreement import Agreement
from labelwright.training.evaluation.slices import weak
from labelwright.training.reporting.card import describe_slice, metric_rows
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.limits import limits
from labelwright.training.reporting.markdown import code, items, plain
from labelwright.training.tracking.gate import Verdict

MAX_LENGTH = 5_000
"""Maximum length of a version's description in MLflow's databases, in characters."""
MAX_LISTED = 5
"""Maximum number of weak slices."""
FILES = {
    "model_card.md": "model card",
    "plots/reliability.png": "calibration",
    "plots/precision_recall.png": "precision and recall",
    "plots/frequency_f1.png": "F1 of rare and common labels",
    "plots/confusions.png": "confused pairs",
    "per_label.csv": "all labels",
    "slices.csv": "all slices",
    "promises.csv": "precision guarantees",
    "mistakes.csv": "most confident mistakes",
}


def describe(
    trained: TrainedModel, tables: ReportTables, verdict: Verdict, experiment_id: str, run_id: str
) -> str:
    """Markdown text of at most MAX_LENGTH characters; if it is longer, the last parts are left out.

    The text has links to the run's artifacts. They are relative to the address of the MLflow UI.
    """
    text = ""
    for part in _parts(trained, tables, verdict, f"#/experiments/{experiment_id}/runs/{run_id}"):
        if len(text) + len(part) + 2 > MAX_LENGTH:
            break
        text += f"{part}\n\n"
    return text.rstrip()


def describe_model(schema: EntitySchema) -> str:
    """Markdown text about a registered model, which is true for all its versions."""
    return (
        f"Labels entities of the schema {code(schema.name)}. The alias {code(CHAMPION)} names the "
        "version in use. The description of each version gives the verdict of the promotion gate."
    )


def _parts(
    trained: TrainedModel, tables: ReportTables, verdict: Verdict, run: str
) -> Iterator[str]:
    decision = "Promoted" if verdict.promoted else "Not promoted"
    yield f"{decision}: {plain(verdict.reason)[: MAX_LENGTH // 4]}."
    links = (f"[{title}]({run}/artifacts/{file})" for file, title in FILES.items())
    yield (
        f"Labels entities of the schema {code(trained.labeler.schema.name)}; it knows "
        f"{len(trained.labeler.labels):,} labels. Trained on {len(trained.train):,} rows and "
        f"measured on {len(trained.test):,} others. Files of the run: {', '.join(links)}."
    )
    if trained.reviewer_agreement is not None:
        unseen, learned = trained.reviewer_agreement.agreements
        yield (
            f"Agrees with {_agreed(unseen)} verdicts of reviewers on held-out entities, and with "
            f"{_agreed(learned)} on entities it was trained on: "
            f"[all verdicts]({run}/artifacts/corrections.csv)."
        )
    yield "### Quality"
    yield items([f"{name} **{value}**: {meaning}" for name, value, meaning in metric_rows(trained)])
    worst = weak(tables.slices)
    if len(worst):
        yield "### Weak slices"
        overall = tables.slices["micro_f1"][0].as_py()
        yield f"Micro-F1 below that of all rows ({overall:.3f}) by more than chance explains:"
        yield items([describe_slice(part) for part in worst.slice(0, MAX_LISTED).to_pylist()])
    yield "### Known limits"
    yield items(limits(trained, tables))


def _agreed(part: Agreement) -> str:
    """A phrase with the number of verdicts that the new model and the champion agree with."""
    before = "" if part.before is None else f" (the champion with {part.before:,})"
    return f"{part.after:,} of {part.verdicts:,}{before}"

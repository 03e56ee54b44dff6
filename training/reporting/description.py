"""What MLflow's pages say of a model: the gist of its card, short enough for them."""

from collections.abc import Iterator

from labelwright.training.evaluation.reviewer_agreement import Agreement
from labelwright.training.evaluation.slices import weak
from labelwright.training.reporting.card import describe_slice, metric_rows
from labelwright.training.reporting.contents import ReportTables, TrainedModel
from labelwright.training.reporting.limits import limits
from labelwright.training.reporting.markdown import code, items, plain
from labelwright.training.tracking.gate import Verdict

MAX_LENGTH = 5_000
"""MLflow's databases keep so many characters of a version's description."""
MAX_LISTED = 5
"""So many weak slices are named."""
FILES = {
    "model_card.md": "the whole card",
    "plots/reliability.png": "calibration",
    "plots/precision_recall.png": "precision and recall",
    "plots/frequency_f1.png": "F1 of rare and common labels",
    "plots/confusions.png": "confused pairs",
    "per_label.csv": "every label",
    "slices.csv": "every slice",
    "promises.csv": "every promise of precision",
    "mistakes.csv": "the most confident mistakes",
}


def describe(
    trained: TrainedModel, tables: ReportTables, verdict: Verdict, experiment_id: str, run_id: str
) -> str:
    """Markdown of at most MAX_LENGTH characters; the last parts are left out where it is longer.

    Its links lead to the run's artifacts in whatever MLflow UI shows it.
    """
    text = ""
    for part in _parts(trained, tables, verdict, f"#/experiments/{experiment_id}/runs/{run_id}"):
        if len(text) + len(part) + 2 > MAX_LENGTH:
            break
        text += f"{part}\n\n"
    return text.rstrip()


def _parts(
    trained: TrainedModel, tables: ReportTables, verdict: Verdict, run: str
) -> Iterator[str]:
    judged = "Promoted" if verdict.promoted else "Not promoted"
    yield f"{judged}: {plain(verdict.reason)[: MAX_LENGTH // 4]}."
    links = (f"[{what}]({run}/artifacts/{file})" for file, what in FILES.items())
    yield (
        f"Gives labels ({len(trained.labeler.labels):,}) to entities of the schema "
        f"{code(trained.labeler.schema.name)}, learned from {len(trained.train):,} rows and "
        f"measured on {len(trained.test):,} others. In the run: {', '.join(links)}."
    )
    if trained.reviewed is not None:
        unseen, learned = trained.reviewed.agreements
        yield (
            f"Of the verdicts of reviewers it agrees with {_agreed(unseen)} on corrected entities "
            f"held out, and {_agreed(learned)} on those learned from: "
            f"[every verdict]({run}/artifacts/corrections.csv)."
        )
    yield "### How good it is"
    yield items([f"{name} **{value}**: {meaning}" for name, value, meaning in metric_rows(trained)])
    worst = weak(tables.slices)
    if len(worst):
        yield "### Where it is weak"
        overall = tables.slices["micro_f1"][0].as_py()
        yield f"Micro-F1, where it is below that of all rows ({overall:.3f}) by more than chance:"
        yield items([describe_slice(part) for part in worst.slice(0, MAX_LISTED).to_pylist()])
    yield "### Known limits"
    yield items(limits(trained, tables))


def _agreed(part: Agreement) -> str:
    """With how many verdicts of reviewers a model agrees, in words."""
    before = "" if part.before is None else f" ({part.before:,} before)"
    return f"{part.after:,} of {part.verdicts:,}{before}"

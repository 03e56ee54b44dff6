"""Evaluate a model on labelled data: ranking, F-measures, calibration, and each label.

P@k is in percent. F-measures and the expected calibration error (ece) are between 0 and 1. With
fewer than 3,000 rows, each figure has the margin of its 95% interval (29.4 ± 11.2). The last table
has the measured precision for each precision guarantee.
"""

import argparse
import json
from typing import TYPE_CHECKING

from labelwright.commands import options

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.training.evaluation.metrics import Evaluation


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_model(parser, required=True)
    options.add_data(parser)
    options.add_policy(parser)
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate the model and print the tables."""
    from labelwright.entities.io.label_columns import EmptyLabels
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.registry import load_model
    from labelwright.training.data import read_labelled
    from labelwright.training.evaluation.evaluate import label_with_truth
    from labelwright.training.evaluation.margins import evaluate_with_margins
    from labelwright.training.evaluation.precision import measure_guarantees

    labeler = load_model(arguments.model).bundle.labeler
    columns = options.column_names(arguments)
    data = read_labelled(
        options.locations(arguments.data),
        labeler.schema,
        columns,
        empty_labels=EmptyLabels(arguments.empty_labels),
    )
    options.warn(data.warnings)
    query = LabelQuery(policy=arguments.policy, min_precision=arguments.min_precision)
    labeler.check(query)
    predictions, truth = label_with_truth(labeler, data, query, arguments.threads)
    evaluation = evaluate_with_margins(
        predictions, truth, data.entities, labeler.one_exclusive_group
    )
    _print(evaluation)
    _print_guarantees(measure_guarantees(predictions, truth, labeler.decisions))
    if arguments.json:
        metrics = evaluation.metrics.by_name
        print(json.dumps({**metrics, "margins": evaluation.margins}))


def _print(evaluation: "Evaluation") -> None:
    from labelwright.training.evaluation.metrics import TOO_FEW

    rows = sorted(evaluation.per_label.to_pylist(), key=lambda row: -row["entities"])
    width = max([len(row["label"]) for row in rows] + [5])
    print(f"{'label':{width}}  entities  asserted  precision  recall     f1")
    for row in rows:
        figures = (_figure(row[name]) for name in ("precision", "recall", "f1"))
        print(
            f"{row['label']:{width}}  {row['entities']:8,}  {row['asserted']:8,}  "
            "{:>9}  {:>6}  {:>5}".format(*figures)
        )
    print()
    metrics = evaluation.metrics.distinct
    width = max(map(len, metrics))
    for name, value in metrics.items():
        text = f"{value:,}" if name == "rows" else evaluation.with_margin(name, 4)
        print(f"{name:{width}} {text}")
    if not evaluation.quotable:
        print(f"the rows are {TOO_FEW}")


def _print_guarantees(guarantees: "pa.Table") -> None:
    print(
        "\npromise  labels  asserted  precision  from     to       recall  labels that fall short"
    )
    for line in guarantees.to_pylist():
        precision, low, high = (_figure(line[name]) for name in ("precision", "low", "high"))
        print(
            f"{line['promise']:7.2f}  {line['labels']:6,}  {line['asserted']:8,}  {precision:9}  "
            f"{low:7}  {high:7}  {line['recall']:6.3f}  {line['broken']:,}"
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

"""Compare two models: labels, thresholds and metrics, and with --data their predictions.

A label of an entity is added if only NEW asserts it, and removed if only OLD asserts it. It is
changed if both or neither assert it, but its probability differs by more than 0.1. The data needs
no labels.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from labelwright.commands import options

if TYPE_CHECKING:
    from labelwright.models.labeler import Labeler
    from labelwright.training.evaluation.diff import Example, ModelChanges, PredictionChanges


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("old", metavar="OLD", help="model URI")
    parser.add_argument("new", metavar="NEW", help="model URI")
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="Parquet (a file or a folder), CSV, JSON Lines or GeoJSON to label with both models",
    )
    options.add_map(parser)
    parser.add_argument(
        "--examples",
        type=options.positive,
        default=5,
        metavar="N",
        help="number of examples of each kind (default: 5)",
    )
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare the models and print the differences."""
    from labelwright.models.registry import load_model
    from labelwright.training.evaluation.diff import model_changes

    old, new = load_model(arguments.old).bundle, load_model(arguments.new).bundle
    changes = model_changes(old, new)
    _print_models(changes)
    summary: dict[str, Any] = dataclasses.asdict(changes)
    if arguments.data:
        predictions = _prediction_changes(arguments, old.labeler, new.labeler)
        _print_predictions(predictions)
        summary["answers"] = {
            **{name: getattr(predictions, name) for name in ("rows", "rejected", "differing")},
            "per_label": predictions.per_label.to_pylist(),
            "examples": {
                kind: [dataclasses.asdict(example) for example in examples]
                for kind, examples in predictions.examples.items()
            },
        }
    else:
        print("predictions --data PATH compares the predictions of both models on your rows")
    if arguments.json:
        print(json.dumps(summary))


def _prediction_changes(
    arguments: argparse.Namespace, old: "Labeler", new: "Labeler"
) -> "PredictionChanges":
    from labelwright.entities.io.readers import count_rows
    from labelwright.training.evaluation.diff import prediction_changes

    paths = options.locations(arguments.data)
    counts = [count_rows(path) for path in paths]
    total = None if None in counts else sum(count or 0 for count in counts)
    with tqdm(total=total, unit="row", unit_scale=True, disable=None, leave=False) as bar:
        columns = options.column_names(arguments)
        return prediction_changes(
            old, new, paths, arguments.examples, arguments.threads, bar.update, columns
        )


def _print_models(changes: "ModelChanges") -> None:
    labels = changes.labels
    print(
        f"labels      {labels.shared:,} in both, {len(labels.only_old):,} only in OLD, "
        f"{len(labels.only_new):,} only in NEW"
    )
    for sign, names in (("-", labels.only_old), ("+", labels.only_new)):
        for name in names:
            print(f"            {sign} {name}")
    if changes.schema:
        print("schema      differs: each model reads the data with its own schema")
        for sentence in changes.schema:
            print(f"            {sentence}")
    for policy, change in changes.thresholds.items():
        print(
            f"thresholds  {policy}: {_span(change.old)} -> {_span(change.new)}, "
            f"{change.labels:,} labels differ"
        )
    width = max(map(len, changes.metrics), default=0)
    for name, (before, after) in changes.metrics.items():
        print(f"{'metrics' if name == next(iter(changes.metrics)) else '':12}", end="")
        print(f"{name:{width}} {_figure(before)} -> {_figure(after)}")
    if changes.metrics and not changes.same_test:
        print("            not comparable: measured on different test rows")


def _print_predictions(changes: "PredictionChanges") -> None:
    rejected = f", {changes.rejected:,} rejected rows left out" if changes.rejected else ""
    print(
        f"predictions {changes.differing:,} of {changes.rows:,} rows differ{rejected}: "
        + ", ".join(f"{changes.total(kind):,} {kind}" for kind in changes.examples)
    )
    if not len(changes.per_label):
        return
    print()
    rows = changes.per_label.to_pylist()
    width = max([len(row["label"]) for row in rows] + [5])
    print(f"{'label':{width}}  {'  '.join(f'{kind:>8}' for kind in changes.examples)}")
    for row in rows:
        print(
            f"{row['label']:{width}}  {'  '.join(f'{row[kind]:8,}' for kind in changes.examples)}"
        )
    for kind, examples in changes.examples.items():
        if examples:
            print(f"\n{kind}: the largest differences")
            _print_examples(examples)


def _print_examples(examples: "Sequence[Example]") -> None:
    for example in examples:
        name = "" if example.name is None else f"  {example.name}"
        print(
            f"  {_figure(example.old)} -> {_figure(example.new)}  "
            f"{example.label}  {example.id}{name}"
        )


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f}" if ends[0] == ends[1] else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _figure(value: float | None) -> str:
    if value is None:
        return "    -"
    return f"{value:,}" if isinstance(value, int) else f"{value:5.3f}"

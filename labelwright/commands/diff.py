"""Compare two models: labels, thresholds and metrics, and with --data the answers they give.

An answer is added where only NEW asserts the label, removed where only OLD does, and changed where
both or neither do but the probability has moved by more than 0.1. The data needs no labels.
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
    """State the options."""
    parser.add_argument("old", metavar="OLD", help="model URI")
    parser.add_argument("new", metavar="NEW", help="model URI")
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="Parquet (a file or a folder), CSV, JSON Lines or GeoJSON that both models label",
    )
    options.add_map(parser)
    parser.add_argument(
        "--examples",
        type=options.positive,
        default=5,
        metavar="N",
        help="how many examples of each kind to show (default: 5)",
    )
    options.add_threads(parser)
    options.add_json(parser)


def run(given: argparse.Namespace) -> None:
    """Compare and print."""
    from labelwright.models.registry import load_model
    from labelwright.training.evaluation.diff import model_changes

    old, new = load_model(given.old).bundle, load_model(given.new).bundle
    changes = model_changes(old, new)
    _print_models(changes)
    summary: dict[str, Any] = dataclasses.asdict(changes)
    if given.data:
        predictions = _answers(given, old.labeler, new.labeler)
        _print_answers(predictions)
        summary["answers"] = {
            **{name: getattr(predictions, name) for name in ("rows", "rejected", "differing")},
            "per_label": predictions.per_label.to_pylist(),
            "examples": {
                kind: [dataclasses.asdict(example) for example in examples]
                for kind, examples in predictions.examples.items()
            },
        }
    else:
        print("answers     --data PATH shows on which rows the models answer differently")
    if given.json:
        print(json.dumps(summary))


def _answers(given: argparse.Namespace, old: "Labeler", new: "Labeler") -> "PredictionChanges":
    from labelwright.entities.io.readers import count_rows
    from labelwright.training.evaluation.diff import prediction_changes

    paths = options.locations(given.data)
    counts = [count_rows(path) for path in paths]
    total = None if None in counts else sum(count or 0 for count in counts)
    with tqdm(total=total, unit="row", unit_scale=True, disable=None, leave=False) as bar:
        columns = options.column_names(given)
        return prediction_changes(
            old, new, paths, given.examples, given.threads, bar.update, columns
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
        print("schema      differs: the data is read by each model's own")
        for sentence in changes.schema:
            print(f"            {sentence}")
    for policy, change in changes.thresholds.items():
        print(
            f"thresholds  {policy}: {_span(change.old)} -> {_span(change.new)}, "
            f"{change.labels:,} labels differ"
        )
    for name, (before, after) in changes.metrics.items():
        print(f"{'metrics' if name == next(iter(changes.metrics)) else '':12}", end="")
        print(f"{name:9} {_figure(before)} -> {_figure(after)}")
    if changes.metrics and not changes.same_test:
        print("            not measured on the same test rows")


def _print_answers(changes: "PredictionChanges") -> None:
    rejected = f", {changes.rejected:,} left out as rejected" if changes.rejected else ""
    print(
        f"answers     {changes.differing:,} of {changes.rows:,} rows have other labels{rejected}: "
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
            print(f"\n{kind}: the largest moves")
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

"""Measure how a model depends on the number of rows, on the seed, and on each column.

The study fits models on 10, 25, 50 and 100% of the training rows, with several seeds on all rows,
and without each column in turn. Every fit is a run of the experiment NAME-study; no model is
registered. The intervals show the effect of another seed, not the effect of other test rows. Ctrl-C
ends the study and prints the results of the finished fits.
"""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from tqdm import tqdm

from labelwright.commands import options

if TYPE_CHECKING:
    from labelwright.training.experiments.study import Study

_TITLES = {
    "p_at_1": "P@1",
    "p_at_3": "P@3",
    "p_at_5": "P@5",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "ece": "ECE",
}
_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_data(parser)
    options.add_test(parser)
    options.add_schema(parser)
    parser.add_argument(
        "--name", help="name of the experiment, without -study (default: the schema's name)"
    )
    parser.add_argument(
        "--seeds",
        type=options.positive,
        default=3,
        metavar="N",
        help="number of fits on all rows with different seeds (default: 3)",
    )
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the study and print its tables."""
    from labelwright.training.experiments.study import study
    from labelwright.training.fitting.fit import Configuration

    task = options.task(arguments, Configuration(threads=arguments.threads))
    with tqdm(total=1.0, disable=None, leave=False, bar_format=_BAR) as bar:

        def progress(stage: str, share: float) -> None:
            bar.set_description(stage)
            bar.update(min(share, 1.0 - bar.n))

        found = study(task, arguments.seeds, progress)
    options.warn(found.warnings)
    _print(found)
    if arguments.json:
        print(json.dumps(_summary(found)))
    if found.interrupted:
        raise KeyboardInterrupt


def _print(found: "Study") -> None:
    from labelwright.training.experiments.study import ABLATION, CURVE, SEEDS, table

    print(f"run     {found.run_id} in experiment {found.experiment}")
    done = f"{len(found.results)} of {found.planned} fits" if found.interrupted else "all fits"
    print(f"fits    {done}, measured on {found.test_rows:,} test rows\n")
    rows = {row["name"]: row for row in table(found).to_pylist()}
    width = max(len(name) for name in (*rows, "standard deviation"))
    titles = "  ".join(f"{title:>8}" for title in _TITLES.values())
    print(f"{'':{width}}  {'rows':>9}  {titles}  seconds")
    for part in (CURVE, SEEDS, ABLATION):
        for name in (result.variant.name for result in found.part(part)):
            figures = _line([rows[name][measure] for measure in _TITLES])
            print(
                f"{name:{width}}  {rows[name]['training_rows']:9,}  {figures}"
                f"  {rows[name]['seconds']:7.1f}"
            )
        if part == SEEDS:
            _print_intervals(found, width)
    _print_losses(found, width)


def _print_intervals(found: "Study", width: int) -> None:
    if intervals := found.intervals:
        for title, figure in (
            ("mean of the seeds", "mean"),
            ("standard deviation", "deviation"),
            ("95% interval: ±", "margin"),
        ):
            figures = _line([getattr(intervals[measure], figure) for measure in _TITLES])
            print(f"{title:{width}}  {'':9}  {figures}")


def _print_losses(found: "Study", width: int) -> None:
    """Print the change of each measure without each column, from the mean of the seeds."""
    from labelwright.training.experiments.study import ABLATION

    intervals = found.intervals
    if not intervals or not found.part(ABLATION):
        return
    print(f"\n{'change from the mean':{width}}  {'':9}  * more than another seed changes (95%)")
    for result in found.part(ABLATION):
        changes = []
        for measure, interval in intervals.items():
            change = getattr(result.metrics, measure) - interval.mean
            star = "*" if abs(change) > interval.scatter else " "
            changes.append(f"{f'{change:+.3f}{star}':>8}")
        print(f"{result.variant.name:{width}}  {'':9}  {'  '.join(changes)}")


def _line(values: list[float]) -> str:
    return "  ".join(f"{value:8.3f}" for value in values)


def _summary(found: "Study") -> dict[str, object]:
    from labelwright.training.experiments.study import table

    return {
        "run_id": found.run_id,
        "experiment": found.experiment,
        "interrupted": found.interrupted,
        "test_rows": found.test_rows,
        "intervals": {
            name: dataclasses.asdict(interval) | {"margin": interval.margin}
            for name, interval in found.intervals.items()
        },
        "fits": table(found).to_pylist(),
    }

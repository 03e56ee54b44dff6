"""Search for a better configuration for some minutes; the test rows are not used.

Every trial is a run of the experiment NAME-tune; no model is registered. The output is TOML for
`labelwright train --configuration FILE`; all other lines are comments. Ctrl-C ends the search and
prints the best configuration of the finished trials.
"""

import argparse
import json
import math
from typing import TYPE_CHECKING

from tqdm import tqdm

from labelwright.commands import options

if TYPE_CHECKING:
    from labelwright.training.experiments.tune import Tuning

_BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_data(parser)
    options.add_schema(parser)
    parser.add_argument(
        "--name", help="name of the experiment, without -tune (default: the schema's name)"
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        required=True,
        metavar="M",
        help="time for the search; the last trial may end later",
    )
    parser.add_argument(
        "--seed",
        type=options.whole,
        default=0,
        metavar="N",
        help="seed of the random numbers (default: 0)",
    )
    options.add_threads(parser)
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the search and print the best configuration."""
    from labelwright.training.experiments.tune import tune
    from labelwright.training.fitting.fit import Configuration

    task = options.task(arguments, Configuration(seed=arguments.seed, threads=arguments.threads))
    with tqdm(total=1.0, disable=None, leave=False, bar_format=_BAR) as bar:

        def progress(stage: str, share: float) -> None:
            bar.set_description(stage)
            bar.update(min(share, 1.0 - bar.n))

        found = tune(task, 60 * arguments.minutes, progress)
    options.warn(found.warnings)
    _print(found)
    if arguments.json:
        print(json.dumps(_summary(found)))
    if found.interrupted:
        raise KeyboardInterrupt


def _minutes(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def _print(found: "Tuning") -> None:
    from labelwright.training.experiments.search import to_toml

    best, default = found.best, found.default
    ended = ", then interrupted" if found.interrupted else ""
    print(f"# run      {found.run_id} in experiment {found.experiment}")
    print(f"# trials   {len(found.trials):,} in {found.seconds:.0f} s{ended}")
    print(f"# nDCG@5   default {default.mean:.4f}, best {best.mean:.4f} (trial {best.number})")
    print(f"# verdict  {found.verdict}")
    print(to_toml(best.configuration), end="")


def _summary(found: "Tuning") -> dict[str, object]:
    from labelwright.training.experiments.search import SPACE

    return {
        "run_id": found.run_id,
        "experiment": found.experiment,
        "interrupted": found.interrupted,
        "trials": len(found.trials),
        "best": {name: getattr(found.best.configuration, name) for name in SPACE},
        "best_trial": found.best.number,
        "ndcg_at_5": found.best.mean,
        "default_ndcg_at_5": found.default.mean,
        "gain": found.gain,
        "noise": found.noise,
        "better": found.better,
        "verdict": found.verdict,
        "seconds": round(found.seconds, 2),
    }

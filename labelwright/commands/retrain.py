"""Train again if data, corrections, configuration, schema or version of labelwright have changed.

This command can run on a schedule. It has the options of `train`. It trains nothing and ends with
exit code 0 if the champion or the newest version was trained on the same inputs, or if another
retraining of this model is running. A model that is worse than the champion is not promoted.
"""

import argparse
import json

from labelwright.commands import train


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    train.configure(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train and print the outcome, or print the reason why nothing was trained."""
    from labelwright.training.retraining import Skipped, retrain

    task = train.task_of(arguments)
    with train.progress_bar(task) as progress:
        outcome = retrain(task, progress)
    if isinstance(outcome, Skipped):
        print(f"skipped  {outcome.reason}")
        summary: dict[str, object] = {"skipped": True, "reason": outcome.reason}
    else:
        train.report(outcome)
        summary = {"skipped": False, **train.summary(outcome)}
    if arguments.json:
        print(json.dumps(summary))

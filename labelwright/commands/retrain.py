"""Train again if anything has changed: data, corrections, configuration, or labelwright itself.

Safe to schedule. It takes the options of `train`, and does nothing, with exit code 0, where the
champion or the newest version was made of the same, or where it is still under way. A model that is
worse than the champion is not promoted.
"""

import argparse
import json

from labelwright.commands import train


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    train.configure(parser)


def run(given: argparse.Namespace) -> None:
    """Train, or say why not."""
    from labelwright.training.retraining import Skipped, retrain

    task = train.task_of(given)
    with train.progress_bar() as progress:
        outcome = retrain(task, progress)
    if isinstance(outcome, Skipped):
        print(f"skipped  {outcome.reason}")
        summary: dict[str, object] = {"skipped": True, "reason": outcome.reason}
    else:
        train.report(outcome)
        summary = {"skipped": False, **train.summary(outcome)}
    if given.json:
        print(json.dumps(summary))

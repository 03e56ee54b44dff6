"""Delete old versions of a model, and what trainings have left that made none, with all artifacts.

The versions that an alias names, the former champions and the newest N are never deleted. Runs that
failed or were cut short before they had registered a version are deleted, those under way are not.
"""

import argparse

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--keep",
        type=options.positive,
        default=5,
        metavar="N",
        help="how many of the newest versions stay in any case (default: 5)",
    )


def run(given: argparse.Namespace) -> None:
    """Delete them and name them."""
    from labelwright.training.tracking.versions import prune

    pruned = prune(given.name, given.keep)
    names = pruned.versions
    print(f"{len(names)} versions deleted{': ' if names else ''}{', '.join(names)}")
    if pruned.runs:
        print(f"runs without a version deleted: {', '.join(pruned.runs)}")

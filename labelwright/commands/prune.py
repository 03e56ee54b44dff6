"""Delete old versions of a model, and runs without a version, with all their artifacts.

Versions with an alias, former champions and the newest N versions are kept. Runs that failed or
were killed before they registered a version are deleted; active runs are kept.
"""

import argparse

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="NAME", help="registered name of the model")
    parser.add_argument(
        "--keep",
        type=options.positive,
        default=5,
        metavar="N",
        help="number of the newest versions to keep (default: 5)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Delete versions and runs, and print their names."""
    from labelwright.training.tracking.versions import prune

    pruned = prune(arguments.name, arguments.keep)
    names = pruned.versions
    print(f"{len(names)} versions deleted{': ' if names else ''}{', '.join(names)}")
    if pruned.runs:
        print(f"runs without a version deleted: {', '.join(pruned.runs)}")

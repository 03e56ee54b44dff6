"""Delete old versions of a model, with their runs and artifacts.

The versions that an alias names, the former champions and the newest N are never deleted.
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
    from training.versions import prune

    deleted = prune(given.name, given.keep)
    print(f"{len(deleted)} versions deleted{': ' if deleted else ''}{', '.join(deleted)}")

"""Make a version the champion, unless the promotion gate refused it.

The previous champion is recorded, so `labelwright rollback` can make it the champion again.
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="NAME", help="registered name of the model")
    parser.add_argument("version", metavar="VERSION", help="number of the version")
    parser.add_argument(
        "--force", action="store_true", help="promote the version even if it was refused"
    )


def run(arguments: argparse.Namespace) -> None:
    """Move the alias `champion`."""
    from labelwright.training.tracking.versions import promote

    promote(arguments.name, arguments.version, arguments.force)
    print(f"models:/{arguments.name}@champion is version {arguments.version}")

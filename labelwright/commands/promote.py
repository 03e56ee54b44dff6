"""Make a version the champion, unless the verdict of its training was against it.

The champion until then is remembered, and `labelwright rollback` goes back to it.
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--force", action="store_true", help="promote a refused version as well")


def run(given: argparse.Namespace) -> None:
    """Move the alias."""
    from labelwright.training.tracking.versions import promote

    promote(given.name, given.version, given.force)
    print(f"models:/{given.name}@champion is version {given.version}")

"""Make the previous champion the champion again; a second rollback goes back one more champion."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", metavar="NAME", help="registered name of the model")


def run(arguments: argparse.Namespace) -> None:
    """Move the alias `champion` to the previous champion."""
    from labelwright.training.tracking.versions import rollback

    print(f"models:/{arguments.name}@champion is version {rollback(arguments.name)}")

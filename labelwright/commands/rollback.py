"""Go back to the champion before the present one; again, to the one before that."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument("name", metavar="NAME")


def run(given: argparse.Namespace) -> None:
    """Move the alias back."""
    from labelwright.training.tracking.versions import rollback

    print(f"models:/{given.name}@champion is version {rollback(given.name)}")

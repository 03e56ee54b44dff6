"""Look after the corrections that people gave: export them, delete some, purge old ones, count.

They lie in LABELWRIGHT_HOME, unless LABELWRIGHT_CORRECTIONS or --feedback names another database.
"""

import argparse
import datetime
from typing import TYPE_CHECKING

from labelwright.commands import options
from labelwright.entities.errors import DataError

if TYPE_CHECKING:
    from labelwright.entities.corrections import CorrectionStore


def configure(parser: argparse.ArgumentParser) -> None:
    """State the actions, each with its options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    export = _action(actions, "export", _export, "write all corrections to a Parquet file")
    export.add_argument(
        "output", metavar="OUTPUT", help="a path ending in .parquet, or s3://, gs://"
    )
    delete = _action(actions, "delete", _delete, "delete all corrections of an entity")
    delete.add_argument("--entity-id", required=True, metavar="ID")
    purge = _action(actions, "purge", _purge, "delete all corrections that are old")
    purge.add_argument(
        "--older-than", required=True, type=_age, metavar="AGE", help="like 365d or 12h"
    )
    _action(actions, "count", _count, "say how many there are")


def run(given: argparse.Namespace) -> None:
    """Do what the action says."""
    from labelwright.entities.corrections import CorrectionStore
    from labelwright.models.paths import corrections_kept

    with CorrectionStore(options.feedback(given.feedback), corrections_kept()) as store:
        given.act(store, given)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    act: object,
    summary: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    parser.add_argument("--feedback", metavar="URL", default="", help=options.FEEDBACK)
    parser.set_defaults(act=act)
    return parser


def _age(text: str) -> datetime.timedelta:
    from labelwright.entities.corrections import parse_age

    try:
        return parse_age(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _export(store: "CorrectionStore", given: argparse.Namespace) -> None:
    from labelwright.entities.io.locations import locate, open_output
    from labelwright.entities.io.readers import format_of

    location = locate(given.output)
    if location.filesystem is None or format_of(location) != "parquet":
        raise DataError(f"{location}: corrections are written to a file that ends in .parquet")
    with open_output(location) as stream:
        rows = store.export(stream)
    print(f"{rows:,} corrections -> {given.output}")


def _delete(store: "CorrectionStore", given: argparse.Namespace) -> None:
    print(f"{store.delete(given.entity_id):,} corrections deleted")


def _purge(store: "CorrectionStore", given: argparse.Namespace) -> None:
    print(f"{store.purge(given.older_than):,} corrections deleted")


def _count(store: "CorrectionStore", given: argparse.Namespace) -> None:
    print(f"{store.count():,} corrections")

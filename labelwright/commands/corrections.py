"""Export, delete, purge or count the corrections of reviewers.

The corrections are in a database in LABELWRIGHT_HOME, unless LABELWRIGHT_CORRECTIONS or --feedback
gives another database.
"""

import argparse
import datetime
from typing import TYPE_CHECKING

from labelwright.commands import options
from labelwright.entities.errors import DataError

if TYPE_CHECKING:
    from labelwright.entities.corrections import CorrectionStore


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions with their options."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    export = _action(actions, "export", _export, "write all corrections to a Parquet file")
    export.add_argument(
        "output", metavar="OUTPUT", help="a path or an address (s3://, gs://) that ends in .parquet"
    )
    delete = _action(actions, "delete", _delete, "delete all corrections of an entity")
    delete.add_argument("--entity-id", required=True, metavar="ID")
    purge = _action(actions, "purge", _purge, "delete corrections older than AGE")
    purge.add_argument(
        "--older-than", required=True, type=_age, metavar="AGE", help="for example 365d or 12h"
    )
    _action(actions, "count", _count, "print the number of corrections")


def run(arguments: argparse.Namespace) -> None:
    """Open the database and run the action."""
    from labelwright.entities.corrections import CorrectionStore
    from labelwright.models.audit import expired
    from labelwright.models.paths import corrections_kept

    url = options.feedback(arguments.feedback)
    with CorrectionStore(url, corrections_kept(), expired) as store:
        arguments.action(store, arguments)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    function: object,
    summary: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    parser.add_argument("--feedback", metavar="URL", default="", help=options.FEEDBACK)
    parser.set_defaults(action=function)
    return parser


def _age(text: str) -> datetime.timedelta:
    from labelwright.entities.corrections import parse_age

    try:
        return parse_age(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _export(store: "CorrectionStore", arguments: argparse.Namespace) -> None:
    from labelwright.entities.io.locations import locate, open_output
    from labelwright.entities.io.readers import format_of
    from labelwright.models.audit import EXPORT, audit

    location = locate(arguments.output)
    if location.filesystem is None or format_of(location) != "parquet":
        raise DataError(
            f"{location}: corrections are exported as Parquet; name a file that ends in .parquet"
        )
    with open_output(location) as stream:
        rows = sum(store.export(stream))
    audit(EXPORT, corrections=rows)
    print(f"{rows:,} corrections -> {arguments.output}")


def _delete(store: "CorrectionStore", arguments: argparse.Namespace) -> None:
    from labelwright.models.audit import deleted

    number = store.delete(arguments.entity_id)
    deleted(number, arguments.entity_id)
    print(f"{number:,} corrections deleted")


def _purge(store: "CorrectionStore", arguments: argparse.Namespace) -> None:
    from labelwright.models.audit import DELETION, audit

    number = store.purge(arguments.older_than)
    audit(DELETION, corrections=number, older_than=str(arguments.older_than))
    print(f"{number:,} corrections deleted")


def _count(store: "CorrectionStore", arguments: argparse.Namespace) -> None:
    print(f"{store.count():,} corrections")

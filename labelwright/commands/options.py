"""Options and output shared by several commands."""

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from labelwright import processors
from labelwright.entities.io.column_map import ColumnMap
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema

if TYPE_CHECKING:
    from labelwright.entities.io.locations import Location
    from labelwright.entities.label_book import LabelBook
    from labelwright.training.fitting.fit import Configuration
    from labelwright.training.job import Task


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def size(text: str) -> int:
    """Parse a size in bytes: a whole number, alone or with KB, MB or GB (powers of 1024)."""
    found = re.fullmatch(r"(\d+)([KMG]?)B?", text.strip().upper())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError("must be a size, for example 16GB or 500MB")
    return int(found[1]) << (10 * " KMG".index(found[2] or " "))


def whole(text: str) -> int:
    """Parse a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def port(text: str) -> int:
    """Parse a TCP port; with 0, the operating system chooses the port."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must lie between 0 and 65535")
    return number


def add_model(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add `--model URI`."""
    text = "a bundle folder, runs:/RUN_ID/model, models:/NAME@ALIAS or models:/NAME/VERSION"
    parser.add_argument("--model", metavar="URI", required=required, help=text)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add `--data PATH...` for labelled files, `--empty-labels` and `--map`."""
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        required=True,
        metavar="PATH",
        help="files with a column labels: Parquet (a file or a folder), CSV, JSON Lines or GeoJSON "
        "(also s3://, gs://)",
    )
    parser.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of the data whose cells are labels as they stand: each text is one label "
        "(default: the column labels, whose cells are lists)",
    )
    parser.add_argument(
        "--empty-labels",
        choices=("unknown", "none"),
        default="unknown",
        help="meaning of an empty cell of labels in CSV: not labelled (unknown, the default), or "
        "none of the labels (none); a cell with [] always has none",
    )
    add_map(parser)


def add_map(parser: argparse.ArgumentParser) -> None:
    """Add `--map COLUMN=NAME,...`."""
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="COLUMN=NAME,...",
        help="read COLUMN (a column of the schema, id, labels or absent) from the column NAME of "
        "the data: name=title,address=street",
    )


def add_test(parser: argparse.ArgumentParser) -> None:
    """Add `--test PATH...`."""
    parser.add_argument(
        "--test",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="labelled files to measure the model on (default: the rows of a tenth of the names "
        "in --data are held out)",
    )


FEEDBACK = "sqlite:///PATH or postgresql://USER@HOST/NAME (default: LABELWRIGHT_CORRECTIONS)"
"""The accepted URLs of a database of corrections."""


def add_feedback(parser: argparse.ArgumentParser) -> None:
    """Add `--feedback [URL|FILE]`."""
    parser.add_argument(
        "--feedback",
        nargs="?",
        const="",
        metavar="URL|FILE",
        help="also learn from corrections, from a database or an exported Parquet file; "
        + FEEDBACK,
    )


def feedback(url: str) -> str:
    """The URL of the database of corrections: `url`, or the URL of the settings if it is empty."""
    from labelwright.models.paths import corrections_uri

    return url or corrections_uri()


def add_schema(parser: argparse.ArgumentParser) -> None:
    """Add `--schema NAME|FILE`, `--exclusive` and `--redirects FILE`."""
    parser.add_argument(
        "--schema",
        metavar="NAME|FILE",
        help="places, text, words, or a TOML file that describes the columns (default: the schema "
        "in the metadata of imported files, or else places)",
    )
    parser.add_argument(
        "--exclusive",
        action="store_true",
        help="all labels are one exclusive group of kinds: at most one is asserted for each row",
    )
    parser.add_argument(
        "--redirects",
        metavar="FILE",
        help="CSV with the columns old and new: labels that were renamed, merged, or retired (new "
        "is empty); queries to the model may use the old names too",
    )


def add_label_book(parser: argparse.ArgumentParser) -> None:
    """Add `--label-book FILE|NAME`."""
    parser.add_argument(
        "--label-book",
        metavar="FILE|NAME",
        help="titles, synonyms and seed words of labels, from which the model learns labels with "
        "few or no rows: TOML or CSV (`labelwright labels` checks it), or the built-in book osm",
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add `--policy NAME` and `--min-precision P`; only one of them may be used."""
    policy = parser.add_mutually_exclusive_group()
    policy.add_argument(
        "--policy",
        default="balanced",
        metavar="NAME",
        help="policy that decides which labels are asserted: balanced (default), broad or precise",
    )
    policy.add_argument(
        "--min-precision",
        type=float,
        default=0.0,
        metavar="P",
        help="instead of a policy: assert only labels with a guaranteed precision of at least P, "
        "for example 0.9",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads N`."""
    parser.add_argument(
        "--threads",
        type=positive,
        default=processors.usable(),
        metavar="N",
        help="compute threads (default: the number of processors that this process may use)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end")


def task(
    arguments: argparse.Namespace, configuration: "Configuration", promote: bool = True
) -> "Task":
    """Build the training task from the options of a command.

    Options that the command does not have get their defaults. Raises DataError.
    """
    from labelwright.entities.io.label_columns import EmptyLabels
    from labelwright.training.job import Task

    corrections = vars(arguments).get("feedback")
    data, columns = locations(arguments.data), column_names(arguments)
    schema = _schema(arguments, data)
    columns.check(schema)
    book = _label_book(arguments)
    if book:
        schema = book.extend(schema)
    return Task(
        data=data,
        test=locations(vars(arguments).get("test")),
        schema=schema,
        name=arguments.name or schema.name,
        configuration=configuration,
        promote=promote,
        columns=columns,
        feedback=None if corrections is None else feedback(corrections),
        memory=vars(arguments).get("memory"),
        unlabelled=locations(vars(arguments).get("unlabelled")),
        encoder=vars(arguments).get("encoder"),
        tokenizer=vars(arguments).get("encoder_tokenizer"),
        base=vars(arguments).get("base"),
        empty_labels=EmptyLabels(arguments.empty_labels),
        book=book,
    )


def _schema(arguments: argparse.Namespace, data: list["Location"]) -> EntitySchema:
    """The schema of `--schema` or else of the data, with the redirects of `--redirects` added."""
    from labelwright.entities.io.schema_metadata import schema_for

    schema = schema_for(data, arguments.schema)
    schema = schema.with_label_column(arguments.label_column, arguments.exclusive)
    if arguments.redirects is None:
        return schema
    added = Redirects.read(arguments.redirects).targets
    return dataclasses.replace(schema, redirects=Redirects({**schema.redirects.targets, **added}))


def _label_book(arguments: argparse.Namespace) -> "LabelBook | None":
    from labelwright.entities.io.label_books import load_book

    name = vars(arguments).get("label_book")
    return None if name is None else load_book(name)


def column_names(arguments: argparse.Namespace) -> ColumnMap:
    """Parse `--map` and `--label-column`; raises DataError."""
    return ColumnMap.parse(arguments.map, vars(arguments).get("label_column"))


def locations(paths: Iterable[str] | None) -> list["Location"]:
    """Parse paths and addresses; raises DataError."""
    from labelwright.entities.io.locations import locate

    return [locate(path) for path in paths or ()]


def warn(messages: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for message in messages:
        print(f"labelwright: warning: {message}", file=sys.stderr)


def printable(text: str) -> str:
    """Escape the control characters of a text, because a terminal would execute them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

"""Options and output that several commands share."""

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
    from labelwright.training.fitting.fit import Configuration
    from labelwright.training.job import Task


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def size(text: str) -> int:
    """Bytes, for argparse: a whole number with or without KB, MB or GB."""
    found = re.fullmatch(r"(\d+)([KMG]?)B?", text.strip().upper())
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError("must be a size like 16GB or 500MB")
    return int(found[1]) << (10 * " KMG".index(found[2] or " "))


def whole(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def port(text: str) -> int:
    """A TCP port, for argparse; 0 lets the system choose."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must lie between 0 and 65535")
    return number


def add_model(parser: argparse.ArgumentParser, required: bool) -> None:
    """`--model URI`."""
    text = "bundle folder, runs:/RUN_ID/model, models:/NAME@ALIAS or models:/NAME/VERSION"
    parser.add_argument("--model", metavar="URI", required=required, help=text)


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data PATH...`, labelled."""
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        required=True,
        metavar="PATH",
        help="Parquet (a file or a folder), CSV, JSON Lines or GeoJSON with a labels column; also "
        "s3://, gs://",
    )
    add_map(parser)


def add_map(parser: argparse.ArgumentParser) -> None:
    """`--map COLUMN=NAME,...`."""
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="COLUMN=NAME,...",
        help="what the data call columns of the schema, id or labels: name=title,address=street",
    )


def add_test(parser: argparse.ArgumentParser) -> None:
    """`--test PATH...`."""
    parser.add_argument(
        "--test", nargs="+", action="extend", metavar="PATH", help="files to measure models with"
    )


FEEDBACK = "sqlite:///PATH or postgresql://USER@HOST/NAME (default: see LABELWRIGHT_CORRECTIONS)"
"""What a database of corrections is called by."""


def add_feedback(parser: argparse.ArgumentParser) -> None:
    """`--feedback [URL|FILE]`."""
    parser.add_argument(
        "--feedback",
        nargs="?",
        const="",
        metavar="URL|FILE",
        help="learn from the corrections there as well: in a database, or exported to Parquet; "
        + FEEDBACK,
    )


def feedback(given: str) -> str:
    """Where corrections lie: as given, or where the settings say."""
    from labelwright.models.paths import corrections_uri

    return given or corrections_uri()


def add_schema(parser: argparse.ArgumentParser) -> None:
    """`--schema NAME|FILE` and `--redirects FILE`."""
    parser.add_argument(
        "--schema",
        metavar="NAME|FILE",
        help="places, text, words, or a TOML file that describes the columns (default: what the "
        "data state, as imported data do, else places)",
    )
    parser.add_argument(
        "--redirects",
        metavar="FILE",
        help="CSV with the columns old and new: labels that were renamed, merged, or (new is "
        "empty) retired; the model knows the old names from then on",
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """`--policy NAME` or `--min-precision P`."""
    policy = parser.add_mutually_exclusive_group()
    policy.add_argument(
        "--policy",
        default="balanced",
        metavar="NAME",
        help="which labels to assert: balanced (default), broad or precise",
    )
    policy.add_argument(
        "--min-precision",
        type=float,
        default=0.0,
        metavar="P",
        help="assert only what is right in at least this share of cases, label by label",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """`--threads N`; the default is what this process may use."""
    parser.add_argument(
        "--threads",
        type=positive,
        default=processors.usable(),
        metavar="N",
        help="threads to compute with (default: as many as this process may use)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument(
        "--json", action="store_true", help="end with one line of JSON on standard output"
    )


def task(given: argparse.Namespace, configuration: "Configuration", promote: bool = True) -> "Task":
    """What to train on, from `--data`, `--schema`, `--name`, and others where there are such."""
    from labelwright.training.job import Task

    corrections = vars(given).get("feedback")
    data, columns = locations(given.data), column_names(given)
    schema = _schema(given, data)
    columns.check(schema)
    return Task(
        data=data,
        test=locations(vars(given).get("test")),
        schema=schema,
        name=given.name or schema.name,
        configuration=configuration,
        promote=promote,
        columns=columns,
        feedback=None if corrections is None else feedback(corrections),
        memory=vars(given).get("memory"),
    )


def _schema(given: argparse.Namespace, data: list["Location"]) -> EntitySchema:
    """The schema that is asked for, or that the data state, with `--redirects`."""
    from labelwright.entities.io.schema_metadata import schema_for

    schema = schema_for(data, given.schema)
    if given.redirects is None:
        return schema
    told = Redirects.read(given.redirects).targets
    return dataclasses.replace(schema, redirects=Redirects({**schema.redirects.targets, **told}))


def column_names(given: argparse.Namespace) -> ColumnMap:
    """What the data call the columns of the schema, from `--map`; raises DataError."""
    return ColumnMap.parse(given.map)


def locations(given: Iterable[str] | None) -> list["Location"]:
    """Where files lie, as given; raises DataError."""
    from labelwright.entities.io.locations import locate

    return [locate(path) for path in given or ()]


def warn(sentences: Iterable[str]) -> None:
    """Say what the user should know, on standard error."""
    for sentence in sentences:
        print(f"labelwright: warning: {sentence}", file=sys.stderr)

"""Label a file: OUTPUT has one row with id and labels for each row of INPUT, in order.

The suffix of a file name gives the format: .parquet (INPUT may be a folder), .csv, .jsonl, and for
INPUT also .geojson. Text files may be compressed (.gz, .zst, .bz2, .lz4). INPUT and OUTPUT may be
addresses (s3://BUCKET/KEY, gs://BUCKET/KEY), or - for a standard stream. A rejected row has null
labels in OUTPUT, and the reason is written to OUTPUT.rejects.jsonl. OUTPUT appears when it is
complete. If the command is stopped earlier, the finished work is kept beside OUTPUT, and the same
command with --resume continues.
"""

import argparse
import sys

from tqdm import tqdm

from labelwright.commands import options
from labelwright.entities.errors import StorageError
from labelwright.entities.io.locations import STREAM_FORMATS

_KEPT = "the finished work is kept; the same command with --resume continues"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("input", metavar="INPUT", help="file, folder, address or -")
    parser.add_argument("output", metavar="OUTPUT", help="file, address or -")
    options.add_model(parser, required=True)
    parser.add_argument(
        "--top-k",
        type=options.positive,
        default=5,
        metavar="K",
        help="list the K most probable labels and every asserted label (default: 5)",
    )
    options.add_map(parser)
    options.add_policy(parser)
    options.add_threads(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the finished work of the same command, if it was stopped",
    )
    parser.add_argument(
        "--previous",
        metavar="FILE",
        help="Parquet output of an earlier run with the same model and query; the labels of rows "
        "that are unchanged, and have the same neighbours, are copied from FILE",
    )
    parser.add_argument(
        "--engine",
        type=_engine,
        metavar="ray[=ADDRESS]",
        help="label on the Ray cluster at ADDRESS or RAY_ADDRESS; without an address, start a "
        "cluster with --threads workers on this machine; every node must have access to INPUT, and "
        "Parquet is divided among the nodes",
    )
    parser.add_argument(
        "--format",
        choices=STREAM_FORMATS,
        default=STREAM_FORMATS[0],
        help="format of standard streams (default: jsonl)",
    )


def _engine(text: str) -> str:
    """Parse `ray` or `ray=ADDRESS`; returns the address, or an empty string without one."""
    name, equals, address = text.partition("=")
    if name != "ray" or (equals and not address):
        raise argparse.ArgumentTypeError("must be ray or ray=ADDRESS")
    return address


def run(arguments: argparse.Namespace) -> None:
    """Label the file and print the number of rows."""
    from labelwright.entities.io.locations import locate
    from labelwright.entities.io.readers import files_of
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.registry import load_model
    from labelwright.service.bulk.job import BulkJob, journal_folder, label_file, on_threads
    from labelwright.service.bulk.ray import on_ray

    job = BulkJob(
        locate(arguments.input, arguments.format),
        locate(arguments.output, arguments.format),
        LabelQuery(arguments.top_k, arguments.policy, min_precision=arguments.min_precision),
        arguments.threads,
        arguments.resume,
        locate(arguments.previous) if arguments.previous else None,
        options.column_names(arguments),
    )
    files_of(job.input)  # a wrong path is reported before the model is loaded
    executor = on_threads if arguments.engine is None else on_ray(arguments.engine or None)
    bundle = load_model(arguments.model).bundle
    with tqdm(unit="row", unit_scale=True, disable=None, leave=False) as bar:

        def advance(rows: int, share: float | None) -> None:
            if share:
                bar.total = max(bar.n + rows, round((bar.n + rows) / share))
            bar.update(rows)

        try:
            report = label_file(bundle, job, advance, executor)
        except StorageError as error:
            if journal_folder(job.output).exists():
                raise StorageError(f"{error}; {_KEPT}") from error
            raise
        except KeyboardInterrupt:
            if journal_folder(job.output).exists():
                bar.close()
                print(f"labelwright: {_KEPT}", file=sys.stderr)
            raise
    options.warn(sorted(report.warnings))
    parts = [
        f"{count:,} of them {what}"
        for what, count in (
            ("rejected", report.rejected),
            ("copied from the previous output", report.reused),
            ("finished by the earlier run", report.resumed),
        )
        if count
    ]
    print(", ".join([f"{report.rows:,} rows", *parts]) + f" -> {arguments.output}", file=sys.stderr)

"""Label a file: every row of INPUT gets a row with its id and labels in OUTPUT, in order.

Formats are told by the end of the name: .parquet (INPUT also a folder), .csv, .jsonl, of INPUT also
.geojson (text also compressed: .gz, .zst, .bz2, .lz4). Either may be an address, s3://BUCKET/KEY or
gs://BUCKET/KEY, or - for a standard stream. A row that cannot be used has null labels, and its
reason goes to OUTPUT.rejects.jsonl. OUTPUT appears when all is done; what a run that was stopped
had done is kept beside it, and --resume goes on from there.
"""

import argparse
import sys

from tqdm import tqdm

from labelwright.commands import options
from labelwright.entities.errors import StorageError
from labelwright.entities.io.locations import STREAM_FORMATS

_KEPT = "what is done is kept, --resume goes on with it"


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument("input", metavar="INPUT")
    parser.add_argument("output", metavar="OUTPUT")
    options.add_model(parser, required=True)
    parser.add_argument(
        "--top-k",
        type=options.positive,
        default=5,
        metavar="K",
        help="list the K most probable labels, beside every asserted one (default: 5)",
    )
    options.add_map(parser)
    options.add_policy(parser)
    options.add_threads(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where the same command was stopped, if it was",
    )
    parser.add_argument(
        "--previous",
        metavar="FILE",
        help="Parquet of an earlier run: rows that have not changed since, and lie near each other "
        "as before, are taken over, if the model and the question are the same",
    )
    parser.add_argument(
        "--engine",
        type=_engine,
        metavar="ray[=ADDRESS]",
        help="label on a Ray cluster: at ADDRESS or RAY_ADDRESS, else one of --threads workers "
        "that is started here; Parquet is shared out among the nodes, which must see INPUT",
    )
    parser.add_argument(
        "--format",
        choices=STREAM_FORMATS,
        default=STREAM_FORMATS[0],
        help="of standard streams (default: jsonl)",
    )


def _engine(text: str) -> str:
    """`ray`, or `ray=ADDRESS`: the address, empty where none is given."""
    name, equals, address = text.partition("=")
    if name != "ray" or (equals and not address):
        raise argparse.ArgumentTypeError("must be ray or ray=ADDRESS")
    return address


def run(given: argparse.Namespace) -> None:
    """Label the file and say how many rows that were."""
    from labelwright.entities.io.locations import locate
    from labelwright.entities.io.readers import files_of
    from labelwright.models.decisions import LabelQuery
    from labelwright.models.registry import load_model
    from labelwright.service.bulk.job import Job, journal_folder, label_file, on_threads
    from labelwright.service.bulk.ray import on_ray

    job = Job(
        locate(given.input, given.format),
        locate(given.output, given.format),
        LabelQuery(given.top_k, given.policy, min_precision=given.min_precision),
        given.threads,
        given.resume,
        locate(given.previous) if given.previous else None,
        options.column_names(given),
    )
    files_of(job.source)  # before what takes long
    runner = on_threads if given.engine is None else on_ray(given.engine or None)
    bundle = load_model(given.model).bundle
    with tqdm(unit="row", unit_scale=True, disable=None, leave=False) as bar:

        def advance(rows: int, share: float | None) -> None:
            if share:
                bar.total = max(bar.n + rows, round((bar.n + rows) / share))
            bar.update(rows)

        try:
            report = label_file(bundle, job, advance, runner)
        except StorageError as error:
            if journal_folder(job.target).exists():
                raise StorageError(f"{error}; {_KEPT}") from error
            raise
        except KeyboardInterrupt:
            if journal_folder(job.target).exists():
                bar.close()
                print(f"labelwright: {_KEPT}", file=sys.stderr)
            raise
    options.warn(sorted(report.warnings))
    parts = [
        f"{count:,} of them {what}"
        for what, count in (
            ("rejected", report.rejected),
            ("known before", report.known),
            ("done before", report.resumed),
        )
        if count
    ]
    print(", ".join([f"{report.rows:,} rows", *parts]) + f" -> {given.output}", file=sys.stderr)

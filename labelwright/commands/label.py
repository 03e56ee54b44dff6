"""Label a file: every row of INPUT gets a row with its id and labels in OUTPUT, in order.

Formats are told by the end of the name: .parquet (also a folder), .csv, .jsonl (text also
compressed). A row that cannot be used has null labels, and its reason goes to
OUTPUT.rejects.jsonl.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from labelwright.commands import options


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument("input", metavar="INPUT", type=Path)
    parser.add_argument("output", metavar="OUTPUT", type=Path)
    options.add_model(parser, required=True)
    parser.add_argument(
        "--top-k",
        type=options.positive,
        default=5,
        metavar="K",
        help="list the K most probable labels, beside every asserted one (default: 5)",
    )
    options.add_policy(parser)
    options.add_threads(parser)


def run(given: argparse.Namespace) -> None:
    """Label the file and say how many rows that were."""
    from entities.readers import count_rows
    from models.decisions import Question
    from models.registry import load_model
    from service.bulk import label_file

    question = Question(given.top_k, given.policy, min_precision=given.min_precision)
    total = count_rows(given.input)
    labeler = load_model(given.model).bundle.labeler
    with tqdm(total=total, unit="row", unit_scale=True, disable=None, leave=False) as bar:
        report = label_file(labeler, given.input, given.output, question, given.threads, bar.update)
    options.warn(report.warnings)
    rejected = f", {report.rejected:,} of them rejected" if report.rejected else ""
    print(f"{report.rows:,} rows{rejected} -> {given.output}", file=sys.stderr)

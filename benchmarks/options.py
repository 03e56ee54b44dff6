"""Command-line options that several benchmarks share."""

import argparse
import os
from pathlib import Path

from benchmarks.environments import ROOT


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add `--data DIR`."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")),
        metavar="DIR",
        help="folder of the shared data (default: LABELWRIGHT_DATA, else ../shared/data)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads N`; the default is the number of cores."""
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, metavar="N", help=f"default: {cores}")


def add_minutes(parser: argparse.ArgumentParser, default: float, what: str) -> None:
    """Add `--minutes M`, the time limit of one `what`."""
    parser.add_argument(
        "--minutes",
        type=float,
        default=default,
        metavar="M",
        help=f"time limit of one {what} (default: {default:g})",
    )


def add_output(parser: argparse.ArgumentParser, name: str) -> None:
    """Add `--output FILE` (default: the file `name` in the results folder) and `--work DIR`."""
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "benchmarks" / "results" / name,
        metavar="FILE",
        help=f"page to write; a .json file in its folder has all figures (default: results/{name})",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build",
        metavar="DIR",
        help="folder for environments and temporary files (default: build/)",
    )

"""What all benchmarks are told on the command line."""

import argparse
import os
from pathlib import Path

from benchmarks.environments import ROOT


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data DIR`."""
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")),
        metavar="DIR",
        help="the shared data (default: LABELWRIGHT_DATA, else ../shared/data)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """`--threads N`."""
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, metavar="N", help=f"default: {cores}")


def add_output(parser: argparse.ArgumentParser, name: str) -> None:
    """`--output FILE`, in the results unless told otherwise, and `--work DIR`."""
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "benchmarks" / "results" / name,
        metavar="FILE",
        help=f"the page; all figures go to a .json beside it (default: results/{name})",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build",
        metavar="DIR",
        help="for environments and files of the run (default: build/)",
    )

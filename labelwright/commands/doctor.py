"""Check this installation: libraries, threads, folders, the registry, and the champions' bundles.

Every check is one line that begins with ok, warn or fail. A model is loaded in a process of its own
to tell what another worker of the service would cost. The exit code is 1 if a check has failed.
"""

import argparse
import dataclasses
import json

from labelwright import checkup
from labelwright.commands import options
from labelwright.entities.errors import LabelwrightError


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument(
        "--model", metavar="URI", help="check this model instead of all that have a champion"
    )
    options.add_json(parser)


def run(given: argparse.Namespace) -> None:
    """Print findings as they are made."""
    findings = []
    for finding in checkup.checkup(given.model):
        print(finding, flush=True)
        findings.append(finding)
    if given.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    failed = [finding.what for finding in findings if finding.status is checkup.Status.FAIL]
    if failed:
        raise LabelwrightError(
            f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}"
        )

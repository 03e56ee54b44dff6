"""Check this installation: libraries, threads, folders, the registry and the champions.

Each check prints one line that begins with ok, warn or fail. Every champion is loaded in a new
process to measure the memory of one worker of the service. The exit code is 1 if a check failed.
"""

import argparse
import dataclasses
import json

from labelwright import checks
from labelwright.commands import options
from labelwright.entities.errors import LabelwrightError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", metavar="URI", help="check this model instead of all champions")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the checks, and print each finding as soon as the check ends."""
    findings = []
    for finding in checks.run_checks(arguments.model):
        print(finding, flush=True)
        findings.append(finding)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    failed = [finding.what for finding in findings if finding.status is checks.Status.FAIL]
    if failed:
        raise LabelwrightError(
            f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}; "
            "the lines that begin with fail name the next step"
        )

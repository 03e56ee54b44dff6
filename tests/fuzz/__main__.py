"""Fuzz every decoder and reader (guided by coverage), the loader of bundles, and the HTTP service.

Findings are printed and stored in the work folder; the exit code is then 1.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import tables
from labelwright.entities.schema import load_schema
from labelwright.models.bundle.format import write_bundle
from labelwright.training.data import read_labelled, split
from labelwright.training.fitting.fit import Configuration, fit_labeler
from tests.conftest import BRANDS
from tests.fuzz.over_http import send_damaged
from tests.fuzz.targets import TARGETS
from tests.processes import environment, serving

INPUTS = 1_000_000
SHARES = {"guided": 0.75, "bundles": 0.1, "http": 0.15}
"""The share of the inputs for each method."""
ROWS = 3_000
FEW_ROWS = 300
"""Training rows of the model whose bundle is damaged; a small bundle is read faster."""
GROWTH_LIMIT = 64 << 20
"""Bytes by which the memory of the service may grow."""
COLUMNS = (
    tables.Column("inputs", 0),
    tables.Column("seconds", 0),
    tables.Column("slowest ms", 0),
    tables.Column("peak MB", 0),
)


@dataclasses.dataclass(frozen=True)
class Fuzzed:
    """The result of fuzzing one interface.

    `seconds` is the total time, `slowest` the longest time of one input in seconds, and `peak` the
    peak memory in megabytes. `findings` is empty if there are none.
    """

    interface: str
    inputs: int
    seconds: float
    slowest: float | None = None
    peak: float | None = None
    findings: str = ""


def guided(name: str, bundle: Path, inputs: int, work: Path) -> Fuzzed:
    """Run libFuzzer on one decoder in a separate process."""
    corpus = work / name
    corpus.mkdir(parents=True, exist_ok=True)
    limits = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=16384", f"-artifact_prefix={work}/")
    options = (str(corpus), f"-runs={inputs}", "-seed=1", *limits)
    began = time.perf_counter()
    done = _run("tests.fuzz.guided", name, str(bundle), *options)
    seconds = time.perf_counter() - began
    peaks = [float(found) for found in re.findall(r"rss: (\d+)Mb", done.stderr)]
    ran = re.search(r"Done (\d+) runs", done.stderr)
    findings = "" if ran and not done.returncode else _last_lines(done.stderr)
    inputs_run = int(ran[1]) if ran else 0
    return Fuzzed(name, inputs_run, seconds, None, max(peaks, default=None), findings)


def bundles(bundle: Path, inputs: int) -> Fuzzed:
    """Read damaged bundles in a separate process."""
    done = _run("tests.fuzz.bundles", str(bundle), str(inputs), "1")
    if done.returncode:
        return Fuzzed("bundles", inputs, 0.0, findings=_last_lines(done.stdout + done.stderr))
    found = json.loads(done.stdout)
    return Fuzzed("bundles", inputs, found["seconds"], found["slowest"], found["peak"])


def over_http(bundle: Path, inputs: int, work: Path) -> tuple[Fuzzed, str]:
    """Send damaged requests to a running service.

    Returns the result, and a sentence about the valid requests of another client.
    """
    with serving("--model", bundle, environment=environment(work), folder=work) as service:
        found = send_damaged(service, "places", inputs, 1)
    findings = []
    if found.failed:
        findings.append(f"{found.failed} responses with a status of 500 or above")
    if found.disturbed:
        findings.append(f"{found.disturbed} wrong responses to valid requests")
    if found.grown_bytes > GROWTH_LIMIT:
        findings.append(f"the memory grew by {found.grown_bytes / 1e6:.0f} MB")
    others = (
        f"At the same time, another client sent {found.valid:,} valid requests: {found.disturbed} "
        f"responses were wrong, and the slowest took {found.slowest_valid * 1e3:.0f} ms. The "
        f"memory of the service grew by {found.grown_bytes / 1e6:.0f} MB."
    )
    fuzzed = Fuzzed("over HTTP", inputs, found.seconds, found.slowest, findings="; ".join(findings))
    return fuzzed, others


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[:300] or "no output"


def fuzz_all(inputs: int, bundle: Path, work: Path) -> Iterator[Fuzzed | str]:
    """Fuzz all interfaces in sequence; yields the results and sentences for the result page."""
    for name in TARGETS:
        yield guided(name, bundle, int(inputs * SHARES["guided"] / len(TARGETS)), work)
    few = Configuration(min_count=2, trees=5, passes=1, folds=2)
    tiny = small_bundle(work / "tiny", FEW_ROWS, few)
    yield bundles(tiny, int(inputs * SHARES["bundles"]))
    yield from over_http(bundle, int(inputs * SHARES["http"]), work)


def document(found: list[Fuzzed | str]) -> str:
    """The result page as Markdown."""
    fuzzed = [one for one in found if isinstance(one, Fuzzed)]
    lines = [
        tables.Line(
            one.interface,
            one.findings or "nothing",
            {
                "inputs": one.inputs,
                "seconds": one.seconds,
                "slowest ms": one.slowest and one.slowest * 1e3,
                "peak MB": one.peak,
            },
        )
        for one in fuzzed
    ]
    return "\n".join(
        [
            "# Hostile inputs\n",
            "Written by `make fuzz`. Decoders and readers are fuzzed by libFuzzer, guided by "
            "coverage; bundles and requests over HTTP are damaged at random.\n",
            tables.listed(tables.machine()),
            tables.markdown(("interface", "findings"), COLUMNS, lines),
            f"{sum(one.inputs for one in fuzzed):,} inputs.\n",
            *(one for one in found if isinstance(one, str)),
            "",
        ]
    )


def small_bundle(folder: Path, rows: int, configuration: Configuration) -> Path:
    """Train a small model on some embedded brands and return its bundle."""
    folder.mkdir()
    file = folder / "rows.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, rows), file)
    data, _ = split(read_labelled([file], load_schema("places")))
    write_bundle(fit_labeler(data, configuration), folder / "bundle", "0", {})
    return folder / "bundle"


def main() -> int:
    """Fuzz all interfaces and write the result page."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=INPUTS, metavar="N", help="total number of inputs"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        help="bundle of a model of places (default: a small model is trained)",
    )
    parser.add_argument(
        "--output", type=Path, help="file for the result page (default: the page is only printed)"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = given.bundle or small_bundle(work / "small", ROWS, Configuration())
        found = list(fuzz_all(given.inputs, bundle, work))
    page = document(found)
    sys.stdout.write(page)
    if given.output:
        given.output.write_text(page, "utf-8")
    return int(any(isinstance(one, Fuzzed) and one.findings for one in found))


if __name__ == "__main__":
    sys.exit(main())

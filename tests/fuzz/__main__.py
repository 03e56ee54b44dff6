"""Fuzzes every decoder (guided by coverage), the bundle loader and the HTTP service.

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
from tests.fuzz.over_http import bombard
from tests.fuzz.targets import TARGETS
from tests.processes import environment, serving

INPUTS = 1_000_000
SHARES = {"guided": 0.75, "bundles": 0.1, "http": 0.15}
"""Shares of the inputs."""
ROWS = 3_000
FEW_ROWS = 300
"""Training rows of the model whose bundle is damaged; reading the bundle dominates the time."""
GROWTH_LIMIT = 64 << 20
COLUMNS = (
    tables.Column("inputs", 0),
    tables.Column("seconds", 0),
    tables.Column("slowest ms", 0),
    tables.Column("peak MB", 0),
)


@dataclasses.dataclass(frozen=True)
class Fuzzed:
    """The result of fuzzing one interface; `words` describe the findings."""

    door: str
    inputs: int
    seconds: float
    slowest: float | None = None
    peak: float | None = None
    words: str = ""


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
    words = "" if ran and not done.returncode else _last_words(done.stderr)
    return Fuzzed(name, int(ran[1]) if ran else 0, seconds, None, max(peaks, default=None), words)


def bundles(bundle: Path, inputs: int) -> Fuzzed:
    """Read damaged bundles in a separate process."""
    done = _run("tests.fuzz.bundles", str(bundle), str(inputs), "1")
    if done.returncode:
        return Fuzzed("bundles", inputs, 0.0, words=_last_words(done.stdout + done.stderr))
    found = json.loads(done.stdout)
    return Fuzzed("bundles", inputs, found["seconds"], found["slowest"], found["peak"])


def over_http(bundle: Path, inputs: int, work: Path) -> tuple[Fuzzed, str]:
    """Send damaged requests to a running service; also reports effects on other clients."""
    with serving("--model", bundle, environment=environment(work), folder=work) as service:
        found = bombard(service, "places", inputs, 1)
    words = []
    if found.failed:
        words.append(f"{found.failed} answers of 500 and above")
    if found.disturbed:
        words.append(f"{found.disturbed} neighbours disturbed")
    if found.grown_bytes > GROWTH_LIMIT:
        words.append(f"grew by {found.grown_bytes / 1e6:.0f} MB")
    beside = (
        f"Beside them {found.neighbours:,} requests in order got the answer they should, "
        f"the slowest after {found.slowest_neighbour * 1e3:.0f} ms; the service grew by "
        f"{found.grown_bytes / 1e6:.0f} MB."
    )
    fuzzed = Fuzzed("over HTTP", inputs, found.seconds, found.slowest, words="; ".join(words))
    return fuzzed, beside


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[:300] or "no word"


def everything(inputs: int, bundle: Path, work: Path) -> Iterator[Fuzzed | str]:
    """Fuzz all interfaces one after another."""
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
            one.door,
            one.words or "nothing",
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
            "Written by `make fuzz`. Decoders are fuzzed by libFuzzer, guided by coverage; bundles "
            "and requests over HTTP are damaged at random.\n",
            tables.listed(tables.machine()),
            tables.markdown(("door", "findings"), COLUMNS, lines),
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
    parser.add_argument("--inputs", type=int, default=INPUTS, metavar="N", help="in all")
    parser.add_argument(
        "--bundle", type=Path, help="a model of places; by default a small one is made"
    )
    parser.add_argument("--output", type=Path, help="the page; by default only printed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = given.bundle or small_bundle(work / "small", ROWS, Configuration())
        found = list(everything(given.inputs, bundle, work))
    page = document(found)
    sys.stdout.write(page)
    if given.output:
        given.output.write_text(page, "utf-8")
    return int(any(isinstance(one, Fuzzed) and one.words for one in found))


if __name__ == "__main__":
    sys.exit(main())

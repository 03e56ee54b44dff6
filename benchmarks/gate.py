"""Error rates of the promotion gate, simulated with the answers of real models.

For each number of rows, two models with different seeds are fitted on each of several samples of
the places. Their answers are cached. A case draws names with replacement from the rows of a sample.
The champion is the model of one seed, and the challenger the other one. To make the challenger
worse by some points, its answers to a share of the names are all wrong: this is the loss with the
widest interval. The gate then judges each case. So the rates include the noise of the fits and the
noise of the rows.
"""

import argparse
import collections
import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import options
from labelwright.entities.io.schema_metadata import schema_for
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet, label_set
from labelwright.training.data import LabelledEntities, name_hashes, read_labelled, split
from labelwright.training.evaluation.answers import Answers, RowScores
from labelwright.training.evaluation.cross_validation import Rows, cross_validate
from labelwright.training.evaluation.intervals import FEW_TEST_ROWS
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.tracking.gate import Evidence, Finding, judge

GOALS = {200: 12, 500: 8, 1_000: 6, 3_000: 3, 30_000: 2}
"""The loss in points that must not be let through, for each number of rows."""
RISK = 0.05
"""Maximum share of cases in which the gate may be wrong."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Rows that two models have answered; `scores` (2 x n) are the nDCG of each row."""

    data: LabelledEntities
    scores: RowScores

    @functools.cached_property
    def rows_of_names(self) -> list[Rows]:
        """The rows of each name."""
        _, owners = np.unique(name_hashes(self.data.entities), return_inverse=True)
        order = np.argsort(owners, kind="stable")
        return np.split(order, np.cumsum(np.bincount(owners))[:-1])


@dataclasses.dataclass(frozen=True)
class Rates:
    """The findings of all cases in which the challenger is worse by `loss` points."""

    rows: int
    fits: int
    loss: float
    findings: dict[Finding, float]
    refused: float

    @property
    def let_through(self) -> float:
        """The share of cases with the finding better or no worse."""
        return self.findings[Finding.BETTER] + self.findings[Finding.NO_WORSE]


def main() -> None:
    """Fit or read the models, simulate all cases, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    options.add_data(parser)
    options.add_threads(parser)
    options.add_output(parser, "loop.md")
    parser.add_argument("--rows", type=int, nargs="+", default=[*GOALS], metavar="N")
    parser.add_argument("--samples", type=int, default=5, metavar="N", help="half of the fits")
    parser.add_argument("--cases", type=int, default=1_000, metavar="N")
    arguments = parser.parse_args()
    path = arguments.data / "places" / "train.parquet"
    data = read_labelled([path], schema_for([path], None))
    found = []
    for rows in arguments.rows:
        samples = list(_samples(data, rows, arguments))
        for loss in (0.0, GOALS[rows] / 4, GOALS[rows] / 2, GOALS[rows]):
            found.append(simulate(samples, rows, loss, arguments.cases))
            print(_line(found[-1]), flush=True)
        _write(arguments.output, found, arguments.cases)


def _samples(data: LabelledEntities, rows: int, arguments: argparse.Namespace) -> Iterator[Sample]:
    """The samples of this number of rows; answers that were cached are read."""
    folder = arguments.work / "gate"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.samples):
        chosen = np.random.default_rng(number).permutation(len(data))[:rows]
        sample = data.take(np.sort(chosen))
        train, test = split(sample)
        scored = sample if len(test) < 0.99 * FEW_TEST_ROWS else test
        train = sample if scored is sample else train
        labels = label_set(train.labels)
        scores = []
        for seed in (2 * number, 2 * number + 1):
            file = folder / f"{rows}-{seed}.npz"
            if not file.exists():
                configuration = Configuration(seed=seed, threads=arguments.threads)
                _answers(train, scored, labels, configuration).write(file)
                print(f"{file.name} written", flush=True)
            answers = Answers.read(file)
            scores.append(answers.scores(np.arange(len(scored)), scored, labels))
        yield Sample(scored, np.array(scores))


def _answers(
    train: LabelledEntities,
    scored: LabelledEntities,
    labels: LabelSet,
    configuration: Configuration,
) -> Answers:
    """Cross-validated answers, or the answers to test rows if there are many rows."""

    def fit(rows: Rows) -> Labeler:
        return fit_labeler(train.take(rows), configuration)

    if scored is not train:
        return Answers.of(fit(np.arange(len(train))), scored.entities, configuration.threads)
    found = cross_validate(fit, train.entities, scored.entities, labels, configuration.threads)
    if found is None:
        raise SystemExit(f"{len(train)} rows are too few to fit a model: give larger --rows")
    return found


def simulate(samples: list[Sample], rows: int, loss: float, cases: int) -> Rates:
    """The findings of the gate in many cases, and the share of refused challengers."""
    random = np.random.default_rng(0)
    findings: collections.Counter[str] = collections.Counter()
    refused = 0
    for _ in range(cases):
        verdict = judge(_case(samples[random.integers(len(samples))], loss, random), list)
        findings[verdict.finding] += 1
        refused += not verdict.promoted
    shares = {finding: findings[finding] / cases for finding in Finding}
    return Rates(rows, 2 * len(samples), loss, shares, refused / cases)


def _case(sample: Sample, loss: float, random: np.random.Generator) -> Evidence:
    """One comparison on names that were drawn with replacement."""
    names = sample.rows_of_names
    drawn = random.integers(0, len(names), len(names))
    rows = np.concatenate([names[name] for name in drawn])
    owners = np.repeat(np.arange(len(drawn)), [len(names[name]) for name in drawn])
    champion, challenger = sample.scores[random.permutation(2)]
    wrong = (random.random(len(drawn)) < loss / 100 / challenger.mean())[owners]
    after = np.where(wrong, 0.0, challenger[rows])
    return Evidence(
        after - champion[rows],
        owners.astype(np.uint64),
        sample.data.entities.take(rows),
        "rows",
        "rows",
        1,
    )


def _line(rates: Rates) -> str:
    shares = " | ".join(
        f"{rates.findings[finding]:.1%}"
        for finding in (Finding.BETTER, Finding.NO_WORSE, Finding.CANNOT_TELL, Finding.WORSE)
    )
    return f"| {rates.rows:,} | {rates.fits} | {rates.loss:g} | {shares} | {rates.refused:.1%} |"


def _write(page: Path, found: list[Rates], cases: int) -> None:
    """Write the page and its JSON file."""
    text = f"""# The loop of corrections and retraining

Written by `make bench-loop`.

## Error rates of the promotion gate

{cases:,} cases for each line: samples of the places with two models each, and names drawn with
replacement. `Worse by` is the true loss of nDCG@5 of the challenger, in points. Below
30,000 rows the models are cross-validated; with 30,000 rows they are compared on 3,000 test rows.
`Refused` are the cases with the verdict worse: the data is that of the champion, so a model about
which the gate cannot tell is promoted. The goals: at most {RISK:.0%} are refused if nothing
changed, and at most {RISK:.0%} are better or no worse at the largest loss of each number of rows.

| Rows | Fits | Worse by | Better | No worse | Cannot tell | Worse | Refused |
|---:|---:|---:|---:|---:|---:|---:|---:|
"""
    text += "".join(f"{_line(rates)}\n" for rates in found)
    page.write_text(text, "utf-8")
    content = [dataclasses.asdict(rates) for rates in found]
    page.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

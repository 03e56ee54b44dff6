"""Closed world and open world: two models of OpenStreetMap's places, trained on the same rows.

Few places have the tag `wheelchair=*`: a missing tag does not mean that there is no access. In a
closed world a missing label is absent, so the model learns how rarely mappers write the tag. In an
open world a missing label is unknown, so the model learns how often the label is true among places
that have the tag. Both models are evaluated on held-out places that have the tag.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from benchmarks import options, tables
from labelwright.entities.label_book import group_of
from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import from_table
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.training.data import LabelledEntities, split
from labelwright.training.evaluation.evaluate import label_with_truth
from labelwright.training.evaluation.metrics import calibration_error, correctness
from labelwright.training.fitting.fit import Configuration, fit_labeler

OPEN = ("wheelchair", "internet_access", "outdoor_seating", "diet:vegan", "diet:vegetarian")
KINDS = ("amenity", "shop", "tourism", "leisure", "office", "cuisine", *OPEN)
"""Tags that are used as labels. If a tag of OPEN is missing, its labels are unknown."""
MIN_COUNT = 20
RESULTS = Path(__file__).parent / "results" / "open_world.md"


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of a place and a label with known truth.

    For each pair: its probability, whether it is asserted, and whether the label is present.
    """

    probabilities: npt.NDArray[np.float32]
    asserted: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]

    @property
    def f1(self) -> float:
        """F1 of the asserted labels."""
        correct = (self.asserted & self.present).sum()
        return float(2 * correct / max(self.asserted.sum() + self.present.sum(), 1))

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve of the probabilities."""
        return float(average_precision_score(self.present, self.probabilities))


def read_places(path: Path, schema: EntitySchema) -> LabelledEntities:
    """Read places of OpenStreetMap: names and addresses are fields, tags of KINDS are labels."""
    table = pq.read_table(path)
    tags = [json.loads(text) for text in table["tags"].to_pylist()]
    columns = {
        "id": table["id"],
        "name": table["name"],
        "city": [given.get("addr:city") for given in tags],
        "address": [given.get("addr:street") for given in tags],
        "country": [given.get("addr:country") for given in tags],
        "website": [given.get("website") or given.get("contact:website") for given in tags],
    }
    labels = pa.array([list(_labels(given)) for given in tags], pa.list_(pa.string()))
    return LabelledEntities(from_table(pa.table(columns), schema), labels)


def _labels(tags: dict[str, str]) -> Iterator[str]:
    for kind in KINDS:
        for value in tags.get(kind, "").split(";"):
            if value.strip():
                yield f"{kind}={value.strip().lower()}"


def pairs_of(labeler: Labeler, test: LabelledEntities, group: str, threads: int) -> Pairs | None:
    """Pairs of the labels of a group with known truth; None if the model has no such label."""
    names = [name for name in labeler.labels.names if group_of(name) == group]
    if not names:
        return None
    predictions, truth = label_with_truth(labeler, test, LabelQuery(only=tuple(names)), threads)
    _, _, present = correctness(predictions, truth)
    return Pairs(predictions.probabilities, predictions.asserted, present)


def table_of(data: Path, threads: int) -> str:
    """Train both models, and return a Markdown table with the results for the groups of OPEN."""
    closed = load_schema("places")
    train, test = split(read_places(data, dataclasses.replace(closed, open_world=OPEN)))
    closed_train = dataclasses.replace(
        train, entities=dataclasses.replace(train.entities, schema=closed)
    )
    configuration = Configuration(min_count=MIN_COUNT, threads=threads)
    labelers = {
        "closed": fit_labeler(closed_train, configuration),
        "open": fit_labeler(train, configuration),
    }
    lines = [
        "| Labels | Known pairs | present | World | Mean probability | ECE | "
        "Average precision | F1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in OPEN:
        for world, labeler in labelers.items():
            if (pairs := pairs_of(labeler, test, group, threads)) is not None:
                lines.append(
                    f"| {group} | {len(pairs.present):,} | {pairs.present.mean():.3f} | {world} | "
                    f"{pairs.probabilities.mean():.3f} | "
                    f"{calibration_error(pairs.probabilities, pairs.present):.3f} | "
                    f"{pairs.average_precision:.3f} | {pairs.f1:.3f} |"
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    options.add_data(parser)
    options.add_threads(parser)
    given = parser.parse_args()
    places = given.data / "osm" / "places.parquet"
    if not places.exists():
        parser.exit(2, f"no file {places}: give --data or set LABELWRIGHT_DATA\n")
    table = table_of(places, given.threads)
    tables.write_page(RESULTS, f"# Closed and open world\n\n{__doc__}\n{table}")


if __name__ == "__main__":
    main()

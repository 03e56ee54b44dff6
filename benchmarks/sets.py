"""The shared data sets of the benchmarks, and smaller versions of the data sets."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set: its schema, and paths of its training and test rows below the data folder."""

    name: str
    schema: str
    train: str
    tests: Mapping[str, str]

    def missing(self, data: Path) -> list[Path]:
        """The files of the set that do not exist below `data`."""
        files = [data / self.train, *(data / file for file in self.tests.values())]
        return [file for file in files if not file.exists()]


def _benchmark(name: str, schema: str) -> DataSet:
    folder = f"benchmarks/{name}"
    return DataSet(name, schema, f"{folder}/train.parquet", {"test": f"{folder}/test.parquet"})


SETS = (
    _benchmark("bibtex", "words"),
    _benchmark("stackoverflow-titles", "text"),
    _benchmark("goemotions", "text"),
    DataSet(
        "places",
        "places",
        "places/train.parquet",
        {"test": "places/test.parquet", "maine": "places/maine.parquet"},
    ),
)


TEXT_SETS = tuple(
    _benchmark(name, "text")
    for name in (
        "stackoverflow-titles",
        "goemotions",
        "banking77",
        "nlupp-intents",
        "arxiv-categories",
        "wikimovies",
        "brighter-emotion-11lang",
    )
)
"""All sets of texts: those that a sentence encoder can read."""


def sample(table: pa.Table, rows: int, seed: int = 0) -> pa.Table:
    """Random rows of a table, in the order of the table; all rows if it has at most `rows`."""
    if rows >= len(table):
        return table
    chosen = np.random.default_rng(seed).choice(len(table), rows, replace=False)
    return table.take(np.sort(chosen))


def with_frequent_labels(table: pa.Table, count: int) -> pa.Table:
    """All rows of a table; only the `count` most frequent labels are kept."""
    lists = table["labels"].combine_chunks()
    names, owners = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    counts = names.value_counts()
    order = pc.sort_indices(counts, sort_keys=[("counts", "descending"), ("values", "ascending")])
    kept = pc.is_in(names, counts.field("values").take(order[:count]))
    lengths = np.bincount(owners[kept.to_numpy(zero_copy_only=False)], minlength=len(table))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    labels = pa.ListArray.from_arrays(pa.array(offsets), names.filter(kept).cast(pa.string()))
    return table.set_column(table.column_names.index("labels"), "labels", labels)

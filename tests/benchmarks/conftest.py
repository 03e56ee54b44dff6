"""A small data set in the format of the shared data sets."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.sets import DataSet

WORDS = {"fruit": ("apple", "pear", "plum"), "tool": ("saw", "drill", "hammer"), "sea": ("wave",)}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one set; the words of its rows determine the labels."""
    folder = tmp_path_factory.mktemp("data")
    random.seed(0)
    for part, count in (("train", 120), ("test", 30)):
        labels = [random.sample(sorted(WORDS), random.randint(1, 2)) for _ in range(count)]
        texts = [" ".join(w for label in row for w in WORDS[label]) + " the" for row in labels]
        if part == "test":
            labels[0].append("never seen in training")
        table = {"id": [f"{part}-{i}" for i in range(count)], "text": texts, "labels": labels}
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
    return folder


@pytest.fixture
def tiny() -> DataSet:
    """The description of the set in the folder `data`."""
    return DataSet("tiny", "text", "train.parquet", {"test": "test.parquet"})

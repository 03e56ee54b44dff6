"""Large Parquet files are read in batches, without loading the whole file into memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from labelwright.entities.io.readers import read_batches
from labelwright.entities.schema import EntitySchema

ROWS = 400_000


@pytest.mark.parametrize("group", [10_000, ROWS], ids=["many groups", "one group"])
def test_reading_parquet_needs_less_memory_than_the_file(
    tmp_path: Path, places: EntitySchema, group: int
) -> None:
    characters = np.random.default_rng(0).integers(97, 123, (ROWS, 60), np.uint8)
    names = pa.array([bytes(row).decode() for row in characters])
    file = tmp_path / "large.parquet"
    pq.write_table(pa.table({"name": names}), file, row_group_size=group, use_dictionary=False)
    del characters, names
    before, most = pa.total_allocated_bytes(), 0
    for batch in read_batches(file, places):
        most = max(most, pa.total_allocated_bytes() - before)
        assert len(batch.entities)
    assert most < file.stat().st_size / 2

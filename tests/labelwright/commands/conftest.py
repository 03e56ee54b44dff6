"""Fixtures for the tests of the commands: small files with and without labels."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.labelwright.commands.files import ROWS

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture(scope="session")
def rows(world: "World") -> pa.Table:
    """A few hundred brands with their labels."""
    return pq.read_table(world.data).slice(0, ROWS)


@pytest.fixture(scope="session")
def data(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows as a Parquet file."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(rows, path)
    return path


@pytest.fixture(scope="session")
def places_file(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with fifty places to label; the latitude 200 makes the fourth place invalid."""
    some = rows.slice(0, 50).drop_columns(["labels"])
    lat = pa.array([200.0 if row == 3 else 52.0 for row in range(50)])
    some = some.append_column("lat", lat).append_column("lon", pa.array([4.0] * 50))
    path = tmp_path_factory.mktemp("places") / "places.parquet"
    pq.write_table(some, path)
    return path

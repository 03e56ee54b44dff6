"""Fixture for the tests of bad input: valid rows, which the tests damage."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture(scope="session")
def rows(world: "World") -> pa.Table:
    """A hundred brands with their labels."""
    return pq.read_table(world.data).slice(0, 100)

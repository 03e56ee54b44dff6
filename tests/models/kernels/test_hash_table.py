"""Hash tables give the same results as a dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.models.kernels.hash_table import find, lookup_table

HASHES = st.one_of(
    st.integers(1, 2**64 - 1),
    st.integers(1, 40).map(lambda high: high << 32),  # all in the same slot
    st.integers(1, 40),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HASHES, unique=True, max_size=60), st.lists(HASHES, max_size=20))
def test_exactly_the_stored_hashes_are_found(keys: list[int], others: list[int]) -> None:
    table = lookup_table(np.array(keys, np.uint64))
    positions = {key: position for position, key in enumerate(keys)}
    for key in [0, *keys, *others]:
        assert find(table, np.uint64(key)) == positions.get(key, -1)

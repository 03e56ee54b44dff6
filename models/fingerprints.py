"""Fingerprints of entities: equal for rows of the same id of which the same is known."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entities.tables import Entities
from models.compiled import compiled
from models.features import buffers, seed_of
from models.tokens import Bytes, Hashes, mix


def fingerprints(entities: Entities) -> Hashes:
    """A 64-bit hash of each entity's id and fields; a field that is not given is as if absent."""
    found = np.zeros(len(entities), np.uint64)
    for name in entities.table.column_names:
        array = entities.column(name)
        if array is None or array.null_count == len(array):
            continue
        if pa.types.is_floating(array.type):
            _add_numbers(array.to_numpy(zero_copy_only=False), seed_of(name), found)
        else:
            _add_texts(*buffers(pc.fill_null(array, "")), seed_of(name), found)
    return found


@compiled
def _add_numbers(numbers: npt.NDArray[np.float64], seed: np.uint64, found: Hashes) -> None:
    bits = numbers.view(np.uint64)
    for row in range(found.size):
        if not np.isnan(numbers[row]):
            found[row] = mix(mix(found[row], seed), bits[row])


@compiled
def _add_texts(
    offsets: npt.NDArray[np.int64], letters: Bytes, seed: np.uint64, found: Hashes
) -> None:
    for row in range(found.size):
        start, end = offsets[row], offsets[row + 1]
        if start == end:
            continue
        state = mix(found[row], seed)
        word = np.uint64(end - start)
        for i in range(start, end):
            if (i - start) % 8 == 0:
                state = mix(state, word)
                word = np.uint64(0)
            word = (word << np.uint64(8)) | np.uint64(letters[i])
        found[row] = mix(state, word)

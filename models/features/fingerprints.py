"""Fingerprints: hashes of entities, which are equal for rows with equal ids and equal values."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from labelwright.entities.arrays import buffers
from labelwright.entities.tables import Entities
from labelwright.models.features.space import seed_of
from labelwright.models.features.tokens import Bytes
from labelwright.models.kernels.hashes import Hashes, mix_strongly
from labelwright.models.kernels.jit import compiled

CONTENT_ID_PREFIX = "content-"
"""The prefix of ids that are made of the content of an entity."""


def fingerprints(entities: Entities) -> Hashes:
    """A 64-bit hash of the id and the fields of each entity. Empty fields do not affect it."""
    return _fingerprints(entities, ("id", *entities.schema.fields))


def content_fingerprints(entities: Entities) -> Hashes:
    """A 64-bit hash of the fields of each entity, without the id."""
    return _fingerprints(entities, entities.schema.fields)


def content_ids(entities: Entities) -> pa.StringArray:
    """Ids for entities without an id, made of the hashes of their fields."""
    found = content_fingerprints(entities).tolist()
    return pa.array([f"{CONTENT_ID_PREFIX}{each:016x}" for each in found], pa.string())


def _fingerprints(entities: Entities, names: Sequence[str]) -> Hashes:
    found = np.zeros(len(entities), np.uint64)
    for name in names:
        array = entities.column(name)
        if array is None or array.null_count == len(array):
            continue
        if pa.types.is_floating(array.type):
            _add_numbers(array.to_numpy(zero_copy_only=False), seed_of(name), found)
        else:
            _add_texts(*buffers(array), seed_of(name), found)
    return found


@compiled
def _add_numbers(numbers: npt.NDArray[np.float64], seed: np.uint64, found: Hashes) -> None:
    bits = numbers.view(np.uint64)
    for row in range(found.size):
        if not np.isnan(numbers[row]):
            found[row] = mix_strongly(mix_strongly(found[row], seed), bits[row])


@compiled
def _add_texts(
    offsets: npt.NDArray[np.int64], letters: Bytes, seed: np.uint64, found: Hashes
) -> None:
    for row in range(found.size):
        start, end = offsets[row], offsets[row + 1]
        if start == end:
            continue
        state = mix_strongly(found[row], seed)
        word = np.uint64(end - start)
        for i in range(start, end):
            if (i - start) % 8 == 0:
                state = mix_strongly(state, word)
                word = np.uint64(0)
            word = (word << np.uint64(8)) | np.uint64(letters[i])
        found[row] = mix_strongly(state, word)

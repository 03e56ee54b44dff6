"""Nested random subsets of rows, drawn by a hash of seed and id."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def drawing_order(ids: Iterable[str], seed: int) -> Rows:
    """All row numbers, sorted by the hash of seed and id; equal ids keep their order.

    The first n row numbers are the drawing of n rows. Therefore a small drawing is a part of each
    larger drawing with the same seed. Other rows of the file do not change the order of two rows.
    """
    digests = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in ids]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)

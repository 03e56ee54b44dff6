"""Synthetic places: generated rows that look like real places; any number can be generated.

The name, the address, the telephone number and the website of a row come from different real
places. In most of these texts, one letter or digit is replaced.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

GROUPS = (
    ("name",),
    ("address", "city", "region", "postcode", "country", "lat", "lon"),
    ("phone",),
    ("website",),
)
"""Groups of columns; the values of one group in a row come from the same real place."""
ALTERED = ("name", "address", "phone", "website")
"""Columns in whose texts one character is replaced."""
PART = 500_000
"""Number of rows that are generated and written at a time."""
_CLASSES = ((ord("a"), 26), (ord("A"), 26), (ord("0"), 10))


def write_perturbed(real_places: Path, output: Path, rows: int, seed: int = 0) -> None:
    """Write a Parquet file of synthetic places, generated from a Parquet file of real places."""
    columns = [name for group in GROUPS for name in group]
    real = pq.read_table(real_places, columns=columns)
    random = np.random.default_rng(seed)
    writer: pq.ParquetWriter | None = None
    for first in range(0, rows, PART):
        part = perturbed(real, first, min(PART, rows - first), random)
        writer = writer or pq.ParquetWriter(output, part.schema, compression="zstd")
        writer.write_table(part, row_group_size=1 << 17)
    if writer is not None:
        writer.close()


def perturbed(real: pa.Table, first: int, rows: int, random: np.random.Generator) -> pa.Table:
    """Synthetic places; their ids are the numbers from `first` to `first + rows - 1`, as text."""
    columns = {"id": pa.array(np.arange(first, first + rows)).cast(pa.string())}
    for group in GROUPS:
        places = pa.array(random.integers(0, len(real), rows))
        for name in group:
            drawn = real[name].take(places).combine_chunks()
            columns[name] = altered(drawn, random) if name in ALTERED else drawn
    return pa.table(columns)


def altered(texts: pa.StringArray, random: np.random.Generator) -> pa.StringArray:
    """Replace one random character of each text by another character of the same class.

    The classes are ASCII's lower-case letters, upper-case letters and digits. If the character is
    in none of these classes, the text is unchanged. Null is unchanged.
    """
    filled = pc.fill_null(texts, "").cast(pa.string())
    _, offsets, data = filled.buffers()
    bounds = np.frombuffer(offsets, np.int32)[filled.offset : filled.offset + len(filled) + 1]
    letters: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8).copy()
    lengths = np.diff(bounds)
    at = (bounds[:-1] + (random.random(len(lengths)) * lengths).astype(np.int64))[lengths > 0]
    for start, count in _CLASSES:
        these = at[(letters[at] >= start) & (letters[at] < start + count)]
        others = random.integers(1, count, len(these))
        letters[these] = start + (letters[these] - start + others) % count
    changed = pa.StringArray.from_buffers(
        len(filled), offsets, pa.py_buffer(letters), None, 0, filled.offset
    )
    return pc.if_else(pc.is_valid(texts), changed, pa.scalar(None, pa.string()))

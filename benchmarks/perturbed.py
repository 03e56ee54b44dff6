"""Made places: any number of rows that look like real places but are none.

Name, address, telephone number and website of a row come from different real places, and in most of
these texts one letter or digit is replaced.
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
"""Columns whose values come from the same real place."""
ALTERED = ("name", "address", "phone", "website")
PART = 500_000
"""Rows that are made at once."""
_CLASSES = ((ord("a"), 26), (ord("A"), 26), (ord("0"), 10))


def write_perturbed(real_places: Path, output: Path, rows: int, seed: int = 0) -> None:
    """Write a Parquet file of made places, from the real ones of another Parquet file."""
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
    """Made places, whose ids are numbers from `first` on."""
    columns = {"id": pa.array(np.arange(first, first + rows)).cast(pa.string())}
    for group in GROUPS:
        places = pa.array(random.integers(0, len(real), rows))
        for name in group:
            drawn = real[name].take(places).combine_chunks()
            columns[name] = altered(drawn, random) if name in ALTERED else drawn
    return pa.table(columns)


def altered(texts: pa.StringArray, random: np.random.Generator) -> pa.StringArray:
    """Replace one random character of each text by another of its class.

    The classes are lower case, upper case and digits of ASCII; any other character stays.
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

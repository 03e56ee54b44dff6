"""Division of large work into parts, so that the work of other clients is done between them.

The cost of work is counted in rows: the number of short rows that are labelled in the same time.
Long rows cost more, by the size of their decoded text.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from labelwright.entities.arrays import text_sizes
from labelwright.entities.values import FIELD_LIMIT
from labelwright.service.request import ParsedRequest

PART_ROWS = 2_048
"""Maximum cost of a part, unless it has one row only."""
ROW_BYTES = 256
"""Number of bytes of text that are labelled in the time that a short row takes."""
DECODED_BYTES = 1_024
"""Number of bytes that are decoded in the time that a short row takes to be labelled."""
Request = TypeVar("Request", bound=ParsedRequest)
Sizes = npt.NDArray[np.int64]


def cost_of(rows: int, size: int) -> int:
    """Cost of labelling rows whose text has `size` bytes."""
    return max(rows, size // ROW_BYTES)


def decoding_cost(rows: int, body: bytes) -> int:
    """Cost of decoding a body of about `rows` rows, and of labelling them if their text is short.

    The cost of long text is only known after decoding.
    """
    return max(rows, len(body) // DECODED_BYTES)


def request_cost(request: ParsedRequest) -> int:
    """Cost of labelling the entities of a request, and of serialising the results."""
    return cost_of(len(request.entities), request.entities.table.nbytes) * request.cost_factor


def is_large(request: ParsedRequest) -> bool:
    """Whether a request is larger than a part."""
    entities, factor = request.entities, request.cost_factor
    if len(entities) * factor > PART_ROWS:
        return len(entities) > 1
    longest = entities.table.num_columns * FIELD_LIMIT
    if len(entities) * longest * factor <= PART_ROWS * ROW_BYTES:
        return False  # the usual case, without the cost of measuring the text
    return len(entities) > 1 and request_cost(request) > PART_ROWS


def parts_of(request: Request) -> Iterator[Request]:
    """The parts of a request, in order."""
    table, factor = request.entities.table, request.cost_factor
    sizes = sum((text_sizes(column) for column in table.columns), np.zeros(len(table), np.int64))
    for start, end in ranges(sizes, max(1, PART_ROWS // factor), PART_ROWS * ROW_BYTES // factor):
        yield request.part(start, end)


def ranges(
    sizes: Sizes, rows: int = PART_ROWS, size: int = PART_ROWS * ROW_BYTES
) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of rows, each from its first row up to but excluding its end.

    A range has at most `rows` rows, whose `sizes` sum to at most `size`. A row that is larger is a
    range of its own.
    """
    ends = np.cumsum(sizes)
    start = before = 0
    while start < len(sizes):
        fitting = int(np.searchsorted(ends, before + size, side="right"))
        end = min(max(fitting, start + 1), start + rows, len(sizes))
        yield start, end
        start, before = end, int(ends[end - 1])


def lengths_of(rows: Sequence[bytes | str]) -> Sizes:
    """The size of each row."""
    return np.fromiter(map(len, rows), np.int64, len(rows))

"""Tensors of the Open Inference Protocol: in JSON, or as bytes behind it."""

import struct
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pydantic
from pydantic import Field

from labelwright.entities.errors import DataError

TEXT = "BYTES"
NUMBERS = {
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
"""Types of numbers by their name in the protocol."""
BINARY_SIZE = "binary_data_size"
Size = Annotated[int, Field(ge=0)]
Array = npt.NDArray[Any] | Sequence[bytes]


class Tensor(pydantic.BaseModel):
    """A tensor as it stands in a request; the bytes of a binary one come behind the JSON."""

    model_config = pydantic.ConfigDict(strict=True)

    name: str = Field(max_length=200)
    shape: list[Size] = Field(min_length=1, max_length=2)
    datatype: str = Field(max_length=20)
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}

    @property
    def binary_size(self) -> int | None:
        """How many bytes of it come behind the JSON; raises DataError."""
        size = self.parameters.get(BINARY_SIZE)
        if size is None:
            return None
        if self.data is not None or type(size) is not int or size < 0:
            raise DataError(f"a tensor has either data or a {BINARY_SIZE}")
        return size

    @property
    def rows(self) -> int:
        """How many elements it has; raises DataError for a shape of more than one column."""
        if len(self.shape) == 2 and self.shape[1] != 1:
            raise DataError("a tensor must have shape [n] or [n, 1]")
        return self.shape[0]

    def array(self, content: bytes | None) -> pa.Array:
        """Its elements, of data in JSON or of the bytes that came behind; raises DataError."""
        if self.datatype != TEXT and self.datatype not in NUMBERS:
            raise DataError(f"a datatype must be {TEXT} or one of {', '.join(NUMBERS)}")
        found = self._parsed() if content is None else self._decoded(content)
        if len(found) != self.rows:
            raise DataError("a tensor must have as many elements as its shape says")
        return found

    def _parsed(self) -> pa.Array:
        kind = pa.string() if self.datatype == TEXT else _arrow(self.datatype)
        data = self.data or []
        if any(isinstance(element, list) for element in data):
            rows = [row if isinstance(row, list) else [row] for row in data]
            data = [element for row in rows for element in row]
        try:
            return pa.array(data, kind)
        except (pa.ArrowException, ArithmeticError, TypeError, ValueError) as error:
            raise DataError(f"the data of a tensor must be {self.datatype}") from error

    def _decoded(self, content: bytes) -> pa.Array:
        if self.datatype == TEXT:
            texts = pa.array(split_texts(content, self.rows), pa.binary())
            return texts.view(pa.string())  # what is not UTF-8 is rejected row by row
        kind = NUMBERS[self.datatype]
        if len(content) != self.rows * kind.itemsize:
            raise DataError("the bytes of a tensor must fit its shape")
        numbers = np.frombuffer(content, kind)
        return pa.array(numbers.astype(np.float64) if kind.itemsize == 2 else numbers)


def split_texts(content: bytes, count: int) -> list[bytes]:
    """The elements of binary BYTES, each behind its length in 4 bytes; raises DataError."""
    texts: list[bytes] = []
    at = 0
    while at + 4 <= len(content) and len(texts) < count:
        (size,) = struct.unpack_from("<I", content, at)
        at += 4 + size
        texts.append(content[at - size : at])
    if at != len(content):
        raise DataError("the bytes of a tensor must fit its shape")
    return texts


def join_texts(texts: Sequence[bytes]) -> bytes:
    """The inverse of `split_texts`."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def told(name: str, datatype: str, array: Array, binary: bool) -> tuple[dict[str, Any], bytes]:
    """A tensor of an answer: its description, and the bytes that come behind the JSON."""
    if isinstance(array, np.ndarray):
        shape, content = list(array.shape), array.astype(NUMBERS[datatype]).tobytes()
    else:
        shape, content = [len(array)], join_texts(array) if binary else b""
    about: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
    if binary:
        return about | {"parameters": {BINARY_SIZE: len(content)}}, content
    if isinstance(array, np.ndarray):
        return about | {"data": array.ravel()}, b""
    return about | {"data": [text.decode() for text in array]}, b""


def _arrow(datatype: str) -> pa.DataType:
    return pa.float64() if datatype.startswith("FP") else pa.from_numpy_dtype(NUMBERS[datatype])

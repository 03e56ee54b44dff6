"""Tensors of the Open Inference Protocol, in JSON or as bytes that follow the JSON."""

import struct
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NotRequired

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pydantic
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.arrays import RejectedRows
from labelwright.entities.errors import DataError
from labelwright.service.http.request_form import RequestForm

TEXT = "BYTES"
NUMBERS = {
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
"""The NumPy type of each numeric datatype of the protocol."""
BINARY_SIZE = "binary_data_size"
"""The parameter with the number of bytes that a binary tensor has after the JSON."""
Size = Annotated[int, Field(ge=0)]
Array = npt.NDArray[Any] | Sequence[bytes]


class InputTensor(RequestForm):
    """A tensor of a request: one column of entities."""

    model_config = pydantic.ConfigDict(strict=True)

    name: str = Field(max_length=200)
    shape: list[Size] = Field(min_length=1, max_length=2)
    datatype: str = Field(max_length=20)
    data: list[Any] | None = None
    parameters: dict[str, Any] = Field(default={})

    @property
    def binary_size(self) -> int | None:
        """The number of bytes of the tensor after the JSON, None if its elements are in `data`.

        Raises DataError if the parameter is not valid, or if the tensor has `data` too.
        """
        size = self.parameters.get(BINARY_SIZE)
        if size is None:
            return None
        if self.data is not None or type(size) is not int or size < 0:
            raise DataError(
                f"tensor {self.name!r} must have either data or a {BINARY_SIZE}, a number of bytes"
            )
        return size

    @property
    def rows(self) -> int:
        """The number of elements; raises DataError for a shape of more than one column."""
        if len(self.shape) == 2 and self.shape[1] != 1:
            raise DataError(
                f"tensor {self.name!r} has shape {self.shape}: it must have shape [n] or [n, 1]"
            )
        return self.shape[0]

    def array(self, content: bytes | None, rejected_rows: RejectedRows) -> pa.Array:
        """The elements, from `content` if the tensor is binary, else from `data`.

        An element in `data` that does not fit the datatype is null in the array, and its row is
        added to `rejected_rows`. Raises DataError if no element fits the datatype, or if their
        number does not fit the shape.
        """
        if self.datatype != TEXT and self.datatype not in NUMBERS:
            raise DataError(
                f"tensor {self.name!r}: a datatype must be {TEXT} or one of {', '.join(NUMBERS)}"
            )
        array = self._from_json(rejected_rows) if content is None else self._from_bytes(content)
        if len(array) != self.rows:
            raise DataError(
                f"tensor {self.name!r} must have as many elements as its shape says: it has "
                f"{len(array):,} of {self.rows:,}"
            )
        return array

    def _from_json(self, rejected_rows: RejectedRows) -> pa.Array:
        data = self.data or []
        if any(isinstance(element, list) for element in data):
            rows = [row if isinstance(row, list) else [row] for row in data]
            data = [element for row in rows for element in row]
        if len(data) != self.rows:
            return pa.nulls(len(data))  # `array` raises an error
        try:
            return self._converted(data)
        except _UNFIT as error:
            unfit = {row for row, element in enumerate(data) if not self._fits(element)}
            if len(unfit) in (0, len(data)):
                raise DataError(
                    f"the data of tensor {self.name!r} must be {self.datatype}, as its datatype "
                    "says"
                ) from error
        for row in unfit:
            rejected_rows.add(row, f"{self.name}: must be {self.datatype}")
        return self._converted([None if row in unfit else data[row] for row in range(len(data))])

    def _fits(self, element: Any) -> bool:
        try:
            self._converted([element])
        except _UNFIT:
            return False
        return True

    def _converted(self, elements: Sequence[Any]) -> pa.Array:
        if self.datatype == TEXT:
            return _unchecked_texts(map(_encoded, elements))
        whole = not self.datatype.startswith("FP")
        for element in elements:  # pyarrow converts booleans, and cuts fractions off
            if type(element) is bool or (
                whole and type(element) is float and not element.is_integer()
            ):
                raise TypeError
        return pa.array(elements, _arrow_type(self.datatype))

    def _from_bytes(self, content: bytes) -> pa.Array:
        if self.datatype == TEXT:
            return _unchecked_texts(split_texts(content, self.rows))
        kind = NUMBERS[self.datatype]
        if len(content) != self.rows * kind.itemsize:
            raise DataError(
                f"the bytes of tensor {self.name!r} must fit its shape: they are {len(content):,}, "
                f"{self.rows:,} elements of {self.datatype} take {self.rows * kind.itemsize:,}"
            )
        numbers = np.frombuffer(content, kind)
        return pa.array(numbers.astype(np.float64) if kind.itemsize == 2 else numbers)


_UNFIT = (pa.ArrowException, ArithmeticError, TypeError, ValueError)


class TensorParameters(TypedDict):
    """Parameters of a binary tensor."""

    binary_data_size: Annotated[
        int, Field(ge=0, description="The number of bytes of the tensor after the JSON.")
    ]


class OutputTensor(TypedDict):
    """A tensor of a response. A tensor without `data` is binary: its bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: NotRequired[TensorParameters]
    data: NotRequired[list[Any]]


def split_texts(content: bytes, count: int) -> list[bytes]:
    """The elements of a binary BYTES tensor, each preceded by its length in 4 bytes.

    Raises DataError if `content` does not have exactly `count` elements.
    """
    texts: list[bytes] = []
    end = 0
    while end + 4 <= len(content) and len(texts) < count:
        (size,) = struct.unpack_from("<I", content, end)
        end += 4 + size
        texts.append(content[end - size : end])
    if end != len(content):
        raise DataError(
            f"the bytes of a {TEXT} tensor must fit its shape: {count:,} elements, each preceded "
            "by its length in 4 bytes"
        )
    return texts


def join_texts(texts: Sequence[bytes]) -> bytes:
    """The bytes of a binary BYTES tensor: the inverse of `split_texts`."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def encode(name: str, datatype: str, array: Array, binary: bool) -> tuple[OutputTensor, bytes]:
    """A tensor of a response: its JSON, and the bytes that follow the JSON if it is `binary`."""
    if isinstance(array, np.ndarray):
        shape, content = list(array.shape), array.astype(NUMBERS[datatype]).tobytes()
    else:
        shape, content = [len(array)], join_texts(array) if binary else b""
    tensor: OutputTensor = {"name": name, "datatype": datatype, "shape": shape}
    if binary:
        tensor["parameters"] = {"binary_data_size": len(content)}
        return tensor, content
    if isinstance(array, np.ndarray):
        tensor["data"] = array.ravel()  # type: ignore[typeddict-item]  # orjson writes NumPy arrays
    else:
        tensor["data"] = [text.decode() for text in array]
    return tensor, b""


def _unchecked_texts(texts: Iterable[bytes | None]) -> pa.StringArray:
    """A column of texts, of which `from_table` rejects those that are not UTF-8."""
    return pa.array(texts, pa.binary()).view(pa.string())


def _encoded(text: str | None) -> bytes | None:
    """UTF-8, which is not valid if the text has half of a surrogate pair."""
    return None if text is None else str.encode(text, "utf-8", "surrogatepass")


def _arrow_type(datatype: str) -> pa.DataType:
    return pa.float64() if datatype.startswith("FP") else pa.from_numpy_dtype(NUMBERS[datatype])

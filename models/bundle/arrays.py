"""The arrays of a bundle: their types, how they are read, and checks that make kernels safe."""

import io
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.models.features.tokens import GROUPS
from labelwright.models.stages.groups import LEAST_TEMPERING
from labelwright.models.stages.linear import padded

ARRAYS = {
    "features.keys": (np.uint64, 1),
    "features.weights": (np.float32, 1),
    "features.shares": (np.float32, 1),
    "features.edges": (np.float64, 2),
    "linear.bias": (np.float32, 1),
    "linear.scales": (np.float32, 1),
    "linear.dense": (np.int8, 2),
    "linear.sparse_indptr": (np.int64, 1),
    "linear.sparse": (np.uint32, 1),
    "implications.indptr": (np.int64, 1),
    "implications.ancestors": (np.int32, 1),
    "namesakes.keys": (np.uint64, 1),
    "namesakes.counts": (np.uint8, 1),
    "namesakes.indptr": (np.int64, 1),
    "namesakes.ids": (np.unsignedinteger, 1),
    "namesakes.shares": (np.uint8, 1),
    "reranker.rate": (np.float32, 1),
    "reranker.company": (np.uint8, 2),
    "reranker.knots": (np.float64, 2),
    "groups.tempering": (np.float64, 2),
    "groups.asked": (np.float32, 2),
    "decisions.thresholds": (np.float32, 2),
}
"""The type and the number of dimensions of each array."""
_FINITE = (
    "features.weights",
    "features.shares",
    "linear.bias",
    "linear.scales",
    "reranker.rate",
    "reranker.knots",
    "groups.tempering",
    "groups.asked",
)
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '[<>|]\w+', 'fortran_order': (True|False), "
    rb"'shape': \(((0|[1-9]\d*),( (0|[1-9]\d*))?)?\), \} *\n"
)
"""The headers that `np.save` writes. NumPy would parse any other header with Python's tokenizer, as
if an old version had written it."""
_LONGEST_HEADER = len(_MAGIC) + 2 + (1 << 16)
_LARGEST = 1e6
_SMALLEST = 1e-3


def arrays_in(contents: Mapping[str, memoryview]) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """The arrays in the contents of a bundle's files, by part and field, without copying.

    Raises ValueError for a file with another header, type or layout.
    """
    parts: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name in ARRAYS:
        part, field = name.split(".")
        parts.setdefault(part, {})[field] = _checked_array(contents[f"{name}.npy"], name)
    return parts


def check_arrays(parts: Mapping[str, Mapping[str, Any]], labels: int) -> None:
    """Raise ValueError if arrays do not fit each other, or if kernels cannot use them safely."""
    _check_shapes(parts, labels)
    _check_numbers(parts)


def array_in(content: memoryview, name: str) -> npt.NDArray[Any]:
    """The read-only array in the content of a NumPy file, without copying; raises ValueError."""
    file = io.BytesIO(content[:_LONGEST_HEADER])
    begin = file.read(len(_MAGIC) + 2)
    header = file.read(int.from_bytes(begin[len(_MAGIC) :], "little"))
    if not (begin.startswith(_MAGIC) and _HEADER.fullmatch(header)):
        raise ValueError(f"{name} does not have the header of a NumPy file of version 1.0")
    file.seek(len(_MAGIC))
    shape, in_fortran_order, kind = np.lib.format.read_array_header_1_0(file)
    values = np.frombuffer(content, kind, math.prod(shape), file.tell())
    return values.reshape(shape, order="F" if in_fortran_order else "C")


def _checked_array(content: memoryview, name: str) -> npt.NDArray[Any]:
    array = array_in(content, name)
    kind, dimensions = ARRAYS[name]
    right = np.issubdtype(array.dtype, kind) and array.dtype.isnative
    if not right or array.ndim != dimensions:
        raise ValueError(
            f"{name} has type {array.dtype} and {array.ndim} dimensions, not "
            f"{kind.__name__} and {dimensions}"
        )
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not in C order")
    return array


def _check_shapes(parts: Mapping[str, Mapping[str, Any]], labels: int) -> None:
    """Check shapes, offsets and ids. Kernels do not check indices.

    A kernel with an index out of range would read other memory.
    """
    linear, namesakes, reranker = parts["linear"], parts["namesakes"], parts["reranker"]
    features = len(parts["features"]["keys"])
    indptr, sparse = linear["sparse_indptr"], linear["sparse"]
    implied, ancestors = parts["implications"]["indptr"], parts["implications"]["ancestors"]
    agreements = {
        "features.weights": len(parts["features"]["weights"]) == features,
        "features.shares": len(parts["features"]["shares"]) == GROUPS,
        "linear.bias": len(linear["bias"]) == labels,
        "linear.scales": len(linear["scales"]) == features,
        "linear.dense": linear["dense"].shape[1] == padded(labels)
        and len(linear["dense"]) <= features,
        "linear.sparse_indptr": _offsets_fit(indptr, features - len(linear["dense"]), sparse),
        "linear.sparse": _within(sparse, labels * 256),
        "implications.indptr": _offsets_fit(implied, labels, ancestors),
        "implications.ancestors": _within(ancestors, labels)
        and _offsets_fit(implied, labels, ancestors)
        and _without_cycles(implied, ancestors),
        "namesakes.counts": len(namesakes["counts"]) == len(namesakes["keys"]),
        "namesakes.indptr": _offsets_fit(
            namesakes["indptr"], len(namesakes["keys"]), namesakes["ids"]
        ),
        "namesakes.ids": _within(namesakes["ids"], labels),
        "namesakes.shares": len(namesakes["shares"]) == len(namesakes["ids"]),
        "reranker.rate": len(reranker["rate"]) == labels,
        "reranker.company": reranker["company"].shape == (labels, labels),
        "reranker.knots": reranker["knots"].shape[0] == 2 and reranker["knots"].shape[1] > 0,
        "groups.tempering": parts["groups"]["tempering"].shape[1] == 2,
        "groups.asked": parts["groups"]["asked"].shape[1] == labels + 1,
        "decisions.thresholds": parts["decisions"]["thresholds"].shape[1] == labels,
    }
    for name, agrees in agreements.items():
        if not agrees:
            raise ValueError(f"{name} does not fit the other arrays")


def _check_numbers(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that no score can be infinite or NaN: NaN cannot be sorted."""
    for name in _FINITE:
        part, field = name.split(".")
        if not (np.abs(parts[part][field]) <= _LARGEST).all():
            raise ValueError(
                f"{name} contains numbers that are not finite, or larger than {_LARGEST:g}"
            )
    if np.isnan(parts["decisions"]["thresholds"]).any():
        raise ValueError("decisions.thresholds contains NaN")
    if (parts["reranker"]["rate"] < 0).any():
        raise ValueError("reranker.rate contains negative shares")
    if (parts["groups"]["tempering"] < LEAST_TEMPERING).any():
        raise ValueError(f"groups.tempering contains numbers below {LEAST_TEMPERING:g}")
    if not ((parts["groups"]["asked"] >= 0) & (parts["groups"]["asked"] <= 1)).all():
        raise ValueError("groups.asked contains numbers that are not shares")
    for name in ("weights", "shares"):
        if (parts["features"][name] < _SMALLEST).any():
            raise ValueError(f"features.{name} contains numbers below {_SMALLEST:g}")


def _offsets_fit(offsets: npt.NDArray[Any], rows: int, content: npt.NDArray[Any]) -> bool:
    return (
        len(offsets) == rows + 1 > 0
        and offsets[0] == 0
        and offsets[-1] == len(content)
        and bool((offsets[1:] >= offsets[:-1]).all())
    )


def _within(ids: npt.NDArray[Any], count: int) -> bool:
    return len(ids) == 0 or (ids.min() >= 0 and ids.max() < count)


def _without_cycles(offsets: npt.NDArray[Any], ancestors: npt.NDArray[Any]) -> bool:
    counts = np.diff(offsets)
    return bool((np.repeat(counts, counts) > counts[ancestors]).all())

"""Malicious arrays are an error, even if their hashes are correct."""

import hashlib
import io
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from labelwright.entities.errors import BundleError
from labelwright.models.bundle.format import read_bundle
from labelwright.models.features.tokens import GROUPS
from labelwright.models.labeler import Labeler
from tests.models.bundles import ARRAYS, manifest_of, sign, write_manifest


def reshape(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change an array of a bundle, and write a manifest with its new hash."""
    path = folder / f"{name}.npy"
    with np.errstate(over="ignore"):
        np.save(path, change(np.array(np.load(path))))
    sign(folder)


@pytest.mark.parametrize("name", [*ARRAYS, "features.edges", "decisions.thresholds"])
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[..., None],
        lambda array: np.zeros((), array.dtype),
        lambda array: array.astype(np.complex128),
        lambda array: array.astype(np.float16),
        lambda array: array.astype("U4"),
        lambda array: array.astype([("x", array.dtype)]),
        lambda array: np.zeros(array.shape, "M8[s]"),
    ],
    ids=["dimensions", "scalar", "complex", "half", "text", "record", "time"],
)
def test_an_array_of_another_type_is_an_error(
    copy: Path, name: str, change: Callable[[Any], Any]
) -> None:
    reshape(copy, name, change)
    with pytest.raises(BundleError, match=f"{name} (has type|does not have the header)"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, lambda array: array[:-1]) for name in ARRAYS if name != "reranker.knots"),
        *((name, lambda array: np.concatenate([array, array])) for name in ARRAYS),
        *((name, lambda array: array[:0]) for name in ARRAYS),
        ("linear.dense", lambda array: array[:, :-1]),
        ("reranker.company", lambda array: array[:, :-1]),
        ("reranker.knots", lambda array: array[:, :0]),
        ("reranker.knots", lambda array: array.T),
        ("decisions.thresholds", lambda array: array[:, :-1]),
        ("decisions.thresholds", lambda array: array.T),
        ("decisions.thresholds", lambda array: np.concatenate([array, array])),
        ("decisions.thresholds", lambda array: array[:0]),
    ],
)
def test_an_array_of_another_shape_is_an_error(
    copy: Path, name: str, change: Callable[[Any], Any]
) -> None:
    reshape(copy, name, change)
    with pytest.raises(BundleError, match="the files do not have the content"):
        read_bundle(copy)


def test_edges_for_another_number_of_columns_are_an_error(copy: Path) -> None:
    reshape(copy, "features.edges", lambda array: np.zeros((3, 15)))
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("name", ["linear.bias", "features.keys", "reranker.rate"])
def test_an_array_with_another_byte_order_is_an_error(copy: Path, name: str) -> None:
    reshape(copy, name, lambda array: array.astype(array.dtype.newbyteorder(">")))
    with pytest.raises(BundleError):
        read_bundle(copy)


def replaced(array: Any, place: int, value: int) -> Any:
    array[place] = value
    return array


@pytest.mark.parametrize("label", [65_535, (1 << 24) - 1])
def test_label_ids_of_sparse_rows_out_of_range_are_an_error(copy: Path, label: int) -> None:
    reshape(copy, "linear.sparse", lambda words: replaced(words, 3, label * 256))
    with pytest.raises(BundleError, match=r"linear\.sparse does not fit"):
        read_bundle(copy)


@pytest.mark.parametrize("weight", [0, 255])
def test_the_first_id_after_the_last_label_is_an_error(
    copy: Path, tiny: Labeler, weight: int
) -> None:
    first = len(tiny.labels) * 256 + weight
    reshape(copy, "linear.sparse", lambda words: replaced(words, 0, first))
    with pytest.raises(BundleError, match=r"linear\.sparse does not fit"):
        read_bundle(copy)


@pytest.mark.parametrize("weight", [0, 255])
def test_any_weight_of_the_last_label_can_be_read(copy: Path, tiny: Labeler, weight: int) -> None:
    last = len(tiny.labels) * 256 - 256 + weight
    reshape(copy, "linear.sparse", lambda words: replaced(words, 0, last))
    assert read_bundle(copy).labeler.linear.sparse[0] == last


@pytest.mark.parametrize(
    "change",
    [
        lambda indptr: replaced(indptr, 0, 1),
        lambda indptr: replaced(indptr, 0, -1),
        lambda indptr: replaced(indptr, -1, int(indptr[-1]) + 1),
        lambda indptr: replaced(indptr, -1, int(indptr[-1]) - 1),
        lambda indptr: replaced(indptr, 5, -9),
        lambda indptr: replaced(indptr, 5, 1 << 40),
        lambda indptr: replaced(indptr, 5, int(indptr[-1]) + 1),
    ],
)
def test_offsets_of_sparse_rows_out_of_range_are_an_error(
    copy: Path, change: Callable[[Any], Any]
) -> None:
    reshape(copy, "linear.sparse_indptr", change)
    with pytest.raises(BundleError, match=r"linear\.sparse_indptr does not fit"):
        read_bundle(copy)


def test_a_missing_share_of_a_token_group_is_an_error(copy: Path) -> None:
    reshape(copy, "features.shares", lambda _: np.ones(GROUPS + 1, np.float32))
    with pytest.raises(BundleError, match=r"features\.shares does not fit"):
        read_bundle(copy)


class Trap:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("unpickled",))


def saved(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved(np.array([Trap(), Trap()], object)),
        pickle.dumps(Trap()),
        pickle.dumps(np.zeros(3, np.float32)),
        saved(np.zeros(2, [("x", object)])),
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x09\x00\x76\x00" + b" " * 200,
        saved(np.zeros(3, np.float32))[:-2],
        saved(np.zeros(3, np.float32)).replace(b"(3,)", b"(9,)"),
        saved(np.zeros(3, np.float32)).replace(b"(3,)", b"-3  "),
        saved(np.zeros(3, np.float32)).replace(b"'<f4'", b"'|O' "),
        saved(np.zeros(3, np.float32)).replace(b"False", b"exit "),
        b"some text, longer than any header of an array could ever be" * 9,
    ],
    ids=[
        *("objects", "pickle", "pickled array", "record of objects", "magic", "version", "newer"),
        *("cut", "too long", "negative", "object type", "name", "text"),
    ],
)
@pytest.mark.parametrize("name", ["linear.bias", "features.keys"])
def test_a_file_with_an_unusual_array_is_an_error(copy: Path, name: str, content: bytes) -> None:
    (copy / f"{name}.npy").write_bytes(content)
    sign(copy)
    with pytest.raises(BundleError, match="the files do not have the content"):
        read_bundle(copy)


def zipped() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, array=np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", zipped(), saved(np.zeros(3)).replace(b"(3,)", b"(3,(")],
    ids=["empty", "no zip", "zip", "unfinished header"],
)
def test_a_file_without_an_array_is_an_error(copy: Path, content: bytes) -> None:
    (copy / "linear.bias.npy").write_bytes(content)
    sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.filterwarnings("error")
def test_a_header_with_any_byte_changed_is_read_or_is_an_error(copy: Path) -> None:
    path = copy / "linear.bias.npy"
    content = path.read_bytes()
    manifest = manifest_of(copy)
    source = random.Random(0)
    outcomes: set[str] = set()
    for place in range(128):
        for value in (0x28, 0x39, source.randrange(256)):
            changed = content[:place] + bytes([value]) + content[place + 1 :]
            path.write_bytes(changed)
            manifest["files"][path.name] = hashlib.sha256(changed).hexdigest()
            write_manifest(copy, manifest)
            try:
                read_bundle(copy)
                outcomes.add("read")
            except BundleError:
                outcomes.add("refused")
            except Exception as error:  # noqa: BLE001 - the test fails and names the other error
                outcomes.add(type(error).__name__)
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    "name", ["features.weights", "linear.bias", "linear.scales", "reranker.knots"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_numbers_that_make_scores_infinite_are_an_error(
    copy: Path, name: str, value: float
) -> None:
    def change(array: Any) -> Any:
        array.flat[-1] = value
        return array

    reshape(copy, name, change)
    with pytest.raises(BundleError, match=f"{name} contains numbers"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("name", "value"), [("decisions.thresholds", np.nan), ("reranker.rate", -1)]
)
def test_nan_is_an_error(copy: Path, name: str, value: float) -> None:
    reshape(copy, name, lambda array: np.full_like(array, value))
    with pytest.raises(BundleError, match=f"{name} contains"):
        read_bundle(copy)

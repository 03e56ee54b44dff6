"""Bundles: what is read is what was written, and everything else is refused."""

import dataclasses
import hashlib
import io
import itertools
import json
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from entities.errors import BundleError, ModelNotFoundError, StorageError
from entities.tables import Entities
from models.bundle import (
    FORMAT,
    MANIFEST,
    Manifest,
    content_hash,
    read_bundle,
    read_manifest,
    seal,
    write_bundle,
)
from models.decisions import PRECISIONS, Question
from models.labeler import Labeler
from models.linear import LinearStage
from models.tokens import GROUPS
from training.data import LabelledEntities
from training.fit import Configuration, fit_labeler

ROWS = 200
QUESTION = Question(top_k=20)
DETAILS = {"seed": 7, "data": "nsi", "metrics": {"f1": 0.5}}


def with_sparse_rows(linear: LinearStage) -> LinearStage:
    """The same stage with the rarer half of its features in sparse rows."""
    frequent = len(linear.dense) // 2
    rare = linear.dense[frequent:]
    owners, ids = np.nonzero(rare)
    indptr = np.searchsorted(owners, np.arange(len(rare) + 1)).astype(np.int64)
    return LinearStage(
        linear.bias,
        linear.scales,
        linear.dense[:frequent],
        indptr,
        ids.astype(np.uint16),
        rare[owners, ids],
    )


@pytest.fixture(scope="module")
def tiny(brands: Entities, brand_labels: pa.ListArray) -> Labeler:
    """A model of a few entities, with dense and sparse rows."""
    data = LabelledEntities(brands.slice(0, ROWS), brand_labels.slice(0, ROWS))
    fitted = fit_labeler(data, Configuration(min_count=2, trees=5, passes=1, folds=2))
    return dataclasses.replace(fitted, linear=with_sparse_rows(fitted.linear))


@pytest.fixture(scope="module")
def written(tiny: Labeler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `tiny`; tests must not change it."""
    folder = tmp_path_factory.mktemp("written") / "bundle"
    write_bundle(tiny, folder, "1.2.3", DETAILS)
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    del content["seal"]
    return content


def sign(folder: Path, **changes: Any) -> None:
    """Change the manifest, and let it state the hashes of the files as they are."""
    manifest = manifest_of(folder)
    for path in folder.iterdir():
        if path.name != MANIFEST:
            manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_manifest(folder, manifest | changes)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest as whoever forges one would: with its seal."""
    (folder / MANIFEST).write_text(json.dumps({**manifest, "seal": seal(manifest)}))


def answers(labeler: Labeler, entities: Entities) -> pa.ListArray:
    return labeler.label(entities.slice(0, ROWS), QUESTION).to_arrow()


# There and back.


def test_what_is_read_answers_to_the_last_bit_as_what_was_written(
    tiny: Labeler, written: Path, brands: Entities
) -> None:
    bundle = read_bundle(written)
    expected = answers(tiny, brands)
    assert expected.values.field("asserted").true_count > ROWS / 2
    assert answers(bundle.labeler, brands).equals(expected)


def test_all_parts_survive(tiny: Labeler, written: Path) -> None:
    labeler = read_bundle(written).labeler
    assert labeler.labels == tiny.labels
    assert labeler.schema == tiny.schema
    assert labeler.reranker.trees == tiny.reranker.trees
    assert labeler.decisions.slope == tiny.decisions.slope
    assert labeler.decisions.intercept == tiny.decisions.intercept
    assert labeler.decisions.candidates == tiny.decisions.candidates
    assert list(labeler.decisions.policies) == ["balanced", "broad"]
    assert list(labeler.decisions.promises) == list(PRECISIONS)
    for level, thresholds in tiny.decisions.promises.items():
        assert np.array_equal(labeler.decisions.promises[level], thresholds)
    for part in ("bias", "scales", "dense", "sparse_indptr", "sparse_ids", "sparse_weights"):
        assert np.array_equal(getattr(labeler.linear, part), getattr(tiny.linear, part))
    assert len(tiny.linear.sparse_ids) > 100


def test_what_was_read_can_be_written_and_read_again(
    tiny: Labeler, written: Path, tmp_path: Path, brands: Entities
) -> None:
    manifest = write_bundle(read_bundle(written).labeler, tmp_path / "again", "1.2.3", DETAILS)
    assert dataclasses.asdict(manifest) == manifest_of(written)
    assert answers(read_bundle(tmp_path / "again").labeler, brands).equals(answers(tiny, brands))


def test_several_policies_keep_their_names_and_thresholds(tiny: Labeler, tmp_path: Path) -> None:
    thresholds = tiny.decisions.policies["balanced"]
    policies = {"timid": thresholds + 0.1, "balanced": thresholds, "bold": thresholds / 2}
    decisions = dataclasses.replace(tiny.decisions, policies=policies)
    write_bundle(dataclasses.replace(tiny, decisions=decisions), tmp_path / "b", "1", {})
    found = read_bundle(tmp_path / "b").labeler.decisions.policies
    assert list(found) == ["timid", "balanced", "bold"]
    assert all(np.array_equal(found[name], policies[name]) for name in policies)


def test_the_manifest_states_what_the_model_is(tiny: Labeler, written: Path) -> None:
    manifest = read_manifest(written)
    assert manifest == read_bundle(written).manifest == Manifest(**manifest_of(written))
    assert manifest.format == FORMAT
    assert manifest.labelwright == "1.2.3"
    assert manifest.details == DETAILS
    assert manifest.schema == tiny.schema.to_mapping()
    assert manifest.content == content_hash(tiny)
    assert {MANIFEST, *manifest.files} == {path.name for path in written.iterdir()}


def test_a_bundle_can_be_read_by_others(written: Path) -> None:
    assert written.stat().st_mode & 0o777 == 0o755


def test_loading_cannot_change_a_bundle(written: Path) -> None:
    labeler = read_bundle(written).labeler
    with pytest.raises(ValueError, match="read-only"):
        labeler.linear.bias[0] = 1


def test_a_folder_may_be_nested_and_new(tiny: Labeler, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    write_bundle(tiny, folder, "1", {})
    assert read_manifest(folder).labelwright == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["c"]


# The content hash.


def test_the_content_hash_is_that_of_the_model_alone(
    tiny: Labeler, written: Path, tmp_path: Path
) -> None:
    other = write_bundle(tiny, tmp_path / "other", "9.9", {"time": "later"})
    assert other.content == read_manifest(written).content == content_hash(tiny)
    assert other.files == read_manifest(written).files
    assert content_hash(read_bundle(written).labeler) == content_hash(tiny)


ARRAYS = [
    *("features.keys", "features.weights", "features.shares", "linear.bias", "linear.scales"),
    *("linear.dense", "linear.sparse_indptr", "linear.sparse_ids", "linear.sparse_weights"),
    *("namesakes.keys", "namesakes.counts", "namesakes.indptr", "namesakes.ids"),
    *("namesakes.shares", "reranker.rate", "reranker.company", "reranker.knots"),
]


@pytest.mark.parametrize("name", ARRAYS)
def test_a_change_of_any_array_changes_the_content_hash(tiny: Labeler, name: str) -> None:
    room, field = name.split(".")
    part = getattr(tiny, room)
    array = getattr(part, field).copy()
    array.flat[-1] = 0 if array.flat[-1] else 1
    if isinstance(part, LinearStage):
        changed = dataclasses.replace(tiny, linear=part._replace(**{field: array}))
    else:
        other = dataclasses.replace(part, **{field: array})
        changed = dataclasses.replace(tiny, **{room: other})
    assert content_hash(changed) != content_hash(tiny)


def test_a_change_of_labels_or_thresholds_changes_the_content_hash(tiny: Labeler) -> None:
    names = ("other", *tiny.labels.names[1:])
    labels = dataclasses.replace(tiny.labels, names=names)
    thresholds = {"balanced": tiny.decisions.policies["balanced"] + np.float32(0.01)}
    decisions = dataclasses.replace(tiny.decisions, policies=thresholds)
    hashes = {
        content_hash(tiny),
        content_hash(dataclasses.replace(tiny, labels=labels)),
        content_hash(dataclasses.replace(tiny, decisions=decisions)),
    }
    assert len(hashes) == 3


def with_trees(labeler: Labeler, old: str, new: str) -> Labeler:
    assert old in labeler.reranker.trees
    trees = labeler.reranker.trees.replace(old, new)
    return dataclasses.replace(labeler, reranker=dataclasses.replace(labeler.reranker, trees=trees))


def test_of_the_trees_all_but_their_parameters_is_hashed(tiny: Labeler) -> None:
    assert content_hash(with_trees(tiny, "[seed: 0]", "[seed: 1]")) == content_hash(tiny)
    assert content_hash(with_trees(tiny, "Tree=4", "Tree=5")) != content_hash(tiny)


# Accidents.


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)


def refusals(folder: Path, damage: Callable[[Path], object]) -> None:
    """Damage each file in turn, and put it back after it has been refused by its name."""
    for name in names(folder):
        path = folder / name
        content = path.read_bytes()
        damage(path)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            read_bundle(folder)
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            path.rmdir()
        path.write_bytes(content)
    read_bundle(folder)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: [path.unlink(), path.mkdir()],
        lambda path: [path.unlink(), path.symlink_to("nowhere")],
    ],
    ids=["gone", "empty", "cut", "half", "longer", "zeros", "folder", "link"],
)
def test_a_damaged_file_is_refused_by_its_name(
    copy: Path, damage: Callable[[Path], object]
) -> None:
    refusals(copy, damage)


def test_a_file_with_any_bit_changed_is_refused(copy: Path) -> None:
    source = random.Random(0)
    for _ in range(10):

        def flip(path: Path) -> None:
            content = bytearray(path.read_bytes())
            content[source.randrange(len(content))] ^= 1 << source.randrange(8)
            path.write_bytes(content)

        refusals(copy, flip)


def test_two_files_in_each_others_place_are_refused(copy: Path) -> None:
    contents = {name: (copy / name).read_bytes() for name in names(copy)}
    for one, other in itertools.combinations(contents, 2):
        if contents[one] == contents[other]:
            continue
        (copy / one).write_bytes(contents[other])
        (copy / other).write_bytes(contents[one])
        with pytest.raises(BundleError, match="is corrupt"):
            read_bundle(copy)
        for name in (one, other):
            (copy / name).write_bytes(contents[name])
    read_bundle(copy)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_manifest_is_refused(copy: Path, keep: int) -> None:
    (copy / MANIFEST).write_bytes((copy / MANIFEST).read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(copy)


def test_a_manifest_with_any_bit_changed_is_read_or_refused(copy: Path) -> None:
    content = (copy / MANIFEST).read_bytes()
    source = random.Random(0)
    outcomes = set()
    for _ in range(300):
        changed = bytearray(content)
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
        (copy / MANIFEST).write_bytes(changed)
        try:
            read_bundle(copy)
            outcomes.add("read")
        except BundleError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"slope": ', '"slope": 1'),
        ('"candidates": 15', '"candidates": 14'),
        ('"balanced"', '"bblanced"'),
        ('"website": {', '"webside": {'),
        ('"content": "', '"content": "0'),
        ('"f1": 0.5', '"f1": 0.7'),
    ],
    ids=["slope", "candidates", "policy", "column", "content", "metric"],
)
def test_a_change_of_the_manifest_is_noticed(copy: Path, old: str, new: str) -> None:
    text = (copy / MANIFEST).read_text()
    assert old in text
    (copy / MANIFEST).write_text(text.replace(old, new))
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("read", [read_bundle, read_manifest])
def test_where_there_is_no_bundle_none_is_found(
    copy: Path, tmp_path: Path, read: Callable[[Path], object]
) -> None:
    (copy / MANIFEST).unlink()
    for folder in (copy, tmp_path / "missing", copy / "labels.json"):
        with pytest.raises(ModelNotFoundError, match=r"no bundle at .* it has no manifest\.json"):
            read(folder)


def test_a_folder_in_the_place_of_the_manifest_is_refused(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(copy)


def test_foreign_files_beside_those_of_the_bundle_do_not_matter(copy: Path) -> None:
    (copy / "README.md").write_text("hello")
    (copy / "__pycache__").mkdir()
    assert read_bundle(copy).manifest == read_manifest(copy)


# Manifests that were made to deceive.


@pytest.mark.parametrize("content", [[], "bundle", 5, None, {}, {"format": "1"}, {"format": 1.0}])
def test_foreign_json_is_no_bundle(copy: Path, content: Any) -> None:
    (copy / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is not a labelwright bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"NOPE", b"{'format': 1}", b"1" * 5_000, b"{}{}"])
def test_what_is_not_json_is_no_bundle(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [MANIFEST, "labels.json"])
def test_json_that_is_nested_too_deeply_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"[" * 100_000)
    if name != MANIFEST:
        sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("more", [{}, {"secrets": 1}])
def test_a_newer_format_is_refused_with_what_to_do(copy: Path, more: dict[str, Any]) -> None:
    sign(copy, format=FORMAT + 1, **more)
    said = rf"has format {FORMAT + 1}; .* reads formats up to {FORMAT}, so it needs"
    with pytest.raises(BundleError, match=said):
        read_bundle(copy)


@pytest.mark.parametrize("number", [0, -1, True, 1])
def test_a_format_that_never_was_is_refused(copy: Path, number: int) -> None:
    sign(copy, format=number)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Manifest)])
def test_a_manifest_that_lacks_something_is_refused(copy: Path, key: str) -> None:
    manifest = manifest_of(copy)
    del manifest[key]
    write_manifest(copy, manifest)
    with pytest.raises(BundleError):
        read_bundle(copy)


def test_a_manifest_with_something_unknown_is_refused(copy: Path) -> None:
    sign(copy, run="curl example.com")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "sub/labels.json", "./labels.json", "", ".", "extra.npy", "\0"],
)
@pytest.mark.parametrize("instead", [True, False])
def test_a_manifest_that_lists_other_files_is_refused(copy: Path, name: str, instead: bool) -> None:
    (copy.parent / "secret").write_text("secret")
    files = manifest_of(copy)["files"] | {name: hashlib.sha256(b"secret").hexdigest()}
    if instead:
        del files["labels.json"]
    sign(copy, files=files)
    with pytest.raises(BundleError, match="does not list the files of a bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("files", [[], None, "labels.json", {}, 5])
def test_a_manifest_without_a_list_of_files_is_refused(copy: Path, files: Any) -> None:
    sign(copy, files=files)
    with pytest.raises(BundleError, match="does not list the files of a bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("digest", [None, "", 0, ["x"], "0" * 64])
def test_a_manifest_with_a_wrong_hash_is_refused(copy: Path, digest: Any) -> None:
    sign(copy, files=manifest_of(copy)["files"] | {"labels.json": digest})
    with pytest.raises(BundleError, match=r"labels\.json is corrupt"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {},
        {"name": "x", "columns": {}},
        {"name": "x", "columns": {"a": {"kind": "code"}}},
        {"name": "x", "columns": {"id": {"kind": "text"}}},
    ],
)
def test_a_manifest_with_a_bad_schema_is_refused(copy: Path, schema: Any) -> None:
    sign(copy, schema=schema)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"policies": []},
        {"policies": ["a", "b"]},
        {"policies": [["a"]]},
        {"policies": None},
        {"policies": 5},
        {"more": 1},
    ],
    ids=str,
)
def test_a_manifest_with_other_policies_than_thresholds_is_refused(
    copy: Path, changes: dict[str, Any]
) -> None:
    sign(copy, decisions=manifest_of(copy)["decisions"] | changes)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


@pytest.mark.parametrize("decisions", [None, [], {}, [1], "balanced"])
def test_a_manifest_without_decisions_is_refused(copy: Path, decisions: Any) -> None:
    sign(copy, decisions=decisions)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "changes",
    [
        *({"candidates": value} for value in (0, -1, "15", 1.5, None, True)),
        *({"slope": value} for value in ("a", None, [1], float("nan"), -1.0)),
        *({"intercept": value} for value in ("a", None, float("inf"))),
        {"policies": [1]},
        {"policies": "b"},
    ],
    ids=str,
)
def test_a_manifest_with_decisions_that_are_none_is_refused(
    copy: Path, changes: dict[str, Any]
) -> None:
    sign(copy, decisions=manifest_of(copy)["decisions"] | changes)
    with pytest.raises(BundleError):
        read_bundle(copy)


# Files with the right hashes that were made to deceive.


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"\xff",
        b"{}",
        b'"label"',
        b"5",
        b"null",
        b"[1]",
        b'["a", null]',
        b'[["a"]]',
        b'["a"]',
        b"[]",
    ],
)
def test_labels_that_are_not_those_of_the_model_are_refused(copy: Path, content: bytes) -> None:
    (copy / "labels.json").write_bytes(content)
    sign(copy)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


@pytest.mark.parametrize("bad", ["\ud800", "", None], ids=["surrogate", "empty", "twice"])
def test_labels_that_cannot_be_told_are_refused(copy: Path, tiny: Labeler, bad: str | None) -> None:
    labels = [*tiny.labels.names[:-1], tiny.labels.names[0] if bad is None else bad]
    (copy / "labels.json").write_text(json.dumps(labels))
    sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


def reshape(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change an array of a bundle and sign it."""
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
def test_an_array_of_another_kind_is_refused(
    copy: Path, name: str, change: Callable[[Any], Any]
) -> None:
    reshape(copy, name, change)
    with pytest.raises(BundleError, match=f"{name} has type"):
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
def test_an_array_of_another_shape_is_refused(
    copy: Path, name: str, change: Callable[[Any], Any]
) -> None:
    reshape(copy, name, change)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


def test_edges_of_other_columns_than_the_schema_has_are_refused(copy: Path) -> None:
    reshape(copy, "features.edges", lambda array: np.zeros((3, 15)))
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("name", ["linear.bias", "features.keys", "reranker.rate"])
def test_an_array_in_the_other_order_of_bytes_is_refused(copy: Path, name: str) -> None:
    reshape(copy, name, lambda array: array.astype(array.dtype.newbyteorder(">")))
    with pytest.raises(BundleError):
        read_bundle(copy)


def replaced(array: Any, place: int, value: int) -> Any:
    array[place] = value
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda ids: replaced(ids, 3, 65_535),
        lambda ids: replaced(ids.astype(np.int64), 3, -1),
        lambda ids: replaced(ids.astype(np.int64), 3, 1 << 40),
        lambda ids: replaced(ids.astype(np.uint64), 3, (1 << 64) - 1),
    ],
    ids=["too large", "negative", "far too large", "largest"],
)
def test_sparse_ids_out_of_range_are_refused(copy: Path, change: Callable[[Any], Any]) -> None:
    reshape(copy, "linear.sparse_ids", change)
    with pytest.raises(BundleError, match=r"linear\.sparse_ids (does not fit|has type)"):
        read_bundle(copy)


def test_the_first_sparse_id_that_is_no_label_is_refused(copy: Path, tiny: Labeler) -> None:
    reshape(copy, "linear.sparse_ids", lambda ids: replaced(ids, 0, len(tiny.labels)))
    with pytest.raises(BundleError, match=r"linear\.sparse_ids"):
        read_bundle(copy)


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
def test_sparse_rows_out_of_range_are_refused(copy: Path, change: Callable[[Any], Any]) -> None:
    reshape(copy, "linear.sparse_indptr", change)
    with pytest.raises(BundleError, match=r"linear\.sparse_indptr does not fit"):
        read_bundle(copy)


def test_there_must_be_a_share_for_each_group_of_tokens(copy: Path) -> None:
    reshape(copy, "features.shares", lambda _: np.ones(GROUPS + 1, np.float32))
    with pytest.raises(BundleError, match=r"features\.shares does not fit"):
        read_bundle(copy)


class Trap:
    """What runs code when it is unpickled."""

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
def test_a_file_that_is_no_plain_array_is_refused(copy: Path, name: str, content: bytes) -> None:
    (copy / f"{name}.npy").write_bytes(content)
    sign(copy)
    with pytest.raises(BundleError, match="not what its manifest says"):
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
def test_a_file_that_is_no_array_at_all_is_refused(copy: Path, content: bytes) -> None:
    (copy / "linear.bias.npy").write_bytes(content)
    sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
def test_a_header_with_any_byte_changed_is_read_or_refused(copy: Path) -> None:
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
            except Exception as error:  # noqa: BLE001 - which others there are is what is asked
                outcomes.add(type(error).__name__)
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    "name", ["features.weights", "linear.bias", "linear.scales", "reranker.knots"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_numbers_that_make_scores_infinite_are_refused(copy: Path, name: str, value: float) -> None:
    def change(array: Any) -> Any:
        array.flat[-1] = value
        return array

    reshape(copy, name, change)
    with pytest.raises(BundleError, match=f"{name} holds numbers"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("name", "value"), [("decisions.thresholds", np.nan), ("reranker.rate", -1)]
)
def test_numbers_that_compare_with_nothing_are_refused(copy: Path, name: str, value: float) -> None:
    reshape(copy, name, lambda array: np.full_like(array, value))
    with pytest.raises(BundleError, match=f"{name} holds"):
        read_bundle(copy)


def test_trees_that_are_no_text_are_refused(copy: Path) -> None:
    (copy / "reranker.txt").write_bytes(b"tree\n\xff")
    sign(copy)
    with pytest.raises(BundleError, match="not what its manifest says"):
        read_bundle(copy)


@pytest.mark.parametrize("content", ["", "tree\n", "hello", "import os"])
def test_trees_that_are_none_are_refused(copy: Path, content: str) -> None:
    (copy / "reranker.txt").write_text(content)
    sign(copy)
    with pytest.raises(BundleError, match="not LightGBM's"):
        read_bundle(copy)


def test_trees_that_look_at_other_features_are_refused(copy: Path) -> None:
    random = np.random.default_rng(0)
    data = lightgbm.Dataset(random.random((100, 3)), random.random(100) > 0.5)
    trees = lightgbm.train({"objective": "binary", "verbose": -1}, data, 2).model_to_string()
    (copy / "reranker.txt").write_text(trees)
    sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


LABEL_EMPTY = """
import sys
from pathlib import Path
from entities.errors import BundleError
from entities.tables import Entities
from models.bundle import read_bundle
from models.decisions import Question

try:
    labeler = read_bundle(Path(sys.argv[1])).labeler
    labeler.label(Entities.empty(labeler.schema, 1), Question())
except BundleError:
    print("refused")
"""


def test_truncated_trees_are_refused(copy: Path) -> None:
    trees = (copy / "reranker.txt").read_text()
    (copy / "reranker.txt").write_text(trees[: trees.index("Tree=3") + 60])
    sign(copy)
    command = [sys.executable, "-c", LABEL_EMPTY, str(copy)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.endswith("refused\n")


# Writing.


def test_a_bundle_is_never_written_over_another(copy: Path, tiny: Labeler) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(StorageError, match="was not written to"):
        write_bundle(tiny, copy, "9", {})
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_bundle_that_cannot_be_finished_leaves_nothing(tiny: Labeler, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_bundle(tiny, tmp_path / "bundle", "1", {"details": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/bundle", "file/more/bundle", "x" * 300])
def test_a_place_where_no_folder_can_be_is_a_storage_error(
    tiny: Labeler, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_bundle(tiny, tmp_path / place, "1", {})


ON_A_FULL_DISK = """
import json, resource, sys
from pathlib import Path
from models.bundle import read_bundle, seal, write_bundle

labeler = read_bundle(Path(sys.argv[1])).labeler
target = Path(sys.argv[2])
outcomes = {}
for limit in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    said = "nothing"
    try:
        write_bundle(labeler, target / "bundle", "1", {"note": "x" * 600_000})
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    outcomes[limit] = said, [path.name for path in target.iterdir()]
print(json.dumps(outcomes))
"""
LIMITS = ["1", "500", "5000", "500000"]
"""Files can grow to so many bytes; the last is enough for all but the manifest."""


@pytest.fixture(scope="module")
def outcomes(
    written: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[str, list[str]]]:
    """What happens on a full disk by limit: the error, and what then lies in the folder."""
    assert max(path.stat().st_size for path in written.iterdir()) < int(LIMITS[-1])
    target = tmp_path_factory.mktemp("full")
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(written), str(target), *LIMITS]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120)
    told: dict[str, tuple[str, list[str]]] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("limit", LIMITS)
def test_a_full_disk_is_a_storage_error_and_leaves_nothing(
    outcomes: dict[str, tuple[str, list[str]]], limit: str
) -> None:
    said, left = outcomes[limit]
    assert said.startswith("StorageError: the bundle was not written to ")
    assert left == []


def test_a_full_disk_is_called_so_even_by_numpy(
    outcomes: dict[str, tuple[str, list[str]]],
) -> None:
    assert "no space is left" in outcomes["500000"][0]
    assert "no space is left" in outcomes["500"][0]

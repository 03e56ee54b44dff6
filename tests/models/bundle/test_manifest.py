"""Malicious manifests are an error, even if their seal is correct."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from labelwright.entities.errors import BundleError
from labelwright.models.bundle.format import FORMAT, MANIFEST, Manifest, read_bundle
from tests.models.bundles import manifest_of, sign, write_manifest


@pytest.mark.parametrize("content", [[], "bundle", 5, None, {}, {"format": "1"}, {"format": 1.0}])
def test_other_json_is_not_a_manifest(copy: Path, content: Any) -> None:
    (copy / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is not a labelwright bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"NOPE", b"{'format': 1}", b"1" * 5_000, b"{}{}"])
def test_text_that_is_not_json_is_not_a_manifest(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [MANIFEST, "labels.json", "canned.json"])
def test_deeply_nested_json_is_an_error(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"[" * 100_000)
    if name != MANIFEST:
        sign(copy)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("more", [{}, {"secrets": 1}])
def test_a_newer_format_is_an_error_with_the_next_step(copy: Path, more: dict[str, Any]) -> None:
    sign(copy, format=FORMAT + 1, **more)
    message = rf"has format {FORMAT + 1}; .* reads only format {FORMAT}: install"
    with pytest.raises(BundleError, match=message):
        read_bundle(copy)


@pytest.mark.parametrize("number", [0, -1, True, 1])
def test_a_format_that_was_never_released_is_an_error(copy: Path, number: int) -> None:
    sign(copy, format=number)
    with pytest.raises(BundleError):
        read_bundle(copy)


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Manifest)])
def test_a_missing_key_is_an_error(copy: Path, key: str) -> None:
    manifest = manifest_of(copy)
    del manifest[key]
    write_manifest(copy, manifest)
    with pytest.raises(BundleError):
        read_bundle(copy)


def test_an_unknown_key_is_an_error(copy: Path) -> None:
    sign(copy, run="curl example.com")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_bundle(copy)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "sub/labels.json", "./labels.json", "", ".", "extra.npy", "\0"],
)
@pytest.mark.parametrize("instead", [True, False])
def test_a_list_of_other_files_is_an_error(copy: Path, name: str, instead: bool) -> None:
    (copy.parent / "secret").write_text("secret")
    files = manifest_of(copy)["files"] | {name: hashlib.sha256(b"secret").hexdigest()}
    if instead:
        del files["labels.json"]
    sign(copy, files=files)
    with pytest.raises(BundleError, match="does not list the files of a bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("files", [[], None, "labels.json", {}, 5])
def test_a_list_of_files_that_is_not_an_object_is_an_error(copy: Path, files: Any) -> None:
    sign(copy, files=files)
    with pytest.raises(BundleError, match="does not list the files of a bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("digest", [None, "", 0, ["x"], "0" * 64])
def test_a_wrong_hash_is_an_error(copy: Path, digest: Any) -> None:
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
def test_an_invalid_schema_is_an_error(copy: Path, schema: Any) -> None:
    sign(copy, schema=schema)
    with pytest.raises(BundleError, match="the files do not have the content"):
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
def test_policies_that_do_not_fit_the_thresholds_are_an_error(
    copy: Path, changes: dict[str, Any]
) -> None:
    sign(copy, decisions=manifest_of(copy)["decisions"] | changes)
    with pytest.raises(BundleError, match="the files do not have the content"):
        read_bundle(copy)


@pytest.mark.parametrize("decisions", [None, [], {}, [1], "balanced"])
def test_missing_decisions_are_an_error(copy: Path, decisions: Any) -> None:
    sign(copy, decisions=decisions)
    with pytest.raises(BundleError, match="the files do not have the content"):
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
def test_invalid_decisions_are_an_error(copy: Path, changes: dict[str, Any]) -> None:
    sign(copy, decisions=manifest_of(copy)["decisions"] | changes)
    with pytest.raises(BundleError):
        read_bundle(copy)

"""Files of bundles that are not regular, that change while a model is in use, or are too large."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from labelwright.entities.errors import BundleError
from labelwright.entities.tables import Entities
from labelwright.models.bundle.format import MANIFEST, read_bundle, read_manifest, seal, verify
from labelwright.models.bundle.golden import MOST_QUERIES
from labelwright.models.decisions import LabelQuery


@pytest.mark.timeout(30, func_only=True)
@pytest.mark.parametrize("read", [read_bundle, verify])
@pytest.mark.parametrize("name", [MANIFEST, "canned.json", "linear.dense.npy"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["FIFO", "device"]
)
def test_a_file_that_is_not_regular_is_refused_at_once(
    copy: Path, read: Callable[[Path], object], name: str, make: Callable[[Path], object]
) -> None:
    (copy / name).unlink()
    make(copy / name)
    with pytest.raises(BundleError, match=f"{name} cannot be read: not a regular file"):
        read(copy)


def forge(folder: Path, content: bytes) -> None:
    """Replace the golden queries, with their hash in the manifest."""
    (folder / "canned.json").write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    del manifest["seal"]
    manifest["files"]["canned.json"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest | {"seal": seal(manifest)}))


@pytest.mark.timeout(30, func_only=True)
@pytest.mark.parametrize("queries", [MOST_QUERIES + 1, 300_000])
def test_a_bundle_with_many_golden_queries_is_refused_at_once(copy: Path, queries: int) -> None:
    query = json.dumps({"entity": {"name": "Bar"}, "labels": []})
    forge(copy, f"[{', '.join([query] * queries)}]".encode())
    with pytest.raises(BundleError, match=r"canned.json has .* the limit|1 to 100 queries"):
        read_bundle(copy)


def test_a_model_in_use_does_not_change_with_its_files(copy: Path, brands: Entities) -> None:
    labeler = read_bundle(copy).labeler
    entities = brands.slice(0, 200)
    expected = labeler.label(entities, LabelQuery()).to_arrow()
    for path in copy.iterdir():
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
    assert labeler.label(entities, LabelQuery()).to_arrow() == expected
    for path in copy.iterdir():
        os.truncate(path, 0)
    assert labeler.label(entities, LabelQuery()).to_arrow() == expected


def test_a_mapped_bundle_gives_the_same_results(copy: Path, brands: Entities) -> None:
    entities = brands.slice(0, 200)
    copied, mapped = (read_bundle(copy, mapped) for mapped in (False, True))
    assert copied.manifest == mapped.manifest == read_manifest(copy)
    results = [one.labeler.label(entities, LabelQuery()).to_arrow() for one in (copied, mapped)]
    assert results[0] == results[1]
    shutil.rmtree(copy)  # a removed file stays mapped
    assert mapped.labeler.label(entities, LabelQuery()).to_arrow() == results[0]

"""The details and arrays of the test bundle, and functions that forge a bundle's manifest."""

import hashlib
import json
from pathlib import Path
from typing import Any

from labelwright.models.bundle.format import MANIFEST, seal

ROWS = 200
DETAILS = {"seed": 7, "data": "nsi", "metrics": {"f1": 0.5}}
ARRAYS = [
    *("features.keys", "features.weights", "features.shares", "linear.bias", "linear.scales"),
    *("linear.dense", "linear.sparse_indptr", "linear.sparse"),
    *("namesakes.keys", "namesakes.counts", "namesakes.indptr", "namesakes.ids"),
    *("namesakes.shares", "reranker.rate", "reranker.company", "reranker.knots"),
]


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    del content["seal"]
    return content


def sign(folder: Path, **changes: Any) -> None:
    """Change fields of the manifest, and write it with the hashes of the files in the folder."""
    manifest = manifest_of(folder)
    for path in folder.iterdir():
        if path.name != MANIFEST:
            manifest["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_manifest(folder, manifest | changes)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with a valid seal."""
    (folder / MANIFEST).write_text(json.dumps({**manifest, "seal": seal(manifest)}))

"""A model on disk: a folder of data that cannot run code.

`manifest.json` states the format, what the model is and how it did, and the SHA-256 of every other
file; `labels.json` the label set; `reranker.txt` the trees in LightGBM's own text; `canned.json`
what the model is known to answer; the arrays are NumPy files without objects, and memory-mapped,
and beside them stand the counts of its profile.
"""

import dataclasses
import hashlib
import json
import math
import re
import tokenize
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import (
    BundleError,
    ModelNotFoundError,
    OutdatedBundleError,
    SchemaError,
    StorageError,
    reason,
)
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.schema import EntitySchema
from labelwright.models.bundle.arrays import ARRAYS, check_arrays, load_arrays
from labelwright.models.bundle.golden import GoldenQueries
from labelwright.models.decisions import BALANCED, PRECISE, PRECISE_AT, Decisions
from labelwright.models.features.space import FeatureSpace, number_columns
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet
from labelwright.models.monitoring.profile import Profile
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import LinearStage
from labelwright.models.stages.namesakes import Namesakes
from labelwright.models.stages.reranker import Reranker

FORMAT = 5
"""Earlier formats were those of no released version."""
MANIFEST = "manifest.json"
_LABELS, _GOLDEN, _TREES = "labels.json", "canned.json", "reranker.txt"
_PROFILE = "profile.counts.npy"
_UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    OSError,
    EOFError,
    IndexError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
    SchemaError,
)
"""What the readers of JSON and of NumPy files raise for content that is not theirs."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    `content` is that of `content_hash`: equal for models that answer alike, whatever the
    versions, times and number of threads. `details` is what training noted: metrics, data, seed.
    """

    format: int
    labelwright: str
    schema: Mapping[str, Any]
    decisions: Mapping[str, Any]
    content: str
    files: Mapping[str, str]
    details: Mapping[str, Any]

    @property
    def profile(self) -> str:
        """The hash of the profile."""
        return self.files[_PROFILE]


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A model as read from disk, with what it is known to answer and the rows it was judged on."""

    labeler: Labeler
    manifest: Manifest
    golden: GoldenQueries
    profile: Profile


def write_bundle(
    labeler: Labeler,
    folder: Path,
    version: str,
    details: Mapping[str, Any],
    profile: Profile | None = None,
) -> Manifest:
    """Write a model to a new folder, whole or not at all; raises StorageError.

    It is asked its canned questions, and the answers are written beside it. Without a `profile` of
    rows that it has not seen, it cannot tell drift.
    """
    golden, profile = GoldenQueries.of(labeler), profile or Profile.empty(labeler)
    with temporary_folder(folder.parent, f".{folder.name}") as temporary:
        try:
            _write_files(labeler, golden, profile, temporary)
            manifest = _write_manifest(labeler, temporary, version, details)
            temporary.chmod(0o755)
            temporary.rename(folder)
        except OSError as error:
            raise StorageError(
                f"the bundle was not written to {folder}: {reason(error)}"
            ) from error
    return manifest


def read_bundle(folder: Path) -> Bundle:
    """Read and check a bundle; raises BundleError, or ModelNotFoundError where there is none."""
    manifest = verify(folder)
    try:
        labeler = _assemble(folder, manifest)
        golden = GoldenQueries.from_json((folder / _GOLDEN).read_bytes())
        counts = np.lib.format.open_memmap(folder / _PROFILE, mode="r")
        return Bundle(labeler, manifest, golden, Profile.from_counts(labeler, counts))
    except _UNREADABLE as error:
        raise BundleError(f"bundle {folder}: not what its manifest says ({error})") from error


def verify(folder: Path) -> Manifest:
    """Check the hashes of all files; raises BundleError, or ModelNotFoundError for no bundle."""
    manifest = read_manifest(folder)
    with ThreadPoolExecutor() as pool:  # hashing is most of the time that loading takes
        digests = list(pool.map(_digest, (folder / name for name in manifest.files)))
    for (name, expected), digest in zip(manifest.files.items(), digests, strict=True):
        if digest != expected:
            raise BundleError(f"bundle {folder}: {name} is corrupt (its hash has changed)")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest alone; raises BundleError, or ModelNotFoundError where there is none."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"no bundle at {folder}: it has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} cannot be read") from error
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise BundleError(f"{folder} is not a labelwright bundle")
    if content["format"] < FORMAT:
        raise OutdatedBundleError(f"bundle {folder} is of no released format: train it again")
    if content["format"] > FORMAT:
        raise BundleError(
            f"bundle {folder} has format {content['format']}; this version of labelwright reads "
            f"formats up to {FORMAT}, so it needs a newer one"
        )
    if content.pop("seal", None) != seal(content):
        raise BundleError(f"bundle {folder}: {MANIFEST} is corrupt (its hash has changed)")
    try:
        manifest = Manifest(**content)
    except TypeError as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} is incomplete") from error
    expected = {_LABELS, _GOLDEN, _PROFILE, _TREES, *(f"{name}.npy" for name in ARRAYS)}
    if not isinstance(manifest.files, dict) or set(manifest.files) != expected:
        raise BundleError(f"bundle {folder}: {MANIFEST} does not list the files of a bundle")
    return manifest


def content_hash(labeler: Labeler) -> str:
    """SHA-256 over labels, schema, decisions, arrays and trees: all that answers depend on.

    LightGBM's text repeats its parameters, the number of threads among them; they are left out.
    """
    stated = (labeler.labels.names, labeler.schema.to_mapping(), _stated(labeler.decisions))
    digest = hashlib.sha256(json.dumps(stated).encode())
    for name, array in arrays_of(labeler).items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    trees = re.sub(r"\nparameters:.*?end of parameters\n", "\n", labeler.reranker.trees, flags=re.S)
    digest.update(trees.encode())
    return digest.hexdigest()


def _write_files(labeler: Labeler, golden: GoldenQueries, profile: Profile, folder: Path) -> None:
    for name, array in arrays_of(labeler).items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    (folder / _LABELS).write_text(json.dumps(labeler.labels.names, ensure_ascii=False), "utf-8")
    (folder / _GOLDEN).write_text(golden.to_json(), "utf-8")
    (folder / _TREES).write_text(labeler.reranker.trees, "utf-8")
    np.save(folder / _PROFILE, profile.counts, allow_pickle=False)


def _write_manifest(
    labeler: Labeler, folder: Path, version: str, details: Mapping[str, Any]
) -> Manifest:
    """State what lies in the folder."""
    manifest = Manifest(
        format=FORMAT,
        labelwright=version,
        schema=labeler.schema.to_mapping(),
        decisions=_stated(labeler.decisions),
        content=content_hash(labeler),
        files={path.name: _digest(path) for path in sorted(folder.iterdir())},
        details=details,
    )
    content = dataclasses.asdict(manifest)
    text = json.dumps({**content, "seal": seal(content)}, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text, "utf-8")
    return manifest


def _stated(decisions: Decisions) -> dict[str, Any]:
    """What the manifest states of the decisions; the thresholds are an array."""
    return {
        "candidates": decisions.candidates,
        "slope": decisions.slope,
        "intercept": decisions.intercept,
        "policies": list(decisions.policies),
        "precisions": list(decisions.promises),
    }


def seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's content, which it states of itself: it tells damage, not forgery."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def arrays_of(labeler: Labeler) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a model, by the name that they have in a bundle."""
    arrays: dict[str, npt.NDArray[Any]] = {
        name: getattr(getattr(labeler, name.split(".")[0]), name.split(".")[1])
        for name in ARRAYS
        if name != "decisions.thresholds"
    }
    decisions = labeler.decisions
    arrays["decisions.thresholds"] = np.stack(
        [*decisions.policies.values(), *decisions.promises.values()]
    )
    return arrays


def _assemble(folder: Path, manifest: Manifest) -> Labeler:
    names = json.loads((folder / _LABELS).read_bytes())
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{_LABELS} is not a list of labels")
    if not names or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"{_LABELS} has no label, an empty one, or one twice")
    "".join(names).encode("utf-8")  # a lone surrogate is not text
    parts = load_arrays(folder)
    check_arrays(parts, len(names))
    schema = EntitySchema.from_mapping(manifest.schema)
    if len(parts["features"]["edges"]) != len(number_columns(schema)):
        raise ValueError("features.edges does not fit the schema")
    trees = (folder / _TREES).read_text("utf-8")
    reranker = Reranker(trees=trees, **parts["reranker"])
    _ = reranker.forest  # is read now rather than at the first answer
    return Labeler(
        labels=LabelSet(tuple(names)),
        features=FeatureSpace(schema, **parts["features"]),
        linear=LinearStage(**parts["linear"]),
        implications=Implications(**parts["implications"]),
        namesakes=Namesakes(**parts["namesakes"]),
        reranker=reranker,
        decisions=_decisions(manifest.decisions, parts["decisions"]["thresholds"]),
    )


def _decisions(given: Mapping[str, Any], thresholds: npt.NDArray[np.float32]) -> Decisions:
    if set(given) != {"candidates", "slope", "intercept", "policies", "precisions"}:
        raise ValueError("the decisions are not complete, or more than that")
    candidates, slope, intercept = given["candidates"], given["slope"], given["intercept"]
    policies, precisions = given["policies"], given["precisions"]
    if type(candidates) is not int or candidates < 1:
        raise ValueError("the number of candidates must be a whole number of at least 1")
    for number in (slope, intercept):
        if not isinstance(number, float) or not math.isfinite(number):
            raise ValueError("slope and intercept must be finite numbers")
    if slope < 0:
        raise ValueError("the slope must not be negative")
    if not isinstance(policies, list) or not all(isinstance(name, str) for name in policies):
        raise ValueError("policies must be a list of names")
    if BALANCED not in policies or PRECISE in policies:
        raise ValueError(f"policies must hold {BALANCED!r}, and leave {PRECISE!r} to the promises")
    if not isinstance(precisions, list) or not all(
        isinstance(level, float) and 0 < level < 1 for level in precisions
    ):
        raise ValueError("precisions must be a list of numbers between 0 and 1")
    if PRECISE_AT not in precisions or len(thresholds) != len(policies) + len(precisions):
        raise ValueError("decisions.thresholds does not fit the policies and precisions")
    named = dict(zip(policies, thresholds, strict=False))
    promised = dict(zip(precisions, thresholds[len(policies) :], strict=True))
    return Decisions(candidates, slope, intercept, named, promised)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read") from error

"""Format of a bundle: a model as a folder of data files. Loading a bundle cannot run code.

`manifest.json` has the format number, the schema, parameters, metrics, and the SHA-256 of every
other file. `labels.json` is the label set, `reranker.txt` the trees in LightGBM's own text format,
`canned.json` the golden queries, `book.json` the label book, and `profile.counts.npy` the profile.
All other files are NumPy arrays without objects.
"""

import dataclasses
import hashlib
import json
import math
import operator
import re
import tokenize
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import (
    BundleError,
    DataError,
    ModelNotFoundError,
    OutdatedBundleError,
    StorageError,
    reason,
)
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.label_book import LabelBook
from labelwright.entities.schema import EntitySchema
from labelwright.models.bundle.arrays import ARRAYS, array_in, arrays_in, check_arrays
from labelwright.models.bundle.files import open_file, read_files
from labelwright.models.bundle.golden import GoldenQueries
from labelwright.models.decisions import BALANCED, PRECISE, PRECISE_AT, Decisions
from labelwright.models.features.space import FeatureSpace, number_columns
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet
from labelwright.models.monitoring.profile import Profile
from labelwright.models.stages.groups import Groups, Memberships
from labelwright.models.stages.implications import Implications
from labelwright.models.stages.linear import LinearStage
from labelwright.models.stages.namesakes import Namesakes
from labelwright.models.stages.reranker import Reranker

FORMAT = 7
"""The number of the format. No released version has written a lower one."""
MANIFEST = "manifest.json"
_LABELS, _GOLDEN, _TREES = "labels.json", "canned.json", "reranker.txt"
_PROFILE = "profile.counts.npy"
_BOOK = "book.json"
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
    DataError,
)
"""The errors that the readers of JSON and NumPy files raise for invalid content."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    `format` is FORMAT and `labelwright` the version that wrote the bundle. `content` is the
    `content_hash` of the model; it depends neither on versions and times nor on the number of
    threads. `files` are the SHA-256 hashes of the other files, by file name. `details` come from
    training: metrics, data, seed.
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
    """A model that was read from disk, with its golden queries and the profile of its test rows."""

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
    """Write a model to a new folder, completely or not at all; raises StorageError.

    The golden queries are computed and written, too. `version` is the version of labelwright, and
    `profile` the profile of the test rows. Without a profile, the service cannot detect drift.
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


def read_bundle(folder: Path, mapped: bool = False) -> Bundle:
    """Read and check a bundle; raises BundleError, or ModelNotFoundError if there is no bundle.

    If `mapped` is true, processes share the memory of the files, which must not change any more.
    Otherwise the files are copied into memory.
    """
    manifest = read_manifest(folder)
    contents = read_files(folder, list(manifest.files), mapped)
    _check_hashes(folder, manifest, lambda name: hashlib.sha256(contents[name]).hexdigest())
    try:
        labeler = _read_labeler(contents, manifest)
        golden = GoldenQueries.from_json(bytes(contents[_GOLDEN]))
        counts = array_in(contents[_PROFILE], _PROFILE)
        return Bundle(labeler, manifest, golden, Profile.from_counts(labeler, counts))
    except _UNREADABLE as error:
        raise BundleError(
            f"bundle {folder}: the files do not have the content that {MANIFEST} states ({error}); "
            "copy the bundle again, or train the model again"
        ) from error


def verify(folder: Path) -> Manifest:
    """Check the hashes of all files and return the manifest.

    Raises BundleError, or ModelNotFoundError if there is no bundle.
    """
    manifest = read_manifest(folder)
    _check_hashes(folder, manifest, lambda name: _digest(folder / name))
    return manifest


def _check_hashes(folder: Path, manifest: Manifest, hash_of: Callable[[str], str]) -> None:
    """Raise BundleError if the hash of a file is not the hash in the manifest."""
    with ThreadPoolExecutor() as pool:  # hashing is the slowest part of loading
        digests = list(pool.map(hash_of, manifest.files))
    for (name, expected), digest in zip(manifest.files.items(), digests, strict=True):
        if digest != expected:
            raise BundleError(
                f"bundle {folder}: {name} is corrupt (its hash has changed): copy it again"
            )


def read_manifest(folder: Path) -> Manifest:
    """Read only the manifest; raises BundleError, or ModelNotFoundError if there is no bundle."""
    try:
        with open_file(folder / MANIFEST) as file:
            content = json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"no bundle at {folder}: it has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} cannot be read") from error
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise BundleError(f"{folder} is not a labelwright bundle")
    if content["format"] < FORMAT:
        raise OutdatedBundleError(
            f"bundle {folder} has format {content['format']}, which no released version has "
            "written: train the model again"
        )
    if content["format"] > FORMAT:
        raise BundleError(
            f"bundle {folder} has format {content['format']}; this version of labelwright reads "
            f"only format {FORMAT}: install a newer version"
        )
    if content.pop("seal", None) != seal(content):
        raise BundleError(
            f"bundle {folder}: {MANIFEST} is corrupt (its hash has changed): copy it again"
        )
    try:
        manifest = Manifest(**content)
    except TypeError as error:
        raise BundleError(f"bundle {folder}: {MANIFEST} is incomplete") from error
    if not isinstance(manifest.labelwright, str) or not isinstance(manifest.details, dict):
        raise BundleError(f"bundle {folder}: {MANIFEST} has a field of a wrong type")
    if not re.fullmatch("[0-9a-f]{64}", str(manifest.content)):
        raise BundleError(f"bundle {folder}: {MANIFEST} has no content hash")
    expected = {_LABELS, _BOOK, _GOLDEN, _PROFILE, _TREES, *(f"{name}.npy" for name in ARRAYS)}
    if not isinstance(manifest.files, dict) or set(manifest.files) != expected:
        raise BundleError(f"bundle {folder}: {MANIFEST} does not list the files of a bundle")
    return manifest


def content_hash(labeler: Labeler) -> str:
    """SHA-256 of the labels, schema, decisions, arrays and trees, on which all predictions depend.

    A label book is part of it, too.

    LightGBM's text also contains training parameters, such as the number of threads. These are left
    out.
    """
    stated = (
        labeler.labels.names,
        labeler.schema.to_mapping(),
        _decisions_to_json(labeler.decisions),
    )
    digest = hashlib.sha256(json.dumps(stated).encode())
    for name, array in arrays_of(labeler).items():
        if not array.size and name.startswith("groups."):
            continue  # a model without groups has the same hash as before there were groups
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    trees = re.sub(r"\nparameters:.*?end of parameters\n", "\n", labeler.reranker.trees, flags=re.S)
    digest.update(trees.encode())
    if len(labeler.book):
        digest.update(json.dumps(labeler.book.to_mapping()).encode())
    return digest.hexdigest()


def _write_files(labeler: Labeler, golden: GoldenQueries, profile: Profile, folder: Path) -> None:
    for name, array in arrays_of(labeler).items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    (folder / _LABELS).write_text(json.dumps(labeler.labels.names, ensure_ascii=False), "utf-8")
    (folder / _BOOK).write_text(json.dumps(labeler.book.to_mapping(), ensure_ascii=False), "utf-8")
    (folder / _GOLDEN).write_text(golden.to_json(), "utf-8")
    (folder / _TREES).write_text(labeler.reranker.trees, "utf-8")
    np.save(folder / _PROFILE, profile.counts, allow_pickle=False)


def _write_manifest(
    labeler: Labeler, folder: Path, version: str, details: Mapping[str, Any]
) -> Manifest:
    """Write the manifest for the files in a folder, and return it."""
    manifest = Manifest(
        format=FORMAT,
        labelwright=version,
        schema=labeler.schema.to_mapping(),
        decisions=_decisions_to_json(labeler.decisions),
        content=content_hash(labeler),
        files={path.name: _digest(path) for path in sorted(folder.iterdir())},
        details=details,
    )
    content = dataclasses.asdict(manifest)
    text = json.dumps({**content, "seal": seal(content)}, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text, "utf-8")
    return manifest


def _decisions_to_json(decisions: Decisions) -> dict[str, Any]:
    """The decisions for the manifest. The thresholds are left out, because they are an array."""
    return {
        "candidates": decisions.candidates,
        "slope": decisions.slope,
        "intercept": decisions.intercept,
        "policies": list(decisions.policies),
        "precisions": list(decisions.guarantees),
    }


def seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's content, stored in the manifest. It detects damage, not forgery."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def arrays_of(labeler: Labeler) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a model, by their names in a bundle."""
    decisions = labeler.decisions
    thresholds = [*decisions.policies.values(), *decisions.guarantees.values()]
    renamed = {
        "reranker.company": labeler.reranker.co_occurrence,
        "decisions.thresholds": np.stack(thresholds),
    }
    return {
        name: renamed[name] if name in renamed else operator.attrgetter(name)(labeler)
        for name in ARRAYS
    }


def _read_labeler(contents: Mapping[str, memoryview], manifest: Manifest) -> Labeler:
    names = json.loads(bytes(contents[_LABELS]))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{_LABELS} is not a list of labels")
    if not names or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"{_LABELS} has no labels, an empty label, or the same label twice")
    "".join(names).encode("utf-8")  # raises ValueError for a lone surrogate
    parts = arrays_in(contents)
    check_arrays(parts, len(names))
    schema = EntitySchema.from_mapping(manifest.schema)
    if len(parts["features"]["edges"]) != len(number_columns(schema)):
        raise ValueError("features.edges does not fit the schema")
    trees = str(contents[_TREES], "utf-8")
    rate, co_occurrence, knots = (parts["reranker"][name] for name in ("rate", "company", "knots"))
    reranker = Reranker(rate, co_occurrence, knots, trees)
    labels = LabelSet(tuple(names))
    groups = Groups(Memberships.of_labels(schema, labels), **parts["groups"])
    if len(groups.tempering) != len(groups.memberships.exclusive_names):
        raise ValueError("groups.tempering does not fit the exclusive groups of the schema")
    if len(groups.asked) != len(groups.memberships.attribute_names):
        raise ValueError("groups.asked does not fit the groups of attributes of the schema")
    _ = reranker.forest  # parse the trees now, so that errors are found before the first query
    return Labeler(
        labels=labels,
        features=FeatureSpace(schema, **parts["features"]),
        linear=LinearStage(**parts["linear"]),
        implications=Implications(**parts["implications"]),
        namesakes=Namesakes(**parts["namesakes"]),
        reranker=reranker,
        groups=groups,
        decisions=_decisions(manifest.decisions, parts["decisions"]["thresholds"]),
        book=LabelBook.from_mapping(json.loads(bytes(contents[_BOOK]))),
    )


def _decisions(given: Mapping[str, Any], thresholds: npt.NDArray[np.float32]) -> Decisions:
    if set(given) != {"candidates", "slope", "intercept", "policies", "precisions"}:
        raise ValueError("the fields of the decisions are not those of this format")
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
        raise ValueError(f"policies must contain {BALANCED!r}, and not {PRECISE!r}")
    if not isinstance(precisions, list) or not all(
        isinstance(level, float) and 0 < level < 1 for level in precisions
    ):
        raise ValueError("precisions must be a list of numbers between 0 and 1")
    if PRECISE_AT not in precisions or len(thresholds) != len(policies) + len(precisions):
        raise ValueError("decisions.thresholds does not fit the policies and precisions")
    by_policy = dict(zip(policies, thresholds, strict=False))
    guarantees = dict(zip(precisions, thresholds[len(policies) :], strict=True))
    return Decisions(candidates, slope, intercept, by_policy, guarantees)


def _digest(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"bundle {path.parent}: {path.name} cannot be read") from error

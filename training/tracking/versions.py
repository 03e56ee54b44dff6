"""Registered versions: promotion, rollback and pruning.

The alias `champion` names the version in use. A tag of the registered model lists the former
champions, newest first. Tags of each version hold the verdict of the promotion gate.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from labelwright.entities.errors import ModelNotFoundError, RequestError
from labelwright.entities.io.files import locked
from labelwright.models.audit import audit
from labelwright.models.mlflow_server import connect
from labelwright.models.paths import home
from labelwright.models.registry import CHAMPION, load_model
from labelwright.training.tracking import runs
from labelwright.training.tracking.gate import Verdict
from labelwright.training.tracking.record import INPUTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

FORMER_CHAMPIONS = "labelwright.former_champions"
VERDICT = "labelwright.verdict"
REASON = "labelwright.reason"
FINDING = "labelwright.finding"
PROMOTED, REFUSED, NOT_JUDGED = "promoted", "refused", "not judged"
MAX_TAG_LENGTH = 5_000
"""Maximum length of a version's tag in MLflow's databases, in characters."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A version; `refused` is the reason why the promotion gate refused it, or None."""

    version: str
    refused: str | None = None


def current_champion(name: str) -> str | None:
    """The version of the champion, or None if there is no champion; raises RegistryError."""
    with connect() as client:
        found = client.search_registered_models(f"name = '{name}'")
        champion = found[0].aliases.get(CHAMPION) if found else None
        return None if champion is None else str(champion)


def exists(name: str) -> bool:
    """Whether a model of this name is registered, even if its versions were deleted."""
    with connect() as client:
        return bool(client.search_registered_models(f"name = '{name}'"))


def former_champions(name: str) -> list[str]:
    """The former champions, newest first; raises ModelNotFoundError."""
    with connect() as client:
        former = client.get_registered_model(name).tags.get(FORMER_CHAMPIONS, "")
        return former.split(",") if former else []


def existing_former_champions(name: str) -> list[str]:
    """The former champions that were not deleted, newest first; raises ModelNotFoundError."""
    existing = {*_versions(name)} - {current_champion(name)}
    return [version for version in former_champions(name) if version in existing]


def version_trained_on(name: str, inputs: str) -> Trained | None:
    """The champion or the newest version, if it was trained on these inputs, or else None.

    `inputs` is the hash `record.INPUTS`. Raises RegistryError.
    """
    with connect() as client:
        if not client.search_registered_models(f"name = '{name}'"):
            return None
        for version in (current_champion(name), *_versions(name)[:1]):
            tags = client.get_model_version(name, version).tags if version else {}
            if version and tags.get(INPUTS) == inputs:
                refused = tags.get(VERDICT) == REFUSED and version != current_champion(name)
                return Trained(version, tags.get(REASON) if refused else None)
    return None


@contextlib.contextmanager
def promotion_lock() -> Iterator[None]:
    """Lock of the state folder: one process at a time can change aliases and versions."""
    with locked(home() / "promotion.lock"):
        yield


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The tags of a version that hold the verdict of the promotion gate."""
    return {
        VERDICT: PROMOTED if verdict.promoted else REFUSED,
        FINDING: verdict.finding,
        REASON: verdict.reason[:MAX_TAG_LENGTH],
    }


def not_judged_tags(decision: Verdict) -> dict[str, str]:
    """The tags of a version that the promotion gate could not judge."""
    return {VERDICT: NOT_JUDGED, REASON: decision.reason[:MAX_TAG_LENGTH]}


def make_champion(name: str, version: str) -> None:
    """Set the alias to a version, and record the former champion in a tag; raises RegistryError."""
    former = current_champion(name)
    if former == version:
        return
    with connect() as client:
        if former is not None:
            rest = [other for other in former_champions(name) if other not in (former, version)]
            client.set_registered_model_tag(name, FORMER_CHAMPIONS, ",".join([former, *rest]))
        client.set_registered_model_alias(name, CHAMPION, version)
    audit("promotion", model=name, version=version, former=former)


def promote(name: str, version: str, force: bool = False) -> None:
    """Make a version the champion.

    Raises RequestError if the promotion gate refused the version, unless `force` is True;
    ModelNotFoundError if there is no such version; BundleError or StorageError if its bundle cannot
    be read.
    """
    with promotion_lock():
        with connect() as client:
            tags = client.get_model_version(name, version).tags
        if tags.get(VERDICT) == REFUSED and not force:
            raise RequestError(
                f"version {version} was not promoted when it was trained: {tags.get(REASON)}; "
                "use --force to promote it anyway"
            )
        load_model(f"models:/{name}/{version}")
        make_champion(name, version)


def rollback(name: str) -> str:
    """Make the previous champion the champion again, and return its version.

    A second rollback goes back one champion further; it never returns to the version that the first
    rollback replaced. Raises ModelNotFoundError if there is no earlier champion, and BundleError or
    StorageError if the bundle of the earlier champion cannot be read.
    """
    with promotion_lock():
        champion = current_champion(name)
        earlier = existing_former_champions(name)
        if not earlier:
            raise ModelNotFoundError(
                f"{name!r} has no earlier champion to go back to: `labelwright promote` makes any "
                "version the champion"
            )
        load_model(f"models:/{name}/{earlier[0]}")
        with connect() as client:
            client.set_registered_model_tag(name, FORMER_CHAMPIONS, ",".join(earlier[1:]))
            client.set_registered_model_alias(name, CHAMPION, earlier[0])
        audit("rollback", model=name, version=earlier[0], former=champion)
        return earlier[0]


@dataclasses.dataclass(frozen=True)
class Pruned:
    """The deleted versions, and the deleted runs without a version."""

    versions: Sequence[str]
    runs: Sequence[str]


def prune(name: str, keep: int) -> Pruned:
    """Delete old versions with their runs and artifacts, and runs that ended without a version.

    Versions with an alias, former champions, the newest `keep` versions and active runs are kept.
    Raises ModelNotFoundError if neither a model nor an experiment has this name.
    """
    with promotion_lock(), connect() as client:
        experiment = client.get_experiment_by_name(name)
        registered = client.search_registered_models(f"name = '{name}'")
        if not registered and experiment is None:
            raise ModelNotFoundError(f"there is no model {name!r}, and no run that trained one")
        old = _old_versions(name, keep) if registered else []
        for version in old:
            found = client.get_model_version(name, version)
            client.delete_model_version(name, version)
            model_id = (found.source or "").removeprefix("models:/")
            if model_id.startswith("m-"):
                _delete_model(client, model_id)
            if found.run_id:
                _delete_run(client, found.run_id)
            audit("version deleted", model=name, version=version)
        _end_unfinished(client, name)
        deleted = [] if experiment is None else _without_version(client, experiment.experiment_id)
        for run_id in deleted:
            _delete_run(client, run_id)
            audit("run deleted", model=name, run=run_id)
        return Pruned(old, deleted)


def _old_versions(name: str, keep: int) -> list[str]:
    with connect() as client:
        aliases = client.get_registered_model(name).aliases.values()
    versions = _versions(name)
    protected = {*map(str, aliases), *former_champions(name), *versions[:keep]}
    return [version for version in versions if version not in protected]


def _end_unfinished(client: "MlflowClient", name: str) -> None:
    """End unfinished runs; the status is FINISHED if their version was registered, else KILLED."""
    for run in runs.unfinished_runs():
        if run.experiment in (name, f"{name}-study", f"{name}-tune"):
            made = client.search_model_versions(f"run_id = '{run.run_id}'")
            runs.end_unfinished(run, runs.FINISHED if made else runs.KILLED)


def _without_version(client: "MlflowClient", experiment_id: str) -> list[str]:
    """Ids of the runs of labelwright that failed or were killed and have no version."""
    with_tag = f"tags.`{runs.VERSION}` LIKE '%'"
    found = client.search_runs([experiment_id], with_tag, max_results=1_000)
    ended = [run.info.run_id for run in found if run.info.status in (runs.FAILED, runs.KILLED)]
    return [i for i in ended if not client.search_model_versions(f"run_id = '{i}'")]


def _delete_run(client: "MlflowClient", run_id: str) -> None:
    run = client.get_run(run_id)
    of_run = f"source_run_id = '{run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], filter_string=of_run):
        _delete_model(client, model.model_id)
    client.delete_run(run_id)
    _delete_artifacts(run.info.artifact_uri)


def _delete_model(client: "MlflowClient", model_id: str) -> None:
    location = client.get_logged_model(model_id).artifact_location
    client.delete_logged_model(model_id)
    _delete_artifacts(location)


def _delete_artifacts(location: str) -> None:
    """Delete the files of a model or run: MLflow deletes only their records."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(location)
    repository.delete_artifacts()


def _versions(name: str) -> Sequence[str]:
    """All versions of a model, newest first; raises ModelNotFoundError."""
    with connect() as client:
        client.get_registered_model(name)
        found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        return [str(number) for number in sorted((int(v.version) for v in found), reverse=True)]

"""Which version is live: promoting, going back, and clearing away what nobody needs.

The alias `champion` names the live version. A tag of the registered model keeps the versions that
were live before, newest first; tags of each version keep the verdict of its training.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from labelwright.entities.errors import ModelNotFoundError, RequestError
from labelwright.entities.io.files import locked
from labelwright.models.paths import home
from labelwright.models.registry import CHAMPION, load_model, reached
from labelwright.training.tracking import runs
from labelwright.training.tracking.gate import Verdict
from labelwright.training.tracking.record import INPUTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

FORMER_CHAMPIONS = "labelwright.former_champions"
VERDICT = "labelwright.verdict"
REASON = "labelwright.reason"
PROMOTED, REFUSED = "promoted", "refused"
MAX_TAG_LENGTH = 5_000
"""MLflow's databases keep so many characters of a version's tag."""


def current_champion(name: str) -> str | None:
    """The champion's version, or None; raises RegistryError."""
    with reached() as client:
        found = client.search_registered_models(f"name = '{name}'")
        champion = found[0].aliases.get(CHAMPION) if found else None
        return None if champion is None else str(champion)


def former_champions(name: str) -> list[str]:
    """The versions that were live before, newest first; raises ModelNotFoundError."""
    with reached() as client:
        kept = client.get_registered_model(name).tags.get(FORMER_CHAMPIONS, "")
        return kept.split(",") if kept else []


def version_trained_on(name: str, inputs: str) -> str | None:
    """The champion or the newest version, if it was made of these inputs; raises RegistryError."""
    with reached() as client:
        if not client.search_registered_models(f"name = '{name}'"):
            return None
        for version in (current_champion(name), *_versions(name)[:1]):
            if version and client.get_model_version(name, version).tags.get(INPUTS) == inputs:
                return version
    return None


@contextlib.contextmanager
def promotion_lock() -> Iterator[None]:
    """One decision at a time among the processes that share this state folder."""
    with locked(home() / "promotion.lock"):
        yield


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """A training's verdict, as it is kept with its version."""
    return {
        VERDICT: PROMOTED if verdict.promoted else REFUSED,
        REASON: verdict.reason[:MAX_TAG_LENGTH],
    }


def make_champion(name: str, version: str) -> None:
    """Let the alias name this version, and remember the one it named; raises RegistryError."""
    former = current_champion(name)
    if former == version:
        return
    with reached() as client:
        if former is not None:
            rest = [other for other in former_champions(name) if other not in (former, version)]
            client.set_registered_model_tag(name, FORMER_CHAMPIONS, ",".join([former, *rest]))
        client.set_registered_model_alias(name, CHAMPION, version)


def promote(name: str, version: str, force: bool = False) -> None:
    """Make a version the champion.

    Raises RequestError where its training refused it, unless forced; ModelNotFoundError where there
    is no such version, and BundleError or StorageError where its bundle cannot be read.
    """
    with promotion_lock():
        with reached() as client:
            tags = client.get_model_version(name, version).tags
        if tags.get(VERDICT) == REFUSED and not force:
            raise RequestError(
                f"version {version} was not promoted when it was trained: {tags.get(REASON)}; "
                "--force promotes it all the same"
            )
        load_model(f"models:/{name}/{version}")
        make_champion(name, version)


def rollback(name: str) -> str:
    """Make the previous champion live again and return its version.

    The version that is given up does not come back by another rollback. Raises ModelNotFoundError
    where no earlier champion is left, and BundleError or StorageError where its bundle cannot be
    read.
    """
    with promotion_lock():
        kept = {*_versions(name)} - {current_champion(name)}
        earlier = [version for version in former_champions(name) if version in kept]
        if not earlier:
            raise ModelNotFoundError(f"{name!r} has no earlier champion to go back to")
        load_model(f"models:/{name}/{earlier[0]}")
        with reached() as client:
            client.set_registered_model_tag(name, FORMER_CHAMPIONS, ",".join(earlier[1:]))
            client.set_registered_model_alias(name, CHAMPION, earlier[0])
        return earlier[0]


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What was cleared away: versions, and runs that ended without one."""

    versions: Sequence[str]
    runs: Sequence[str]


def prune(name: str, keep: int) -> Pruned:
    """Delete old versions with their runs and models, and runs that ended without a version.

    What stays: every version that an alias names, the former champions, the newest `keep`, and all
    runs under way. Raises ModelNotFoundError where there is neither model nor experiment.
    """
    with promotion_lock(), reached() as client:
        experiment = client.get_experiment_by_name(name)
        registered = client.search_registered_models(f"name = '{name}'")
        if not registered and experiment is None:
            raise ModelNotFoundError(f"there is no model {name!r}, and no run of one")
        old = _old_versions(name, keep) if registered else []
        for version in old:
            found = client.get_model_version(name, version)
            client.delete_model_version(name, version)
            model_id = (found.source or "").removeprefix("models:/")
            if model_id.startswith("m-"):
                _delete_model(client, model_id)
            if found.run_id:
                _delete_run(client, found.run_id)
        _end_cut_short(client, name)
        lost = [] if experiment is None else _without_version(client, experiment.experiment_id)
        for run_id in lost:
            _delete_run(client, run_id)
        return Pruned(old, lost)


def _old_versions(name: str, keep: int) -> list[str]:
    with reached() as client:
        aliases = client.get_registered_model(name).aliases.values()
    versions = _versions(name)
    protected = {*map(str, aliases), *former_champions(name), *versions[:keep]}
    return [version for version in versions if version not in protected]


def _end_cut_short(client: "MlflowClient", name: str) -> None:
    """End what a killed process has left: as finished where its version was made all the same."""
    for run in runs.unfinished_runs():
        if run.experiment in (name, f"{name}-study", f"{name}-tune"):
            made = client.search_model_versions(f"run_id = '{run.run_id}'")
            runs.end(run, runs.FINISHED if made else runs.KILLED)


def _without_version(client: "MlflowClient", experiment_id: str) -> list[str]:
    """Our runs that failed or were killed before they had registered anything."""
    ours = client.search_runs([experiment_id], f"tags.`{runs.VERSION}` LIKE '%'", max_results=1_000)
    ended = [r.info.run_id for r in ours if r.info.status in (runs.FAILED, runs.KILLED)]
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
    """Free the space of a model's or run's files: deleting their records alone does not."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(location)
    repository.delete_artifacts()


def _versions(name: str) -> Sequence[str]:
    """All versions, newest first."""
    with reached() as client:
        client.get_registered_model(name)
        found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        return [str(number) for number in sorted((int(v.version) for v in found), reverse=True)]

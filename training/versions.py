"""Which version is live: promoting, going back, and clearing away what nobody needs.

The alias `champion` names the live version. A tag of the registered model keeps the versions that
were live before, newest first; tags of each version keep the verdict of its training.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from typing import Any

from entities.errors import ModelNotFoundError, RequestError, StorageError
from models.home import home
from models.registry import CHAMPION, reached
from training.promotion import Verdict

FORMER = "labelwright.former_champions"
VERDICT = "labelwright.verdict"
REASON = "labelwright.reason"
PROMOTED, REFUSED = "promoted", "refused"


def current_champion(name: str) -> str | None:
    """The champion's version, or None; raises RegistryError."""
    with reached() as client:
        found = client.search_registered_models(f"name = '{name}'")
        champion = found[0].aliases.get(CHAMPION) if found else None
        return None if champion is None else str(champion)


def former_champions(name: str) -> list[str]:
    """The versions that were live before, newest first; raises ModelNotFoundError."""
    with reached() as client:
        kept = client.get_registered_model(name).tags.get(FORMER, "")
        return kept.split(",") if kept else []


@contextlib.contextmanager
def deciding() -> Iterator[None]:
    """One decision at a time among the processes that share this state folder."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        lock = (home() / "promotion.lock").open("w")
    except OSError as error:
        raise StorageError(f"{home()} cannot be written to: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def note_verdict(name: str, version: str, verdict: Verdict) -> None:
    """Keep a training's verdict with its version; raises RegistryError."""
    with reached() as client:
        kept = PROMOTED if verdict.promoted else REFUSED
        client.set_model_version_tag(name, version, VERDICT, kept)
        client.set_model_version_tag(name, version, REASON, verdict.reason)


def make_champion(name: str, version: str) -> None:
    """Let the alias name this version, and remember the one it named; raises RegistryError."""
    former = current_champion(name)
    if former == version:
        return
    with reached() as client:
        if former is not None:
            rest = [other for other in former_champions(name) if other not in (former, version)]
            client.set_registered_model_tag(name, FORMER, ",".join([former, *rest]))
        client.set_registered_model_alias(name, CHAMPION, version)


def promote(name: str, version: str, force: bool = False) -> None:
    """Make a version the champion.

    Raises RequestError where its training refused it, unless forced; ModelNotFoundError where there
    is no such version.
    """
    with deciding():
        with reached() as client:
            tags = client.get_model_version(name, version).tags
        if tags.get(VERDICT) == REFUSED and not force:
            raise RequestError(
                f"version {version} was not promoted when it was trained: {tags.get(REASON)}; "
                "--force promotes it all the same"
            )
        make_champion(name, version)


def rollback(name: str) -> str:
    """Make the previous champion live again and return its version.

    The version that is given up does not come back by another rollback. Raises ModelNotFoundError
    where no earlier champion is left.
    """
    with deciding():
        kept = set(_versions(name))
        earlier = [version for version in former_champions(name) if version in kept]
        if not earlier:
            raise ModelNotFoundError(f"{name!r} has no earlier champion to go back to")
        with reached() as client:
            client.set_registered_model_tag(name, FORMER, ",".join(earlier[1:]))
            client.set_registered_model_alias(name, CHAMPION, earlier[0])
        return earlier[0]


def prune(name: str, keep: int) -> list[str]:
    """Delete old versions with their runs and models; returns the versions deleted.

    What stays: every version that an alias names, the former champions, and the newest `keep`.
    """
    with deciding(), reached() as client:
        model = client.get_registered_model(name)
        versions = _versions(name)
        protected = {str(version) for version in model.aliases.values()}
        protected |= {*former_champions(name), *versions[:keep]}
        doomed = [version for version in versions if version not in protected]
        for version in doomed:
            found = client.get_model_version(name, version)
            client.delete_model_version(name, version)
            model_id = (found.source or "").removeprefix("models:/")
            if model_id.startswith("m-"):
                location = client.get_logged_model(model_id).artifact_location
                client.delete_logged_model(model_id)
                _delete_artifacts(location)
            if found.run_id:
                location = client.get_run(found.run_id).info.artifact_uri
                client.delete_run(found.run_id)
                _delete_artifacts(location)
        return doomed


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

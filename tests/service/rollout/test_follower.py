"""The follower: the state file that it writes, and errors while it fetches models."""

import dataclasses
import os
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelwright.models.bundle.format import verify
from labelwright.models.registry import fetch, forget, is_alias, locate
from labelwright.service.rollout.follower import SPARE_BUNDLES, Follower, FollowerSettings
from labelwright.service.rollout.state import (
    CHALLENGER,
    CHAMPION,
    Routing,
    State,
    last_good,
    last_good_uris,
    save_last_good,
)
from tests.processes import FirstVisit, environment, spawn
from tests.service.registered import NAME, RENAMED, SOUND, URI, Registry, registry

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]


@pytest.fixture
def models(bundle: Path, home: Path, first_visit: FirstVisit) -> Registry:
    """A registry in the state folder of this process."""
    return registry(bundle, home, first_visit.home / "mlflow.db")


@dataclasses.dataclass(frozen=True)
class Remote:
    """A registry in which each version is an artifact of a separate run; it must be fetched."""

    registry: Registry
    versions: tuple[str, ...]

    @property
    def cached(self) -> int:
        """The number of bundles in the cache folder."""
        return len(list((self.registry.home / "cache").iterdir()))


@pytest.fixture
def remote(models: Registry, bundle: Path) -> Remote:
    client, artifacts = models.client, models.home / "artifacts"
    experiment = client.create_experiment("remote", artifact_location=artifacts.as_uri())
    versions = []
    for _ in range(SPARE_BUNDLES + 3):
        run_id = client.create_run(experiment).info.run_id
        shutil.copytree(bundle, artifacts / run_id / "artifacts" / "model")
        versions.append(client.create_model_version(NAME, f"runs:/{run_id}/model").version)
    return Remote(models, tuple(map(str, versions)))


@pytest.fixture
def run_uri(world: "World", monkeypatch: pytest.MonkeyPatch, home: Path) -> str:
    """The URI of a model in the artifacts of a run; the cache of the state folder is empty."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{world.home / 'mlflow.db'}")
    return f"runs:/{locate(world.uri).run_id}/model"


def test_only_an_alias_is_followed() -> None:
    assert is_alias("models:/m@champion")
    assert not any(map(is_alias, ("models:/m/3", "runs:/0/model", "folder@champion")))


def test_the_state_file_has_the_models_that_the_aliases_name(
    models: Registry, tmp_path: Path
) -> None:
    follower = Follower(FollowerSettings(URI, Routing(shadow=True)), tmp_path)
    state = follower.begin()
    assert State.read(tmp_path) == state
    assert {
        role: resolved_model.source.version for role, resolved_model in state.models.items()
    } == {CHAMPION: SOUND}
    models.point(RENAMED, "challenger")
    state = follower.poll()
    assert state.models[CHALLENGER].source.version == RENAMED
    models.point(None, "challenger")
    models.point(None)
    state = follower.poll()
    assert set(state.models) == {CHAMPION}
    assert state.registry is not None
    assert "champion" in state.registry


def test_a_model_that_cannot_be_cached_is_refused(models: Registry, tmp_path: Path) -> None:
    follower = Follower(FollowerSettings(URI), tmp_path)
    follower.begin()
    shutil.rmtree(models.home / "cache")
    (models.home / "cache").write_text("in the way of the folder")
    number = models.client.create_model_version(NAME, "runs:/0123456789/model").version
    models.point(str(number))
    state = follower.poll()
    assert state.models[CHAMPION].source.version == SOUND
    refusal = state.refusals[CHAMPION]
    assert (refusal.version, refusal.step) == (str(number), "fetch")
    assert "no temporary folder can be made" in refusal.detail
    models.point(RENAMED)
    state = follower.poll()
    assert state.models[CHAMPION].source.version == RENAMED
    assert not state.refusals


def test_the_last_good_model_stays_in_the_cache_after_refusals(
    remote: Remote, tmp_path: Path
) -> None:
    good, *refused = remote.versions
    remote.registry.point(good)
    follower = Follower(FollowerSettings(URI), tmp_path)
    served = follower.begin().models[CHAMPION]
    save_last_good(served)  # as a worker with this model in service; it refuses all later models
    for version in refused:
        remote.registry.point(version)
        assert follower.poll().models[CHAMPION].source.version == version
    assert last_good(URI) == served
    verify(served.folder)
    assert remote.cached == SPARE_BUNDLES + 2


def test_a_model_that_another_role_uses_is_not_removed(remote: Remote, tmp_path: Path) -> None:
    remote.registry.point(remote.versions[0])
    follower = Follower(FollowerSettings(URI, Routing(shadow=True)), tmp_path)
    follower.begin()
    for version in remote.versions:
        remote.registry.point(version, "challenger")
        state = follower.poll()
        for role in (CHAMPION, CHALLENGER):
            verify(state.models[role].folder)
    assert state.models[CHAMPION].source.version == remote.versions[0]
    assert remote.cached == SPARE_BUNDLES + 2


def test_a_full_disk_while_fetching_is_reported_and_leaves_no_files(
    run_uri: str, home: Path, world: "World"
) -> None:
    settings = environment(home) | {"MLFLOW_TRACKING_URI": f"sqlite:///{world.home / 'mlflow.db'}"}
    result = spawn(
        *("explain", "--model", run_uri, "--entity", "{}"),
        environment=settings,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert result.code == 6, result.err
    assert "no space is left" in result.err
    assert not list((home / "cache").iterdir())


def test_a_fetched_copy_is_used_until_it_is_removed(run_uri: str, home: Path) -> None:
    resolved = fetch(locate(run_uri))
    verify(resolved.folder)
    assert resolved.folder.is_relative_to(home / "cache")
    assert fetch(locate(run_uri)) == resolved
    forget(resolved)
    assert not resolved.folder.exists()
    assert fetch(locate(run_uri)).folder.exists()


@pytest.mark.parametrize("damage", ["changed", "truncated", "no manifest"])
def test_a_damaged_copy_is_fetched_again(
    run_uri: str, home: Path, tmp_path: Path, damage: str
) -> None:
    resolved = fetch(locate(run_uri))
    damaged = resolved.folder / ("manifest.json" if damage == "no manifest" else "linear.dense.npy")
    if damage == "no manifest":
        damaged.unlink()
    elif damage == "changed":
        damaged.write_bytes(bytes(damaged.stat().st_size))
    else:
        os.truncate(damaged, 100)
    state = Follower(FollowerSettings(run_uri), tmp_path).begin()
    assert state.models == {CHAMPION: resolved}
    verify(resolved.folder)


def test_a_local_bundle_is_copied(bundle: Path, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    resolved = Follower(FollowerSettings(str(folder)), tmp_path).begin().models[CHAMPION]
    assert resolved.folder.is_relative_to(home / "cache")
    assert fetch(locate(str(folder)), copy_local=True) == resolved
    assert fetch(locate(str(folder))).folder == folder
    shutil.rmtree(folder)
    verify(resolved.folder)
    forget(resolved)
    assert not list((home / "cache").iterdir())


def test_the_last_good_model_is_used_while_its_bundle_exists(
    models: Registry, tmp_path: Path
) -> None:
    assert last_good(URI) is None
    resolved = fetch(locate(URI))
    save_last_good(resolved)
    assert last_good(URI) == resolved
    assert last_good_uris() == [URI]
    models.database.write_bytes(b"no database")
    state = Follower(FollowerSettings(URI), tmp_path).begin()
    assert state.models == {CHAMPION: resolved}
    assert state.registry is not None
    resolved.folder.rename(resolved.folder.with_name("gone"))
    assert last_good(URI) is None

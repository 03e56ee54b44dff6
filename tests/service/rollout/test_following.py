"""A service that follows an alias: it swaps models under load, and refuses bad ones."""

import contextlib
import functools
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import FirstVisit, Service, environment, serving
from tests.service.registered import (
    CHANGED,
    DAMAGED,
    PREFIX,
    RENAMED,
    SOUND,
    URI,
    Registry,
    awaited,
    registry,
)

pytest_plugins = ["tests.worlds"]

ENTITIES = [{"id": "a", "name": "Joe's Pizza", "country": "US"}, {"id": "b", "name": "Kiosk"}]


@pytest.fixture(scope="module")
def models(
    bundle: Path, first_visit: FirstVisit, tmp_path_factory: pytest.TempPathFactory
) -> Registry:
    """The registry that the services of this module follow."""
    home = tmp_path_factory.mktemp("followed") / "home"
    return registry(bundle, home, first_visit.home / "mlflow.db")


@pytest.fixture(scope="module")
def following(models: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that follows the alias, with a challenger in the shadow."""
    given = ("--model", URI, "--poll", 0.1, "--shadow")
    folder = tmp_path_factory.mktemp("following")
    with serving(*given, environment=environment(models.home), folder=folder) as service:
        yield service


@pytest.fixture
def client(following: Service, models: Registry) -> Iterator[httpx.Client]:
    """A client of a service that serves the first version again when the test begins."""
    with following.client() as client:
        models.point(SOUND)
        awaited(client, lambda said: said["version"] == SOUND and said["refused"] is None)
        yield client


def ask(client: httpx.Client) -> dict[str, Any]:
    """A response; all of its labels are checked to come from one model."""
    response = client.post("/v1/labels", json={"entities": ENTITIES, "top_k": 3})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    names = [label["label"] for result in answer["results"] for label in result["labels"]]
    renamed = answer["model"]["version"] == RENAMED
    assert names
    assert all(name.startswith(PREFIX) == renamed for name in names)
    return answer


@contextlib.contextmanager
def load_on(service: Service, threads: int = 3) -> Iterator[Counter[str]]:
    """Send requests without pause and count responses by version; errors are raised at the end."""
    answered: Counter[str] = Counter()
    over = threading.Event()

    def work() -> None:
        with service.client() as client:
            while not over.is_set():
                answered[ask(client)["model"]["version"]] += 1

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(work) for _ in range(threads)]
        try:
            yield answered
        finally:
            over.set()
        for done in working:
            done.result()


def _serves(version: str, said: dict[str, Any]) -> bool:
    return bool(said["version"] == version)


def test_models_are_swapped_under_load_without_failed_or_mixed_responses(
    following: Service, client: httpx.Client, models: Registry
) -> None:
    with load_on(following) as answered:
        for version in (RENAMED, SOUND) * 5:
            models.point(version)
            awaited(client, functools.partial(_serves, version))
            assert ask(client)["model"]["version"] == version
    assert answered[SOUND]
    assert answered[RENAMED]


def test_a_new_label_set_is_in_the_model_and_the_openapi_document(
    client: httpx.Client, models: Registry
) -> None:
    models.point(RENAMED)
    said = awaited(client, lambda said: said["version"] == RENAMED)
    assert said["following"]["alias"] == "champion"
    assert said["following"]["reachable"] is True
    changed = said["changed"]
    assert (changed["previous"], changed["schema"]) == (SOUND, False)
    assert all(name.startswith(PREFIX) for name in changed["labels_added"])
    assert not any(name.startswith(PREFIX) for name in changed["labels_removed"])
    operation = client.get("/openapi.json").json()["paths"]["/v1/labels"]["post"]
    answered = operation["responses"]["200"]["content"]["application/json"]["examples"]
    asked = operation["requestBody"]["content"]["application/json"]["examples"]
    response = client.post("/v1/labels", json=asked["labels"]["value"])
    assert response.json() == answered["labels"]["value"]
    found = client.get("/v1/labels", params={"search": PREFIX, "limit": 1}).json()
    assert found["total"] == said["labels"]


@pytest.mark.parametrize(
    ("version", "step", "why"),
    [(DAMAGED, "fetch", "reranker.txt is corrupt"), (CHANGED, "answers", "golden query")],
)
def test_a_bad_model_is_refused_and_the_old_one_stays(
    following: Service, client: httpx.Client, models: Registry, version: str, step: str, why: str
) -> None:
    with load_on(following) as answered:
        models.point(version)
        said = awaited(client, lambda said: said["refused"] is not None)
    assert said["version"] == SOUND
    assert (said["refused"]["version"], said["refused"]["step"]) == (version, step)
    assert why in said["refused"]["detail"]
    assert set(answered) == {SOUND}
    assert client.get("/readyz").status_code == 200


def test_a_shadow_challenger_is_compared_label_by_label(
    client: httpx.Client, models: Registry
) -> None:
    assert client.get("/v1/model/comparison").status_code == 404
    models.point(RENAMED, "challenger")
    awaited(client, lambda said: said["challenger"]["model"] is not None)
    compared: dict[str, Any] = {"entities": 0}
    while not compared["entities"]:
        assert ask(client)["model"]["version"] == SOUND
        compared = client.get("/v1/model/comparison").json()
    assert compared["champion"]["version"] == SOUND
    assert compared["challenger"]["version"] == RENAMED
    assert compared["entities"] % len(ENTITIES) == 0
    for label in compared["labels"]:
        ours = label["label"].startswith(PREFIX)
        assert label["both"] == 0
        assert (label["challenger_only"] > 0) == ours
        assert (label["champion_only"] > 0) != ours
    models.point(None, "challenger")
    said = awaited(client, lambda said: said["challenger"]["model"] is None)
    assert said["version"] == SOUND


def test_without_the_registry_the_last_good_model_is_served(
    following: Service, client: httpx.Client, models: Registry, tmp_path: Path
) -> None:
    sound = models.database.read_bytes()
    models.database.write_bytes(b"this is no database" * (len(sound) // 19))
    try:
        said = awaited(client, lambda said: not said["following"]["reachable"])
        assert said["following"]["detail"].startswith("the registry at ")
        assert ask(client)["model"]["version"] == SOUND
        assert client.get("/readyz").status_code == 200
        settings = environment(models.home)
        with (
            serving("--poll", 0.1, environment=settings, folder=tmp_path) as started,
            started.client() as another,
        ):
            said = another.get("/v1/model").json()
            assert (said["version"], said["uri"]) == (SOUND, URI)
            assert said["following"]["reachable"] is False
            assert "starting with the last good bundle" in started.log.read_text()
            models.database.write_bytes(sound)
            awaited(another, lambda said: said["following"]["reachable"])
    finally:
        models.database.write_bytes(sound)
    awaited(client, lambda said: said["following"]["reachable"])
    assert "Traceback" not in following.log.read_text()


@pytest.fixture
def full_disk(following: Service) -> Iterator[Callable[[], None]]:
    """The disk of the service is full, also for its log, until the function is called."""
    pid = following.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def free_disk_space() -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    yield free_disk_space
    free_disk_space()


def test_with_a_full_disk_requests_succeed_and_swaps_wait_for_disk_space(
    client: httpx.Client, models: Registry, full_disk: Callable[[], None]
) -> None:
    correction = {"entity": {"id": "full", "name": "Joe's Pizza"}, "added": ["kind=new"]}
    models.point(RENAMED)
    assert client.post("/v1/feedback", json=correction).status_code == 507
    for _ in range(20):
        assert ask(client)["model"]["version"] == SOUND
        time.sleep(0.05)
    assert client.get("/readyz").status_code == 200
    full_disk()
    awaited(client, functools.partial(_serves, RENAMED))
    assert client.post("/v1/feedback", json=correction).status_code == 201

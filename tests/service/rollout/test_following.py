"""A service that follows an alias: it swaps models under load, and refuses invalid models."""

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
    """A service that follows the alias and has a shadow challenger."""
    options = ("--model", URI, "--poll", 0.1, "--shadow")
    folder = tmp_path_factory.mktemp("following")
    with serving(*options, environment=environment(models.home), folder=folder) as service:
        yield service


@pytest.fixture
def client(following: Service, models: Registry) -> Iterator[httpx.Client]:
    """A client of the service. When a test begins, the service has version SOUND in service."""
    with following.client() as client:
        models.point(SOUND)
        awaited(client, lambda model: model["version"] == SOUND and model["refused"] is None)
        yield client


def label_entities(client: httpx.Client) -> dict[str, Any]:
    """Label ENTITIES and return the response; asserts that all labels come from one model."""
    response = client.post("/v1/labels", json={"entities": ENTITIES, "top_k": 3})
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    names = [label["label"] for result in result["results"] for label in result["labels"]]
    renamed = result["model"]["version"] == RENAMED
    assert names
    assert all(name.startswith(PREFIX) == renamed for name in names)
    return result


@contextlib.contextmanager
def load_on(service: Service, threads: int = 3) -> Iterator[Counter[str]]:
    """Send requests from several threads without pause, and count the responses by version.

    Errors of the requests are raised at the end.
    """
    responses: Counter[str] = Counter()
    stopping = threading.Event()

    def work() -> None:
        with service.client() as client:
            while not stopping.is_set():
                responses[label_entities(client)["model"]["version"]] += 1

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work) for _ in range(threads)]
        try:
            yield responses
        finally:
            stopping.set()
        for future in futures:
            future.result()


def _serves(version: str, model: dict[str, Any]) -> bool:
    return bool(model["version"] == version)


def test_models_are_swapped_under_load_without_failed_or_mixed_responses(
    following: Service, client: httpx.Client, models: Registry
) -> None:
    with load_on(following) as responses:
        for version in (RENAMED, SOUND) * 5:
            models.point(version)
            awaited(client, functools.partial(_serves, version))
            assert label_entities(client)["model"]["version"] == version
    assert responses[SOUND]
    assert responses[RENAMED]


def test_a_new_label_set_is_in_the_model_and_the_openapi_document(
    client: httpx.Client, models: Registry
) -> None:
    models.point(RENAMED)
    model = awaited(client, lambda model: model["version"] == RENAMED)
    assert model["following"]["alias"] == "champion"
    assert model["following"]["reachable"] is True
    changed = model["changed"]
    assert (changed["previous"], changed["schema"]) == (SOUND, False)
    assert all(name.startswith(PREFIX) for name in changed["labels_added"])
    assert not any(name.startswith(PREFIX) for name in changed["labels_removed"])
    operation = client.get("/openapi.json").json()["paths"]["/v1/labels"]["post"]
    response_examples = operation["responses"]["200"]["content"]["application/json"]["examples"]
    request_examples = operation["requestBody"]["content"]["application/json"]["examples"]
    response = client.post("/v1/labels", json=request_examples["labels"]["value"])
    assert response.json() == response_examples["labels"]["value"]
    found_labels = client.get("/v1/labels", params={"search": PREFIX, "limit": 1}).json()
    assert found_labels["total"] == model["labels"]


@pytest.mark.parametrize(
    ("version", "step", "reason"),
    [(DAMAGED, "fetch", "reranker.txt is corrupt"), (CHANGED, "answers", "golden query")],
)
def test_an_invalid_model_is_refused_and_the_previous_model_stays_in_service(
    following: Service, client: httpx.Client, models: Registry, version: str, step: str, reason: str
) -> None:
    with load_on(following) as responses:
        models.point(version)
        model = awaited(client, lambda model: model["refused"] is not None)
    assert model["version"] == SOUND
    assert (model["refused"]["version"], model["refused"]["step"]) == (version, step)
    assert reason in model["refused"]["detail"]
    assert set(responses) == {SOUND}
    assert client.get("/readyz").status_code == 200


def test_a_shadow_challenger_is_compared_label_by_label(
    client: httpx.Client, models: Registry
) -> None:
    assert client.get("/v1/model/comparison").status_code == 404
    models.point(RENAMED, "challenger")
    awaited(client, lambda model: model["challenger"]["model"] is not None)
    comparison: dict[str, Any] = {"entities": 0}
    while not comparison["entities"]:
        assert label_entities(client)["model"]["version"] == SOUND
        comparison = client.get("/v1/model/comparison").json()
    assert comparison["champion"]["version"] == SOUND
    assert comparison["challenger"]["version"] == RENAMED
    assert comparison["entities"] % len(ENTITIES) == 0
    for label in comparison["labels"]:
        is_renamed = label["label"].startswith(PREFIX)
        assert label["both"] == 0
        assert (label["challenger_only"] > 0) == is_renamed
        assert (label["champion_only"] > 0) != is_renamed
    models.point(None, "challenger")
    model = awaited(client, lambda model: model["challenger"]["model"] is None)
    assert model["version"] == SOUND


def test_without_the_registry_the_last_good_model_is_served(
    following: Service, client: httpx.Client, models: Registry, tmp_path: Path
) -> None:
    sound = models.database.read_bytes()
    models.database.write_bytes(b"this is no database" * (len(sound) // 19))
    try:
        model = awaited(client, lambda model: not model["following"]["reachable"])
        assert model["following"]["detail"].startswith("the registry at ")
        assert label_entities(client)["model"]["version"] == SOUND
        assert client.get("/readyz").status_code == 200
        settings = environment(models.home)
        with (
            serving("--poll", 0.1, environment=settings, folder=tmp_path) as started,
            started.client() as another,
        ):
            model = another.get("/v1/model").json()
            assert (model["version"], model["uri"]) == (SOUND, URI)
            assert model["following"]["reachable"] is False
            assert "starting with the last good bundle" in started.log.read_text()
            models.database.write_bytes(sound)
            awaited(another, lambda model: model["following"]["reachable"])
    finally:
        models.database.write_bytes(sound)
    awaited(client, lambda model: model["following"]["reachable"])
    assert "Traceback" not in following.log.read_text()


@pytest.fixture
def full_disk(following: Service) -> Iterator[Callable[[], None]]:
    """A function that ends a state of the service in which no file, not even its log, can grow."""
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
        assert label_entities(client)["model"]["version"] == SOUND
        time.sleep(0.05)
    assert client.get("/readyz").status_code == 200
    full_disk()
    awaited(client, functools.partial(_serves, RENAMED))
    assert client.post("/v1/feedback", json=correction).status_code == 201

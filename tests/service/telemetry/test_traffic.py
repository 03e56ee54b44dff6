"""Tests of the counts of the traffic, and of `GET /v1/drift`."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import uvicorn

from labelwright.entities.corrections import CorrectionStore
from labelwright.entities.tables import Entities, from_records
from labelwright.models.monitoring.drift import LEAST_ROWS
from labelwright.models.monitoring.profile import Profile
from labelwright.models.registry import Model, load_model
from labelwright.service.app import create_app
from labelwright.service.engine.engine import Engine
from labelwright.service.middleware.access import Access
from labelwright.service.telemetry import window
from labelwright.service.telemetry.traffic import SAMPLE_ROWS, Traffic
from labelwright.service.telemetry.window import Window
from labelwright.training.data import LabelledEntities, split
from tests.processes import HOST, await_ready, free_port
from tests.service.registered import manager_of

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

OpenWindow = Callable[[Path | None], Window]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def model(world: "World") -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return load_model(world.uri)


@pytest.fixture(scope="module")
def held_out(brands: Entities, brand_labels: pa.ListArray) -> Entities:
    """Rows that the model was not trained on, with the distribution of the model's profile."""
    return split(LabelledEntities(brands, brand_labels))[1].entities


@pytest.fixture(scope="module")
def profile(model: Model, held_out: Entities) -> Profile:
    """The counts of 40 rows."""
    return Profile.of(model.bundle.labeler, held_out.slice(0, 40))


@pytest.fixture
def open_window(profile: Profile) -> Iterator[OpenWindow]:
    """A function that opens a window, as each worker process does."""
    with contextlib.ExitStack() as stack:

        def one(folder: Path | None) -> Window:
            found = Window(len(profile.counts), folder, "key")
            stack.callback(found.close)
            return found

        yield one


def test_the_counts_of_all_processes_are_summed(
    profile: Profile, tmp_path: Path, open_window: OpenWindow
) -> None:
    one, other = open_window(tmp_path), open_window(tmp_path)
    one.add(profile)
    other.add(profile)
    other.add(profile)
    for each in (one, other):
        assert each.total().tolist() == (3 * profile.counts).tolist()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_process_takes_over_the_counts_of_a_dead_one(
    profile: Profile, tmp_path: Path, open_window: OpenWindow
) -> None:
    living, dying = open_window(tmp_path), open_window(tmp_path)
    dying.add(profile)
    dying.close()
    after = open_window(tmp_path)
    after.add(profile)
    assert living.total().tolist() == (2 * profile.counts).tolist()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("shared", [True, False])
def test_old_rows_leave_the_window(
    profile: Profile,
    tmp_path: Path,
    open_window: OpenWindow,
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "ROWS", 2 * profile.rows)
    opened = open_window(tmp_path if shared else None)
    generations = []
    for _ in range(9):
        opened.add(profile)
        generations.append(Profile(opened.total(), profile.columns).rows // profile.rows)
    assert generations == [1, 2, 3, 4, 3, 4, 3, 4, 3]


@pytest.mark.parametrize("damage", ["no folder", "foreign file"])
def test_without_a_usable_folder_a_process_has_only_its_own_counts(
    profile: Profile, tmp_path: Path, open_window: OpenWindow, damage: str
) -> None:
    folder = tmp_path / "missing" if damage == "no folder" else tmp_path
    if damage == "foreign file":
        (tmp_path / "drift-key-7").write_bytes(b"12345")
    opened = open_window(folder)
    opened.add(profile)
    assert opened.total().tolist() == profile.counts.tolist()


def test_a_request_within_the_interval_is_not_sampled(model: Model, held_out: Entities) -> None:
    traffic = Traffic(interval=3_600)
    for _ in range(3):
        traffic.sample(model, held_out.slice(0, 5))
    assert traffic.shifts(model)[0] == 5


def test_samples_of_a_model_that_is_loaded_twice_are_counted_together(
    trained_world: "World", model: Model, held_out: Entities, tmp_path: Path
) -> None:
    another = load_model(trained_world.uri)
    together, apart = (
        Traffic(tmp_path / "together", interval=0),
        Traffic(tmp_path / "apart", interval=0),
    )
    for row in range(2 * SAMPLE_ROWS):
        together.sample(another if row % 3 else model, held_out.slice(row, 1))
        apart.sample(model, held_out.slice(row, 1))
        assert apart.shifts(model)[0] == row + 1
    assert together.shifts(model)[0] == 2 * SAMPLE_ROWS
    assert together.psi_by_name(model) == apart.psi_by_name(model)


def test_a_large_request_is_sampled_evenly(model: Model, held_out: Entities) -> None:
    traffic = Traffic(interval=0)
    traffic.sample(model, held_out)
    rows, _ = traffic.shifts(model)
    assert SAMPLE_ROWS / 2 < rows <= SAMPLE_ROWS


def test_rejected_entities_are_not_counted(model: Model) -> None:
    traffic = Traffic(interval=0)
    entities = from_records([{"name": 5}, {"name": "Bank"}, 7], model.bundle.labeler.schema)
    traffic.sample(model, entities)
    traffic.sample(model, from_records([7], model.bundle.labeler.schema))
    assert traffic.shifts(model)[0] == 1


def test_there_is_one_index_for_each_field_and_score_and_one_for_all_labels(
    model: Model, held_out: Entities
) -> None:
    traffic = Traffic(interval=0)
    assert traffic.psi_by_name(model) == {}
    for start in range(0, 4 * SAMPLE_ROWS, SAMPLE_ROWS):
        traffic.sample(model, held_out.take(np.arange(start, start + SAMPLE_ROWS) % len(held_out)))
    indices = traffic.psi_by_name(model)
    assert len(indices) == len(model.bundle.labeler.schema.columns) + 3
    assert indices["field", "country"] < 0.25
    assert indices["label", "largest"] < 0.25


@pytest.fixture
def sampled(bundle: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a service that samples every request."""
    corrections = CorrectionStore(f"sqlite:///{tmp_path}/corrections.db")
    engine = Engine(manager_of(str(bundle), tmp_path), traffic=Traffic(interval=0))
    app = create_app(engine, Access(), corrections)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://{HOST}:{port}"
    await_ready(f"{url}/readyz", thread.is_alive)
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        yield client
    server.should_exit = True
    thread.join()


def drift_after(client: httpx.Client, entities: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    """Label at least `rows` rows, wait until they are counted, and return the drift.

    Repeats the entities as often as necessary. The return value is the response of `/v1/drift`.
    """
    for start in range(0, rows, SAMPLE_ROWS):
        part = [entities[at % len(entities)] for at in range(start, start + SAMPLE_ROWS)]
        assert client.post("/v1/labels", json={"entities": part}).status_code == 200
    deadline = time.monotonic() + PATIENCE
    while True:
        drift: dict[str, Any] = client.get("/v1/drift").json()
        if drift["rows"] >= rows or time.monotonic() > deadline:
            return drift
        time.sleep(0.05)


def test_traffic_like_the_training_data_is_stable(
    sampled: httpx.Client, held_out: Entities
) -> None:
    drift = drift_after(sampled, held_out.table.to_pylist(), 2 * LEAST_ROWS)
    assert drift["verdict"] == "stable"
    assert drift["rows"] >= 2 * LEAST_ROWS
    assert drift["model"]["content"]
    assert not any(
        shift["moved"] for kind in ("fields", "scores", "labels") for shift in drift[kind]
    )


def test_a_field_that_is_no_longer_sent_is_listed_first(
    sampled: httpx.Client, held_out: Entities
) -> None:
    before = sampled.get("/v1/drift").json()
    assert before["verdict"] == "not enough rows yet"
    assert before["fields"] == before["labels"] == []
    entities = held_out.table.drop_columns(["country"]).to_pylist()
    drift = drift_after(sampled, entities, 2 * LEAST_ROWS)
    assert drift["verdict"] == "moved"
    first = drift["fields"][0]
    assert (first["name"], first["moved"], first["filled"]["now"]) == ("country", True, 0)


def test_a_running_service_reports_drift(client: httpx.Client) -> None:
    drift = client.get("/v1/drift").json()
    assert {"model", "verdict", "rows", "profile_rows", "fields", "scores", "labels"} <= set(drift)
    assert drift["profile_rows"] > LEAST_ROWS
    assert "/v1/drift" in client.get("/openapi.json").json()["paths"]

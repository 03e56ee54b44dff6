"""Traffic: what is counted of it, what is forgotten, and what `GET /v1/drift` says of it."""

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
from tests.processes import HOST, await_answer, free_port
from tests.service.registered import serving_of

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

Open = Callable[[Path | None], Window]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def model(world: "World") -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return load_model(world.uri)


@pytest.fixture(scope="module")
def held_out(brands: Entities, brand_labels: pa.ListArray) -> Entities:
    """Rows that the model was not fitted on, like those of its profile."""
    return split(LabelledEntities(brands, brand_labels))[1].entities


@pytest.fixture(scope="module")
def some(model: Model, held_out: Entities) -> Profile:
    return Profile.of(model.bundle.labeler, held_out.slice(0, 40))


@pytest.fixture
def opened(some: Profile) -> Iterator[Open]:
    """Opens a window as another process would."""
    with contextlib.ExitStack() as stack:

        def one(folder: Path | None) -> Window:
            found = Window(len(some.counts), folder, "key")
            stack.callback(found.close)
            return found

        yield one


def test_the_counts_of_all_processes_are_added_up(
    some: Profile, tmp_path: Path, opened: Open
) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.add(some)
    other.add(some)
    other.add(some)
    for each in (one, other):
        assert each.total().tolist() == (3 * some.counts).tolist()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_counts_of_a_process_that_has_died_are_taken_over(
    some: Profile, tmp_path: Path, opened: Open
) -> None:
    living, dying = opened(tmp_path), opened(tmp_path)
    dying.add(some)
    dying.close()
    after = opened(tmp_path)
    after.add(some)
    assert living.total().tolist() == (2 * some.counts).tolist()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("shared", [True, False])
def test_old_rows_are_forgotten(
    some: Profile, tmp_path: Path, opened: Open, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "ROWS", 2 * some.rows)
    seen = opened(tmp_path if shared else None)
    known = []
    for _ in range(9):
        seen.add(some)
        known.append(Profile(seen.total(), some.columns).rows // some.rows)
    assert known == [1, 2, 3, 4, 3, 4, 3, 4, 3]


@pytest.mark.parametrize("damage", ["no folder", "foreign file"])
def test_a_folder_that_cannot_be_used_costs_only_the_others_counts(
    some: Profile, tmp_path: Path, opened: Open, damage: str
) -> None:
    folder = tmp_path / "missing" if damage == "no folder" else tmp_path
    if damage == "foreign file":
        (tmp_path / "drift-key-7").write_bytes(b"12345")
    seen = opened(folder)
    seen.add(some)
    assert seen.total().tolist() == some.counts.tolist()


def test_a_request_is_looked_at_only_when_it_is_time(model: Model, held_out: Entities) -> None:
    traffic = Traffic(interval=3_600)
    for _ in range(3):
        traffic.sample(model, held_out.slice(0, 5))
    assert traffic.shifts(model)[0] == 5


def test_small_requests_are_counted_together_but_each_for_its_model(
    world: "World", model: Model, held_out: Entities, tmp_path: Path
) -> None:
    another = load_model(world.uri)
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


def test_of_a_large_request_rows_from_all_over_it_are_counted(
    model: Model, held_out: Entities
) -> None:
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


def test_figures_are_few_and_there_when_rows_are_enough(model: Model, held_out: Entities) -> None:
    traffic = Traffic(interval=0)
    assert traffic.psi_by_name(model) == {}
    for start in range(0, 4 * SAMPLE_ROWS, SAMPLE_ROWS):
        traffic.sample(model, held_out.take(np.arange(start, start + SAMPLE_ROWS) % len(held_out)))
    figures = traffic.psi_by_name(model)
    assert len(figures) == len(model.bundle.labeler.schema.columns) + 3
    assert figures["field", "country"] < 0.25
    assert figures["label", "largest"] < 0.25


@pytest.fixture
def asked(bundle: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service that looks at every request."""
    corrections = CorrectionStore(f"sqlite:///{tmp_path}/corrections.db")
    engine = Engine(serving_of(str(bundle), tmp_path), traffic=Traffic(interval=0))
    app = create_app(engine, Access(), corrections)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    url = f"http://{HOST}:{port}"
    await_answer(f"{url}/readyz", thread.is_alive)
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        yield client
    server.should_exit = True
    thread.join()


def drift_after(client: httpx.Client, entities: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    """What is said when so many rows have been labelled, and counted a moment later."""
    for start in range(0, rows, SAMPLE_ROWS):
        part = [entities[at % len(entities)] for at in range(start, start + SAMPLE_ROWS)]
        assert client.post("/v1/labels", json={"entities": part}).status_code == 200
    until = time.monotonic() + PATIENCE
    while True:
        said: dict[str, Any] = client.get("/v1/drift").json()
        if said["rows"] >= rows or time.monotonic() > until:
            return said
        time.sleep(0.05)


def test_traffic_like_the_training_data_is_stable(asked: httpx.Client, held_out: Entities) -> None:
    said = drift_after(asked, held_out.table.to_pylist(), 2 * LEAST_ROWS)
    assert said["verdict"] == "stable"
    assert said["rows"] >= 2 * LEAST_ROWS
    assert said["model"]["content"]
    assert not any(
        shift["moved"] for kind in ("fields", "scores", "labels") for shift in said[kind]
    )


def test_a_field_that_callers_no_longer_send_is_named_first(
    asked: httpx.Client, held_out: Entities
) -> None:
    before = asked.get("/v1/drift").json()
    assert before["verdict"] == "not enough rows yet"
    assert before["fields"] == before["labels"] == []
    entities = held_out.table.drop_columns(["country"]).to_pylist()
    said = drift_after(asked, entities, 2 * LEAST_ROWS)
    assert said["verdict"] == "moved"
    first = said["fields"][0]
    assert (first["name"], first["moved"], first["filled"]["now"]) == ("country", True, 0)


def test_a_running_service_tells_drift(client: httpx.Client) -> None:
    said = client.get("/v1/drift").json()
    assert {"model", "verdict", "rows", "profile_rows", "fields", "scores", "labels"} <= set(said)
    assert said["profile_rows"] > LEAST_ROWS
    assert "/v1/drift" in client.get("/openapi.json").json()["paths"]

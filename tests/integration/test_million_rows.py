"""Tests of streams of a million rows on one connection, in constant memory."""

from collections.abc import Callable, Iterator

import psutil
import pyarrow as pa
import pytest

from labelwright import Client
from tests.conftest import World
from tests.processes import Service, serving

pytestmark = pytest.mark.integration

ROWS, TOGETHER = 1_000_000, 10_000
GROWTH_LIMIT = 48 << 20
NAMES = [f"Pizzeria {n}" for n in range(TOGETHER)]


@pytest.fixture(scope="module")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("million")
    with serving("--model", world.uri, environment=world.environment, folder=folder) as running:
        yield running


def in_batches(labels: Client) -> Iterator[int]:
    """Send Arrow batches; yields the number of rows labelled so far."""
    batch = pa.record_batch({"name": NAMES})
    labelled = 0
    for predictions in labels.label_batches((batch for _ in range(ROWS // TOGETHER)), top_k=1):
        labelled += len(predictions)
        yield labelled


def line_by_line(labels: Client) -> Iterator[int]:
    """Send JSON lines; yields the number of rows labelled so far."""
    rows = ({"name": name} for _ in range(ROWS // TOGETHER) for name in NAMES)
    for labelled, _ in enumerate(labels.label_rows(rows, top_k=1), 1):
        yield labelled


@pytest.mark.parametrize("send", [in_batches, line_by_line])
def test_a_million_rows_are_labelled_in_constant_memory(
    service: Service, send: Callable[[Client], Iterator[int]]
) -> None:
    processes = [psutil.Process(service.process.pid), psutil.Process()]
    before: list[int] = []
    labelled = 0
    for labelled in send(Client(service.url)):
        if not before and labelled >= ROWS // 10:
            before = [process.memory_info().rss for process in processes]
    assert labelled == ROWS
    after = [process.memory_info().rss for process in processes]
    grown = [late - early for early, late in zip(before, after, strict=True)]
    assert max(grown) < GROWTH_LIMIT, grown

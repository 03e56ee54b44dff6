"""A million rows through one connection in each stream format, with flat memory."""

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
    answered = 0
    for answer in labels.label_batches((batch for _ in range(ROWS // TOGETHER)), top_k=1):
        answered += len(answer)
        yield answered


def line_by_line(labels: Client) -> Iterator[int]:
    """Send JSON lines; yields the number of rows labelled so far."""
    rows = ({"name": name} for _ in range(ROWS // TOGETHER) for name in NAMES)
    for answered, _ in enumerate(labels.label_rows(rows, top_k=1), 1):
        yield answered


@pytest.mark.parametrize("send", [in_batches, line_by_line])
def test_a_million_rows_are_labelled_in_flat_memory(
    service: Service, send: Callable[[Client], Iterator[int]]
) -> None:
    processes = [psutil.Process(service.process.pid), psutil.Process()]
    before: list[int] = []
    answered = 0
    for answered in send(Client(service.url)):
        if not before and answered >= ROWS // 10:
            before = [process.memory_info().rss for process in processes]
    assert answered == ROWS
    after = [process.memory_info().rss for process in processes]
    grown = [late - early for early, late in zip(before, after, strict=True)]
    assert max(grown) < GROWTH_LIMIT, grown

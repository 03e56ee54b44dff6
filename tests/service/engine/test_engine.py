"""Tests of the compute threads: batches, isolation of failures, and deadlines."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import OverloadedError, RequestError
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.request import ParsedRequest
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.telemetry.request_record import REQUEST_RECORD, STAGE_LIMIT, RequestRecord

pytest_plugins = ["tests.worlds"]
PATIENCE = 60.0


class Busy:
    """An engine whose only compute thread is blocked between `hold` and `release`."""

    def __init__(self, manager: ModelManager) -> None:
        self.engine = Engine(manager, threads=1)
        self._gate = threading.Event()

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        text = self.engine.metrics.exposition().decode()
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        return float(line.split()[-1])

    async def hold(self) -> None:
        """Block the compute thread."""
        self._held = asyncio.create_task(
            self.engine.compute(lambda model: self._gate.wait(PATIENCE), 1, due())
        )
        while not self.engine.queue.cost or self.engine.queue.waiting:
            await asyncio.sleep(0.01)

    async def release(self) -> None:
        """Let the compute thread continue."""
        self._gate.set()
        await self._held


async def recorded(record: RequestRecord, work: Coroutine[Any, Any, Any]) -> Any:
    """Do work as a part of the request that `record` describes, and return the result."""
    REQUEST_RECORD.set(record)
    return await work


def due(seconds: float = PATIENCE) -> float:
    """The monotonic time in `seconds`, as a deadline."""
    return time.monotonic() + seconds


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 2 * PATIENCE))


def reader(name: str, query: LabelQuery | None = None) -> Callable[[Model], ParsedRequest]:
    """A function that parses a request for one place."""

    def read(model: Model) -> ParsedRequest:
        entities = from_records([{"name": name}], model.bundle.labeler.schema)
        return ParsedRequest(entities, query or LabelQuery())

    return read


def labels(
    model: Model, request: ParsedRequest, predictions: Predictions
) -> list[tuple[str, float]]:
    """Serialise the predictions for one place."""
    assert len(request.entities) == 1
    names = [predictions.labels.names[label] for label in predictions.ids]
    return list(zip(names, predictions.probabilities.tolist(), strict=True))


async def idle(engine: Engine) -> None:
    """Wait until no work is queued or computed."""
    async with asyncio.timeout(PATIENCE):
        while engine.queue.cost:
            await asyncio.sleep(0.001)


def alone(model: Model, name: str, query: LabelQuery | None = None) -> list[tuple[str, float]]:
    """The labels of a place that is labelled alone."""
    request = reader(name, query)(model)
    return labels(model, request, model.bundle.labeler.label(request.entities, request.query))


def test_small_queued_requests_are_labelled_in_one_batch(
    manager: ModelManager, model: Model
) -> None:
    names = [f"Pizza {n}" for n in range(10)]

    async def scenario() -> None:
        busy = Busy(manager)
        await busy.hold()
        records = [RequestRecord(name) for name in names]
        waiting = [
            asyncio.create_task(recorded(record, busy.engine.label(reader(name), labels, 1, due())))
            for record, name in zip(records, names, strict=True)
        ]
        await asyncio.sleep(0)
        await busy.release()
        assert await asyncio.gather(*waiting) == [alone(model, name) for name in names]
        stages = [stage for record in records for stage in record.stages]
        assert len({stage for stage in stages if stage.name == "label"}) == 1
        await idle(busy.engine)

    run(scenario())


def test_a_record_counts_each_row_once_and_limits_its_stages(
    manager: ModelManager,
) -> None:
    wrong = LabelQuery(policy="no such")

    async def scenario() -> None:
        busy, record = Busy(manager), RequestRecord("")
        await busy.hold()
        REQUEST_RECORD.set(record)
        together = [
            asyncio.create_task(busy.engine.label(reader("Bar", query), labels, 1, due()))
            for query in (None, None, wrong, wrong)
        ]
        await asyncio.sleep(0)
        await busy.release()
        *_, failed, alone_too = await asyncio.gather(*together, return_exceptions=True)
        assert isinstance(failed, RequestError)
        assert isinstance(alone_too, RequestError)
        assert record.rows == 4
        for _ in range(STAGE_LIMIT):
            await busy.engine.label(reader("Bar"), labels, 1, due())
        assert record.rows == 4 + STAGE_LIMIT
        assert len(record.stages) == STAGE_LIMIT

    run(scenario())


def test_an_idle_engine_labels_a_single_request_at_once(
    manager: ModelManager, model: Model
) -> None:
    async def scenario() -> None:
        engine = Engine(manager, threads=1)
        assert await engine.label(reader("Kiosk"), labels, 1, due()) == alone(model, "Kiosk")

    run(scenario())


def test_a_request_that_fails_does_not_affect_other_requests_of_its_batch(
    manager: ModelManager, model: Model
) -> None:
    def fail(*arguments: object) -> Any:
        raise ZeroDivisionError

    wrong = LabelQuery(policy="no such")
    patterns = LabelQuery(only=("cuisine=*",))

    async def scenario() -> None:
        busy = Busy(manager)
        engine = busy.engine
        await busy.hold()
        first, unread, unwritten, refused, other, gone, last = (
            asyncio.create_task(work)
            for work in (
                engine.label(reader("Café"), labels, 1, due()),
                engine.label(fail, labels, 1, due()),
                engine.label(reader("Bar"), fail, 1, due()),
                engine.label(reader("Bar", wrong), labels, 1, due()),
                engine.label(reader("Bar", patterns), labels, 1, due()),
                engine.label(fail, labels, 1, due()),
                engine.label(reader("Kiosk"), labels, 1, due()),
            )
        )
        await asyncio.sleep(0)
        waiting = engine.queue.waiting
        gone.cancel()
        await asyncio.wait([gone])
        assert engine.queue.waiting == waiting - 1
        await busy.release()
        assert await first == alone(model, "Café")
        assert await last == alone(model, "Kiosk")
        assert await other == alone(model, "Bar", patterns)
        for failed, kind in (
            (unread, ZeroDivisionError),
            (unwritten, ZeroDivisionError),
            (refused, RequestError),
        ):
            with pytest.raises(kind):
                await failed
        await idle(engine)

    run(scenario())


def test_a_job_that_cannot_meet_its_deadline_is_refused_at_once_or_at_the_deadline(
    manager: ModelManager,
) -> None:
    def never(model: Model) -> None:
        raise AssertionError

    async def scenario() -> None:
        busy = Busy(manager)
        await busy.hold()
        engine = busy.engine
        rows = int(2 / engine.queue.pace)
        began = time.monotonic()
        with pytest.raises(OverloadedError) as refused:
            await engine.compute(never, rows, due(1))
        assert time.monotonic() - began < 1
        assert refused.value.retry_after >= 1
        with pytest.raises(OverloadedError):
            await engine.compute(never, 1, due(0.2))
        assert busy.metric("labelwright_shed_total") == 2
        assert engine.queue.waiting == 0
        await busy.release()

    run(scenario())


@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(
        st.lists(
            st.fixed_dictionaries(
                {"name": st.text(max_size=20)},
                optional={"country": st.text(max_size=2), "lat": st.just(1), "lon": st.just(2.5)},
            ),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_tables_labelled_together_get_the_same_predictions_as_alone(
    model: Model, parts: list[list[dict[str, Any]]]
) -> None:
    labeler = model.bundle.labeler
    tables = [from_records(part, labeler.schema) for part in parts]
    query = LabelQuery(top_k=3)
    together = labeler.label_together(tables, query)
    for entities, predictions in zip(tables, together.split(map(len, tables)), strict=True):
        assert predictions.to_arrow().equals(labeler.label(entities, query).to_arrow())

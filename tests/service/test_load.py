"""Requests that come together: labelled together, apart from one another, and in time."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import OverloadedError, RequestError
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.queue import (
    BATCH_ROWS,
    BUSY_BATCH_ROWS,
    QUEUE_SHARE,
    JobQueue,
    QueuedJob,
)
from labelwright.service.http.connection import RESERVATION_SECONDS
from labelwright.service.protocols.label_messages import EXPLAINED_COST, Labels
from labelwright.service.rollout.manager import Serving
from labelwright.service.telemetry.request_record import REQUEST_RECORD, STAGE_LIMIT, RequestRecord
from tests.processes import HOST, Service
from tests.service.test_app import PLACES, ask, body, problem_of

pytest_plugins = ["tests.worlds"]
PATIENCE = 60.0

Asked = tuple[Entities, LabelQuery]


class Busy:
    """An engine with one thread, which is held up until `release`."""

    def __init__(self, serving: Serving) -> None:
        self.engine = Engine(serving, threads=1)
        self._gate = threading.Event()

    def figure(self, name: str) -> float:
        """A figure as Prometheus sees it."""
        text = self.engine.metrics.exposition().decode()
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        return float(line.split()[-1])

    async def hold(self) -> None:
        """Give the thread something to wait for."""
        self._held = asyncio.create_task(
            self.engine.compute(lambda model: self._gate.wait(PATIENCE), 1, due())
        )
        while not self.engine.queue.cost or self.engine.queue.waiting:
            await asyncio.sleep(0.01)

    async def release(self) -> None:
        """Let the thread go on."""
        self._gate.set()
        await self._held


async def noted(note: RequestRecord, work: Coroutine[Any, Any, Any]) -> Any:
    """What work gives that is noted."""
    REQUEST_RECORD.set(note)
    return await work


def due(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 2 * PATIENCE))


def asking(name: str, query: LabelQuery | None = None) -> Callable[[Model], Asked]:
    """What reads a request about one place."""

    def read(model: Model) -> Asked:
        return from_records([{"name": name}], model.bundle.labeler.schema), query or LabelQuery()

    return read


def labels(model: Model, entities: Entities, predictions: Predictions) -> list[tuple[str, float]]:
    """What writes an answer."""
    assert len(entities) == 1
    names = [predictions.labels.names[label] for label in predictions.ids]
    return list(zip(names, predictions.probabilities.tolist(), strict=True))


async def idle(engine: Engine) -> None:
    """Wait until nothing is counted as work any more."""
    async with asyncio.timeout(PATIENCE):
        while engine.queue.cost:
            await asyncio.sleep(0.001)


def alone(model: Model, name: str, query: LabelQuery | None = None) -> list[tuple[str, float]]:
    """The answer that a place gets by itself."""
    entities, asked = asking(name, query)(model)
    return labels(model, entities, model.bundle.labeler.label(entities, asked))


def test_small_requests_that_wait_together_are_labelled_together(
    serving: Serving, model: Model
) -> None:
    names = [f"Pizza {n}" for n in range(10)]

    async def scenario() -> None:
        busy = Busy(serving)
        await busy.hold()
        notes = [RequestRecord(name) for name in names]
        waiting = [
            asyncio.create_task(noted(note, busy.engine.label(asking(name), labels, 1, due())))
            for note, name in zip(notes, names, strict=True)
        ]
        await asyncio.sleep(0)
        await busy.release()
        assert await asyncio.gather(*waiting) == [alone(model, name) for name in names]
        assert len({stage for note in notes for stage in note.stages if stage.name == "label"}) == 1
        await idle(busy.engine)

    run(scenario())


def test_all_rows_of_a_note_are_counted_once_and_its_stages_are_bounded(
    serving: Serving,
) -> None:
    wrong = LabelQuery(policy="no such")

    async def scenario() -> None:
        busy, note = Busy(serving), RequestRecord("")
        await busy.hold()
        REQUEST_RECORD.set(note)
        together = [
            asyncio.create_task(busy.engine.label(asking("Bar", asked), labels, 1, due()))
            for asked in (None, None, wrong, wrong)
        ]
        await asyncio.sleep(0)
        await busy.release()
        *_, failed, alone_too = await asyncio.gather(*together, return_exceptions=True)
        assert isinstance(failed, RequestError)
        assert isinstance(alone_too, RequestError)
        assert note.rows == 4
        for _ in range(STAGE_LIMIT):
            await busy.engine.label(asking("Bar"), labels, 1, due())
        assert note.rows == 4 + STAGE_LIMIT
        assert len(note.stages) == STAGE_LIMIT

    run(scenario())


def test_an_idle_server_does_not_wait_for_company(serving: Serving, model: Model) -> None:
    async def scenario() -> None:
        engine = Engine(serving, threads=1)
        assert await engine.label(asking("Kiosk"), labels, 1, due()) == alone(model, "Kiosk")

    run(scenario())


def test_a_request_that_goes_wrong_costs_its_neighbours_nothing(
    serving: Serving, model: Model
) -> None:
    def fail(*arguments: object) -> Any:
        raise ZeroDivisionError

    wrong = LabelQuery(policy="no such")
    patterns = LabelQuery(only=("cuisine=*",))

    async def scenario() -> None:
        busy = Busy(serving)
        engine = busy.engine
        await busy.hold()
        first, unread, unwritten, refused, other, gone, last = (
            asyncio.create_task(work)
            for work in (
                engine.label(asking("Café"), labels, 1, due()),
                engine.label(fail, labels, 1, due()),
                engine.label(asking("Bar"), fail, 1, due()),
                engine.label(asking("Bar", wrong), labels, 1, due()),
                engine.label(asking("Bar", patterns), labels, 1, due()),
                engine.label(fail, labels, 1, due()),
                engine.label(asking("Kiosk"), labels, 1, due()),
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


def test_what_cannot_be_answered_in_time_is_refused_at_once_or_at_its_deadline(
    serving: Serving,
) -> None:
    def never(model: Model) -> None:
        raise AssertionError

    async def scenario() -> None:
        busy = Busy(serving)
        await busy.hold()
        engine = busy.engine
        cannot_finish = int(2 / engine.queue.pace)
        began = time.monotonic()
        with pytest.raises(OverloadedError) as refused:
            await engine.compute(never, cannot_finish, due(1))
        assert time.monotonic() - began < 1
        assert refused.value.retry_after >= 1
        with pytest.raises(OverloadedError):
            await engine.compute(never, 1, due(0.2))
        assert busy.figure("labelwright_shed_total") == 2
        assert engine.queue.waiting == 0
        await busy.release()

    run(scenario())


def test_room_is_kept_for_what_is_on_its_way_until_it_is_known() -> None:
    queue = JobQueue()
    assert not queue.cannot_finish(1_000, 0.5)  # an idle service tries
    coming = [queue.reserve(1_000) for _ in range(8)]
    assert queue.cannot_finish(1_000, 0.5)
    with pytest.raises(OverloadedError):
        queue.admit(1_000, due(0.5))
    for one in coming * 2:
        one.release()
    assert queue.reserved == 0
    assert not queue.cannot_finish(1_000, 0.5)


def test_who_announces_much_and_sends_nothing_blocks_nobody(
    client: httpx.Client, service: Service
) -> None:
    head = (
        b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: 60\r\n"
        b"Content-Length: 99000\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            silent = stack.enter_context(socket.create_connection((HOST, service.port)))
            silent.sendall(head)
        until = time.monotonic() + 30  # what was announced may come within 60 seconds
        client.headers["X-Request-Timeout"] = "5"
        while client.post("/v1/labels", content=body()).status_code != 200:
            assert time.monotonic() < until
            time.sleep(RESERVATION_SECONDS)


def test_only_what_is_explained_is_counted_as_such() -> None:
    plain, explained = (
        Labels(b'{"entities": [{}, {}], "explain": %b}' % said) for said in (b"false", b"true")
    )
    assert (plain.rows, explained.rows) == (2, 2 * EXPLAINED_COST)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_batches_keep_the_order_and_are_counted_in_rows(rows: list[int]) -> None:
    loop = asyncio.new_event_loop()
    queue = JobQueue()
    model: Any = None
    jobs = [
        QueuedJob(lambda model: None, model, n, due(), loop.create_future(), RequestRecord(""))
        for n in rows
    ]
    for job in jobs:
        queue.add(job)
    taken: list[QueuedJob] = []
    while queue.waiting:
        most = min(max(queue.cost // QUEUE_SHARE, BATCH_ROWS), BUSY_BATCH_ROWS)
        batch = queue.take_batch()
        assert len(batch) == 1 or sum(job.rows for job in batch) <= most
        following = jobs[len(taken) + len(batch) :][:1]
        assert not following or sum(job.rows for job in (*batch, *following)) > most
        taken += batch
        queue.finish_batch(batch)
    assert taken == jobs
    assert queue.cost == 0
    loop.close()


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
def test_tables_get_the_same_answers_together_as_alone(
    model: Model, parts: list[list[dict[str, Any]]]
) -> None:
    labeler = model.bundle.labeler
    tables = [from_records(part, labeler.schema) for part in parts]
    query = LabelQuery(top_k=3)
    together = labeler.label_together(tables, query)
    for entities, predictions in zip(tables, together.split(map(len, tables)), strict=True):
        assert predictions.to_arrow().equals(labeler.label(entities, query).to_arrow())


def test_a_deadline_that_cannot_be_met_is_refused_with_the_time_to_come_back(
    client: httpx.Client,
) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(100)], explain=True)
    response = client.post("/v1/labels", content=many, headers={"X-Request-Timeout": "0.05"})
    assert problem_of(response)["status"] == 503
    assert int(response.headers["retry-after"]) >= 1
    assert ask(client, PLACES, top_k=1)["results"]  # on the same connection


@pytest.mark.parametrize("given", ["", "soon", "0", "-1", "nan", "inf", "61"])
def test_a_timeout_that_is_none_is_refused(client: httpx.Client, given: str) -> None:
    response = client.post("/v1/labels", content=body(), headers={"X-Request-Timeout": given})
    assert problem_of(response)["status"] == 400


def test_what_is_refused_at_its_head_is_told_in_the_dialect_of_its_path(
    client: httpx.Client,
) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(20)], explain=True)
    told = {
        "/v1/labels": {"type", "title", "status", "detail"},
        "/v2/models/small/infer": {"error"},
        "/invocations": {"error_code", "message"},
    }

    async def scenario() -> None:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=PATIENCE) as caller:
            busy = [asyncio.create_task(caller.post("/v1/labels", content=many)) for _ in range(40)]
            for path, members in told.items():
                answer = await refused_at_its_head(caller, path)
                assert set(answer.json()) == members
                assert "default-src" in answer.headers["content-security-policy"]
                assert int(answer.headers["retry-after"]) >= 1
            await asyncio.gather(*busy)

    run(scenario())


async def refused_at_its_head(caller: httpx.AsyncClient, path: str) -> httpx.Response:
    """The first refusal that no more was done for than necessary: it has no id."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        answer = await caller.post(path, content=b"{}", headers={"X-Request-Timeout": "0.01"})
        if answer.status_code == 503 and "x-request-id" not in answer.headers:
            return answer
    raise AssertionError(f"{path}: nothing was refused")


def test_health_answers_while_there_is_too_much_to_do(client: httpx.Client) -> None:
    many = body(entities=[{"name": f"Place {n}"} for n in range(20)], explain=True)
    unlimited = httpx.Limits(max_connections=None)

    async def scenario() -> None:
        async with httpx.AsyncClient(
            base_url=client.base_url, timeout=PATIENCE, limits=unlimited
        ) as caller:
            waiting = [
                asyncio.create_task(caller.post("/v1/labels", content=many)) for _ in range(200)
            ]
            while not all(request.done() for request in waiting):
                assert (await caller.get("/readyz")).status_code == 200
                await asyncio.sleep(0.2)
            predictions = await asyncio.gather(*waiting)
            assert {answer.status_code for answer in predictions} == {200, 503}
            assert all(
                "retry-after" in one.headers for one in predictions if one.status_code == 503
            )

    run(scenario())

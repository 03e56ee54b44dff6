"""Tests of the job queue: batches and reservations."""

import asyncio
import itertools
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import OverloadedError
from labelwright.service.engine.queue import (
    BATCH_ROWS,
    BUSY_BATCH_ROWS,
    JobQueue,
    QueuedJob,
)
from labelwright.service.telemetry.request_record import ANYONE, Client, RequestRecord

PATIENCE = 60.0


def due(seconds: float = PATIENCE) -> float:
    """The monotonic time in `seconds`, as a deadline."""
    return time.monotonic() + seconds


def test_reservations_count_as_load_until_they_are_released() -> None:
    queue = JobQueue()
    assert not queue.cannot_finish(1_000, 0.5, ANYONE)  # an idle queue accepts every job
    reservations = [queue.reserve(1_000, ANYONE) for _ in range(8)]
    assert queue.cannot_finish(1_000, 0.5, ANYONE)
    with pytest.raises(OverloadedError):
        queue.admit(1_000, due(0.5), ANYONE)
    for reservation in reservations * 2:
        reservation.release()
    assert queue.reserved == 0
    assert not queue.cannot_finish(1_000, 0.5, ANYONE)


def jobs_of(rows: list[int], loop: asyncio.AbstractEventLoop) -> list[QueuedJob]:
    model: Any = None
    return [
        QueuedJob(lambda model: None, model, n, due(), loop.create_future(), RequestRecord(""))
        for n in rows
    ]


def batches_of(rows: list[int]) -> list[list[int]]:
    """Put jobs with these numbers of rows into a queue, and take all batches with one thread.

    Returns the numbers of rows of the jobs in each batch.
    """
    loop, queue = asyncio.new_event_loop(), JobQueue()
    jobs = jobs_of(rows, loop)
    for job in jobs:
        queue.add(job)
    taken: list[QueuedJob] = []
    batches = []
    while queue.waiting:
        batch = queue.take_batch()
        batches.append([job.rows for job in batch])
        taken += batch
        queue.finish_batch(batch)
    assert taken == jobs
    assert queue.cost == 0
    loop.close()
    return batches


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_batches_keep_the_order_of_jobs_and_have_a_limited_number_of_rows(rows: list[int]) -> None:
    batches = batches_of(rows)
    for batch, following in itertools.pairwise([*batches, [10**9]]):
        assert len(batch) == 1 or sum(batch) <= BUSY_BATCH_ROWS
        assert sum(batch) + following[0] > BATCH_ROWS  # as many jobs as fit


def test_a_long_queue_has_larger_batches() -> None:
    (small, *_), (large, *_) = batches_of([16] * 16), batches_of([16] * 1_000)
    assert sum(small) == BATCH_ROWS
    assert sum(large) == BUSY_BATCH_ROWS


# clients


def order_of(jobs: list[tuple[Client, int]]) -> list[Client]:
    """Put jobs, clients with numbers of rows, into a queue; returns the clients in turn."""
    loop, queue = asyncio.new_event_loop(), JobQueue()
    for client, rows in jobs:
        (job,) = jobs_of([rows], loop)
        job.record.client = client
        queue.add(job)
    served = []
    while queue.waiting:
        batch = queue.take_batch()
        served += [job.client for job in batch]
        queue.finish_batch(batch)
    assert queue.cost == 0
    loop.close()
    return served


HOG, OTHER = Client("192.0.2.1"), Client("192.0.2.2")


def test_a_client_does_not_wait_for_all_jobs_of_another_client() -> None:
    served = order_of([*[(HOG, 2_000)] * 50, (OTHER, 1)])
    assert served.index(OTHER) == 0
    served = order_of([*[(HOG, 100)] * 50, *[(OTHER, 100)] * 50])
    assert served[:10].count(HOG) == 5


def test_clients_get_the_same_number_of_rows() -> None:
    served = order_of([*[(HOG, 992)] * 50, *[(OTHER, 92)] * 500])  # a job costs 8 rows more
    assert 9 <= served[:110].count(HOG) <= 11


def test_the_addresses_of_one_key_get_the_part_of_one_client() -> None:
    addresses = [Client(f"192.0.2.{n}", "key") for n in range(10)]
    jobs = [(client, 100) for _ in range(10) for client in addresses]
    served = order_of([*jobs, *[(OTHER, 100)] * 50])
    assert served[:40].count(OTHER) >= 18
    assert {client for client in served[:80] if client.key} == set(addresses)


def test_the_expected_time_of_a_client_does_not_depend_on_the_backlog_of_another() -> None:
    queue = JobQueue()
    reservation = queue.reserve(1_000_000, HOG)
    assert queue.cannot_finish(100, 1.0, HOG)
    assert not queue.cannot_finish(100, 1.0, OTHER)
    reservation.release()
    assert queue.expected_seconds(0, HOG) == 0

"""The soak test: its requests, the check of responses, and the verdict."""

import dataclasses
from collections.abc import Iterable

import pytest

from benchmarks.connections import Response
from benchmarks.mixture import DISCONNECTS, SHARES, STREAM, Request, mixture
from benchmarks.soak import records_of
from benchmarks.soak_page import Outcome, Run, document, faults, memory_trend
from benchmarks.two_versions import NAME, PREFIX, write_renamed
from labelwright.models.bundle.format import read_bundle
from labelwright.models.registry import Model
from tests.conftest import World

SUPERVISOR, OLDEST, KILLED, REPLACEMENT = range(4)


@pytest.fixture(scope="module")
def versions(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    renamed = tmp_path_factory.mktemp("renamed") / "2"
    write_renamed(world.bundle, renamed)
    folders = {"1": world.bundle, "2": renamed}
    return [Model(read_bundle(folder), "", NAME, number) for number, folder in folders.items()]


@pytest.fixture(scope="module")
def requests(versions: list[Model]) -> list[Request]:
    return mixture(versions, records_of(versions[0].bundle.labeler.schema), scale=1)


def _head(version: str) -> bytes:
    return f"http/1.1 200 ok\r\nx-model-version: {version}\r\n\r\n".encode()


def test_every_kind_of_request_has_its_share(requests: list[Request]) -> None:
    kinds = [request.kind for request in requests]
    assert {kind: kinds.count(kind) for kind in SHARES} == SHARES
    assert sum(SHARES.values()) == 100


def test_only_the_complete_response_of_the_named_version_is_right(
    requests: list[Request],
) -> None:
    for request in requests:
        first, second = request.expected
        assert request.version(Response(200, first, _head("1"))) == "1"
        assert request.version(Response(200, second, _head("2"))) == "2"
        for wrong in (first[:-1], first + b" ", b"", first.replace(b"0.", b"0.0", 1)):
            assert request.version(Response(200, wrong, _head("1"))) is None
        if request.kind == STREAM:
            assert request.version(Response(200, first, _head("2"))) is None
            half = len(first) // 2
            mixed = first[:half] + second[half:]
        else:
            mixed = second.replace(b'"version":"2"', b'"version":"1"')
        assert request.version(Response(200, mixed, _head("1"))) is None
        assert second.count(PREFIX.encode())


def test_versions_with_equal_responses_are_refused(versions: list[Model]) -> None:
    records = records_of(versions[0].bundle.labeler.schema)
    with pytest.raises(ValueError, match="same response"):
        mixture([versions[0], versions[0]], records, scale=1)


def _run(oldest: Iterable[float]) -> Run:
    """A run in which one of two workers is killed; `oldest` is the other worker's memory in MB."""
    run = Run(
        1.0, capacity=100.0, rate=80.0, swaps=4, completed={1, 2, 3}, killed=1, replaced=[5.0]
    )
    sizes = list(oldest)
    for at, size in enumerate(sizes):
        other = KILLED if at < len(sizes) / 2 else REPLACEMENT
        seen = {SUPERVISOR: 100_000_000, OLDEST: int(size * 1e6), other: 10_000_000 * at}
        run.memory.append((float(at), seen))
    run.count("1 entity", Outcome.RIGHT)
    run.seconds["1 entity"].append(0.002)
    run.recovering.append(0.5)
    run.count(DISCONNECTS, Outcome.ABANDONED)
    return run


FLAT = [200.0 + at % 3 for at in range(60)]


def test_a_service_without_faults_passes() -> None:
    run = _run(FLAT)
    run.count("1 entity", Outcome.REFUSED)
    run.count("1 entity", Outcome.CUT)
    assert faults(run) == []
    assert "verdict: passed" in document(run)
    assert "workers killed: 1; replaced after 5 s" in document(run)
    assert "p99 500 ms" in document(run)
    assert abs(memory_trend(run).growth) < 1e6
    assert memory_trend(run).peak > 300_000_000 + 58 * 10_000_000


def test_growth_of_memory_is_a_fault_only_after_the_warm_up() -> None:
    warming = [100.0 + 10 * at for at in range(10)] + [200.0] * 50
    assert memory_trend(_run(warming)).flat
    (fault,) = faults(_run([200.0 + at for at in range(60)]))
    assert fault.startswith("memory grew by 4")
    assert memory_trend(_run([200.0 + at for at in range(60)])).hourly == pytest.approx(3600e6)


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.UNEXPECTED])
def test_a_wrong_response_or_an_unexpected_status_is_a_fault(outcome: Outcome) -> None:
    run = _run(FLAT)
    run.count("1 entity", outcome)
    run.statuses[500] += outcome == Outcome.UNEXPECTED
    (fault,) = faults(run)
    assert fault in ("1 wrong responses", "unexpected statuses: {500: 1}")
    assert fault in document(run)


def test_tracebacks_missing_swaps_and_missing_successes_are_faults() -> None:
    passed = _run(FLAT)
    assert faults(dataclasses.replace(passed, tracebacks=2)) == ["2 tracebacks in the log"]
    assert faults(dataclasses.replace(passed, completed=set())) != []
    passed.outcomes.clear()
    passed.count("1 entity", Outcome.REFUSED)
    assert faults(passed) == ["no request succeeded"]


def test_the_table_has_a_line_for_each_kind_of_request() -> None:
    lines = document(_run(FLAT)).splitlines()
    heads = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert heads == ["request", "---", "1 entity", DISCONNECTS, "all"]

"""The parts of a soak: what is asked, what is right, and when the service did not hold."""

import dataclasses
from collections.abc import Iterable

import pytest

from benchmarks.connections import Answer
from benchmarks.mixture import LEAVES, SHARES, STREAM, Request, mixture
from benchmarks.soak import records_of
from benchmarks.soaked import Outcome, Run, document, faults, memory
from benchmarks.versions import NAME, PREFIX, write_renamed
from labelwright.models.bundle.format import read_bundle
from labelwright.models.registry import Model
from tests.conftest import World

SUPERVISOR, ELDER, KILLED, LATER = range(4)


@pytest.fixture(scope="module")
def versions(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    renamed = tmp_path_factory.mktemp("renamed") / "2"
    write_renamed(world.bundle, renamed)
    folders = {"1": world.bundle, "2": renamed}
    return [Model(read_bundle(place), "", NAME, number) for number, place in folders.items()]


@pytest.fixture(scope="module")
def requests(versions: list[Model]) -> list[Request]:
    return mixture(versions, records_of(versions[0].bundle.labeler.schema), scale=1)


def _headed(version: str) -> bytes:
    return f"http/1.1 200 ok\r\nx-model-version: {version}\r\n\r\n".encode()


def test_every_kind_is_asked_for_in_its_share(requests: list[Request]) -> None:
    kinds = [request.kind for request in requests]
    assert {kind: kinds.count(kind) for kind in SHARES} == SHARES
    assert sum(SHARES.values()) == 100


def test_only_the_whole_answer_of_the_version_that_is_named_is_right(
    requests: list[Request],
) -> None:
    for request in requests:
        first, second = request.known
        assert request.version(Answer(200, first, _headed("1"))) == "1"
        assert request.version(Answer(200, second, _headed("2"))) == "2"
        for wrong in (first[:-1], first + b" ", b"", first.replace(b"0.", b"0.0", 1)):
            assert request.version(Answer(200, wrong, _headed("1"))) is None
        if request.kind == STREAM:
            assert request.version(Answer(200, first, _headed("2"))) is None
            half = len(first) // 2
            mixed = first[:half] + second[half:]
        else:
            mixed = second.replace(b'"version":"2"', b'"version":"1"')
        assert request.version(Answer(200, mixed, _headed("1"))) is None
        assert second.count(PREFIX.encode())


def test_versions_that_cannot_be_told_apart_are_refused(versions: list[Model]) -> None:
    records = records_of(versions[0].bundle.labeler.schema)
    with pytest.raises(ValueError, match="same answer"):
        mixture([versions[0], versions[0]], records, scale=1)


def _run(elder: Iterable[float]) -> Run:
    """A run in which a worker was killed half-way; `elder` is the memory of the other one in MB."""
    run = Run(1.0, capacity=100.0, rate=80.0, swaps=4, arrived={1, 2, 3}, killed=1, replaced=[5.0])
    sizes = list(elder)
    for at, size in enumerate(sizes):
        other = KILLED if at < len(sizes) / 2 else LATER
        seen = {SUPERVISOR: 100_000_000, ELDER: int(size * 1e6), other: 10_000_000 * at}
        run.memory.append((float(at), seen))
    run.count("1 entity", Outcome.RIGHT)
    run.seconds["1 entity"].append(0.002)
    run.recovering.append(0.5)
    run.count(LEAVES, Outcome.LEFT)
    return run


FLAT = [200.0 + at % 3 for at in range(60)]


def test_a_service_that_held_is_called_so() -> None:
    run = _run(FLAT)
    run.count("1 entity", Outcome.REFUSED)
    run.count("1 entity", Outcome.CUT)
    assert faults(run) == []
    assert "verdict: it held" in document(run)
    assert "workers killed: 1; replaced after 5 s" in document(run)
    assert "99% within 500 ms" in document(run)
    assert abs(memory(run).growth) < 1e6
    assert memory(run).peak > 300_000_000 + 58 * 10_000_000


def test_memory_that_grows_is_noticed_after_the_warm_up_only() -> None:
    warming = [100.0 + 10 * at for at in range(10)] + [200.0] * 50
    assert memory(_run(warming)).flat
    (fault,) = faults(_run([200.0 + at for at in range(60)]))
    assert fault.startswith("memory grew by 4")
    assert memory(_run([200.0 + at for at in range(60)])).hourly == pytest.approx(3600e6)


@pytest.mark.parametrize("outcome", [Outcome.WRONG, Outcome.UNEXPECTED])
def test_a_wrong_answer_or_an_unexpected_status_is_a_fault(outcome: Outcome) -> None:
    run = _run(FLAT)
    run.count("1 entity", outcome)
    run.statuses[500] += outcome == Outcome.UNEXPECTED
    (fault,) = faults(run)
    assert fault in ("1 wrong answers", "unexpected statuses: {500: 1}")
    assert fault in document(run)


def test_what_was_never_answered_swapped_or_logged_cleanly_did_not_hold() -> None:
    sound = _run(FLAT)
    assert faults(dataclasses.replace(sound, tracebacks=2)) == ["2 tracebacks in the log"]
    assert faults(dataclasses.replace(sound, arrived=set())) != []
    sound.outcomes.clear()
    sound.count("1 entity", Outcome.REFUSED)
    assert faults(sound) == ["nothing was answered"]


def test_the_table_has_a_line_for_each_kind() -> None:
    lines = document(_run(FLAT)).splitlines()
    heads = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert heads == ["request", "---", "1 entity", LEAVES, "all"]

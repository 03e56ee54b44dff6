"""Tests of several workers whose folder of temporary files is on a full disk."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import Service, environment, serving
from tests.service.test_workers import BODY, is_ready, pids
from tests.service.waiting import wait_until

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 4 MiB."""
    place = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def workers(
    bundle: Path, disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Two workers whose temporary files are on `disk`."""
    folder = tmp_path_factory.mktemp("workers")
    settings = environment(folder) | {"TMPDIR": str(disk)}
    with serving("--model", bundle, "--workers", 2, environment=settings, folder=folder) as service:
        wait_until(lambda: service.log.read_text().count("startup complete") == 2)
        yield service


def fill(disk: Path) -> None:
    """Fill a disk with a file."""
    with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


def metric(service: Service, name: str, **labels: str) -> float:
    """The sum of all samples with a name and these labels."""
    text = httpx.get(f"{service.url}/metrics", timeout=20).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def lost_processes(service: Service) -> float:
    return metric(service, "labelwright_metrics_lost")


def labelled(service: Service) -> float:
    return metric(service, "labelwright_requests_total", method="POST", route="/v1/labels")


def request_everything(service: Service) -> None:
    """Send requests that create time series, on new connections, so that all workers respond."""
    for _ in range(10):
        with service.client() as client:
            assert client.post("/v1/labels", json=BODY).status_code == 200
            for path in ("/v1/model", "/v1/labels", "/v1/drift", "/docs", "/metrics", "/none"):
                assert client.get(path).status_code in (200, 404)


def test_a_full_disk_stops_no_worker_and_lost_metrics_are_reported(
    workers: Service, disk: Path
) -> None:
    assert lost_processes(workers) == 0
    fill(disk)
    before = pids(workers)
    request_everything(workers)
    assert pids(workers) == before
    os.kill(min(before), signal.SIGKILL)  # the next worker has no space for any metrics
    wait_until(lambda: is_ready(workers) and len(pids(workers) - {min(before)}) == 2)
    after = pids(workers)
    request_everything(workers)
    assert pids(workers) == after
    assert lost_processes(workers) == 1
    assert "metrics of this process are lost: no space is left" in workers.log.read_text()


def test_metrics_are_counted_again_when_the_disk_has_space(workers: Service, disk: Path) -> None:
    (disk / "fill").unlink()

    def counted() -> bool:
        before = labelled(workers)
        request_everything(workers)
        return labelled(workers) == before + 10

    wait_until(counted, 60)

"""Tests of training with the tracking server and the database of compose.yaml."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.conftest import BRANDS
from tests.integration import composed
from tests.integration.composed import Deployment, services
from tests.integration.machines import need, postgresql
from tests.processes import LABELWRIGHT, CommandResult

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

COMMANDS = {
    "ip": "ip: apt-get install iproute2",
    "nsenter": "nsenter: apt-get install util-linux",
    "unshare": "unshare: apt-get install util-linux",
}
DIRECT = "postgresql+psycopg://mlflow@database:5432"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The network and its secrets. Their folder is readable for the user of the database."""
    need(COMMANDS)
    folder = Path(tempfile.mkdtemp(prefix="labelwright-"))
    folder.chmod(0o755)
    try:
        with composed.network(folder) as made:
            composed.make_secrets(made)
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def superuser(deployment: Deployment) -> Iterator[Mapping[str, str]]:
    """Environment variables of the superuser of a running database."""
    with composed.database(deployment, postgresql()) as environment:
        yield environment


@pytest.fixture(scope="module")
def server(
    deployment: Deployment, superuser: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The MLflow server on the database."""
    with composed.tracking(deployment) as process:
        yield process


@pytest.fixture(scope="module")
def data(deployment: Deployment) -> Path:
    """A few rows, so that training takes seconds."""
    path = deployment.folder / "brands.parquet"
    pq.write_table(pq.read_table(BRANDS).slice(0, 600), path)
    return path


def trained(result: CommandResult) -> dict[str, Any]:
    """The JSON output of a training."""
    assert result.code == 0, result.err
    outcome: dict[str, Any] = json.loads(result.out.splitlines()[-1])
    return outcome


def stored(deployment: Deployment) -> list[Path]:
    """Files of all artifacts on the server."""
    return [path for path in deployment.volume("tracking").rglob("*") if path.is_file()]


def test_the_password_is_made_once_and_readable_by_its_users_only(deployment: Deployment) -> None:
    folder = deployment.volume("secrets")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"password", "pgpass"}
    password = before["password"].strip()
    assert len(password) == 64
    assert before["pgpass"].strip() == b"database:*:mlflow:mlflow:" + password
    readers = {services()[name]["user"] for name in ("database", "tracking")}
    for path in folder.iterdir():
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o400
        assert {f"{status.st_uid}:{status.st_gid}"} == readers
    composed.make_secrets(deployment)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_models_on_a_server_can_be_trained_promoted_served_and_pruned(
    deployment: Deployment, server: "subprocess.Popen[bytes]", data: Path, tmp_path: Path
) -> None:
    train = ("train", "--data", data, "--name", "small", "--threads", 1, "--json")
    first = trained(deployment.labelwright(*train))
    second = trained(deployment.labelwright(*train, "--seed", 1, "--no-promote"))
    third = trained(deployment.labelwright(*train, "--seed", 2, "--no-promote"))
    assert [each["version"] for each in (first, second, third)] == ["1", "2", "3"]
    assert [each["promoted"] for each in (first, second, third)] == [True, False, False]
    assert not (deployment.volume("train") / "artifacts").exists()
    assert any("bundle" in path.parts for path in stored(deployment))

    result = deployment.labelwright("promote", "small", 2, "--force")
    assert result.code == 0, result.err
    assert _champion(deployment) == "2"
    result = deployment.labelwright("rollback", "small")
    assert result.code == 0, result.err
    assert _champion(deployment) == "1"

    labelled = tmp_path / "labelled.parquet"
    elsewhere = str(tmp_path / "home")  # an unused state folder, so the model must be downloaded
    result = deployment.labelwright(
        *("label", data, labelled, "--model", "models:/small@champion"), LABELWRIGHT_HOME=elsewhere
    )
    assert result.code == 0, result.err
    assert pq.read_table(labelled)["id"].equals(pq.read_table(data)["id"])

    before = sum(path.stat().st_size for path in stored(deployment))
    result = deployment.labelwright("prune", "small", "--keep", 1)
    assert result.code == 0, result.err
    after = sum(path.stat().st_size for path in stored(deployment))
    assert 0.5 * before < after < 0.8 * before  # one of three models is deleted
    gone = deployment.labelwright("label", data, labelled, "--model", "models:/small/2")
    assert gone.code == 4, gone.err
    kept = deployment.labelwright("label", data, labelled, "--model", "models:/small/3")
    assert kept.code == 0, kept.err

    environment = deployment.environment(services()["service"], LABELWRIGHT_HOME=elsewhere)
    log = tmp_path / "service.log"
    service = deployment.start(environment, log, LABELWRIGHT, "serve")
    try:
        look = "from urllib import request; request.urlopen('http://service:8000/readyz')"
        deployment.await_health(["CMD", "python", "-c", look], service)
    finally:
        service.terminate()
    assert service.wait(60) == 0, log.read_text("utf-8")


def _champion(deployment: Deployment) -> str:
    program = (
        "from labelwright.training.tracking.versions import current_champion\n"
        "print(current_champion('small'))"
    )
    environment = deployment.environment(services()["train"])
    return deployment.run(environment, sys.executable, "-P", "-c", program).out.strip()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("tracking:5000", 200),
        ("localhost:5000", 200),
        ("127.0.0.1:5000", 200),
        ("tracking", 403),
        ("tracking.example:5000", 403),
        ("attacker.example", 403),
    ],
)
def test_the_server_accepts_its_own_host_names_only(
    deployment: Deployment, server: "subprocess.Popen[bytes]", host: str, status: int
) -> None:
    program = (
        "import httpx, sys; print(httpx.get('http://tracking:5000/api/2.0/mlflow/experiments/get'"
        "'?experiment_id=0', headers={'Host': sys.argv[1]}, trust_env=False).status_code)"
    )
    result = deployment.run(dict(os.environ), sys.executable, "-c", program, host)
    assert result.out.strip() == str(status), result.err


def test_the_server_does_not_reveal_the_password(
    deployment: Deployment, server: "subprocess.Popen[bytes]"
) -> None:
    password = (deployment.volume("secrets") / "password").read_text("utf-8").strip()
    first = psutil.Process(server.pid)
    processes = [first, *first.children(recursive=True)]
    assert len(processes) > 2
    for process in processes:
        assert password not in " ".join(process.cmdline())
        assert password not in " ".join(process.environ().values())
    assert password not in (deployment.folder / "tracking.log").read_text("utf-8")
    assert password not in (deployment.folder / "database.log").read_text("utf-8")


def test_the_database_is_upgraded_by_the_documented_command(
    deployment: Deployment, server: "subprocess.Popen[bytes]"
) -> None:
    service = services()["tracking"]
    program = Path(sys.executable).with_name("mlflow")
    result = deployment.run(
        deployment.environment(service), program, "db", "upgrade", f"{DIRECT}/mlflow"
    )
    assert result.code == 0, result.err


@pytest.mark.parametrize("way", ["server", "database"])
def test_concurrent_trainings_both_register(
    deployment: Deployment,
    superuser: Mapping[str, str],
    server: "subprocess.Popen[bytes]",
    data: Path,
    way: str,
) -> None:
    settings = {}
    if way == "database":  # an empty database, so both trainings create the tables
        result = deployment.run(superuser, postgresql() / "createdb", "bare")
        assert result.code == 0, result.err
        password = superuser["PGPASSWORD"]
        settings = {"MLFLOW_TRACKING_URI": f"{DIRECT}/bare", "PGPASSWORD": password}

    def train(seed: int) -> dict[str, Any]:
        query = ("--data", data, "--name", "both", "--seed", seed, "--threads", 1, "--json")
        return trained(deployment.labelwright("train", *query, **settings))

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(train, (0, 1)))
    assert {outcome["version"] for outcome in outcomes} == {"1", "2"}
    result = deployment.labelwright("doctor", "--json", **settings)
    assert result.code == 0, result.out


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("postgresql+psycopg://mlflow:hunter2@database:1/none", "Connection refused"),
        ("postgresql+psycopg://mlflow:hunter2@database:5432/mlflow", "password"),
        ("mysql+mysqldb://mlflow:hunter2@database/none", "MySQLdb"),
    ],
)
def test_an_unusable_database_is_a_clear_error_without_its_password(
    deployment: Deployment, superuser: Mapping[str, str], address: str, word: str
) -> None:
    result = deployment.labelwright("prune", "small", MLFLOW_TRACKING_URI=address)
    assert result.code == 5, result.err
    assert word in result.err
    assert len(result.err.splitlines()) == 1
    assert "hunter2" not in result.out + result.err

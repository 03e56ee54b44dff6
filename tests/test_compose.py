"""The file compose.yaml is consistent with itself, the Dockerfile and the code."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILE = ROOT / "compose.yaml"
COMPOSE: Mapping[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")

PUBLISHED = {port for service in SERVICES.values() for port in service.get("ports", ())}
every_service = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> Iterator[tuple[str, str, str]]:
    """Source, target and mode of each mount of a service."""
    for mounted in SERVICES[name]["volumes"]:
        # The default of a variable contains a colon too.
        found = re.fullmatch(r"(\$\{.*\}|[^:]+):([^:]+)(?::(ro))?", mounted)
        assert found is not None
        yield found[1], found[2], found[3] or "rw"


def addresses(value: object) -> Iterator[str]:
    """All URLs in a part of the content of the file."""
    yield from re.findall(r"[a-z+]+://[^\s\"']+", yaml.safe_dump(value, width=1_000))


@every_service
def test_containers_are_unprivileged_with_a_read_only_root(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]  # noqa: S108


@every_service
def test_conditions_of_dependencies_can_be_met(name: str) -> None:
    for other, dependency in SERVICES[name].get("depends_on", {}).items():
        if dependency["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert dependency["condition"] == "service_completed_successfully"
            assert "restart" not in SERVICES[other]


@every_service
def test_addresses_name_services_of_the_same_network(name: str) -> None:
    def networks(service: str) -> set[str]:
        return set(SERVICES[service].get("networks", ["default"]))

    for address in addresses(SERVICES[name].get("environment")):
        host = urlsplit(address).hostname
        assert host is not None
        if address == SERVICES[name]["environment"].get("LABELWRIGHT_MLFLOW_UI"):
            assert any(urlsplit(address).netloc in published for published in PUBLISHED)
            continue  # for browsers outside of the containers
        assert host in SERVICES
        assert networks(name) & networks(host)


@every_service
def test_mounted_files_and_volumes_exist(name: str) -> None:
    for source, _, mode in mounts(name):
        if source.startswith("./"):
            assert (ROOT / source).is_file()
            assert mode == "ro"
        elif not source.startswith("${"):
            assert source in COMPOSE["volumes"]


@every_service
def test_images_are_targets_of_the_dockerfile_or_pinned(name: str) -> None:
    service = SERVICES[name]
    if "build" not in service:
        assert re.fullmatch(r"[a-z]+:\d+-[a-z]+", service["image"])
        return
    target = service["build"]["target"]
    assert re.search(rf"^FROM \S+ AS {target}$", DOCKERFILE, re.MULTILINE)
    assert f"\nUSER {service['user']}\n" in DOCKERFILE
    writable = {target for _, target, mode in mounts(name) if mode == "rw"}
    made = re.search(r"install --directory --owner 10001 --group 10001 (.*)", DOCKERFILE)
    assert made is not None
    assert writable <= set(made[1].split())


@every_service
def test_ports_are_published_on_the_loopback_address_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_the_tracking_server_allows_the_host_names_in_use() -> None:
    (allowed,) = [
        word.partition("=")[2].split(",")
        for word in SERVICES["tracking"]["command"]
        if word.startswith("--allowed-hosts=")
    ]
    called = {
        urlsplit(address).netloc
        for service in SERVICES.values()
        for address in addresses(service.get("environment"))
    }
    assert called <= set(allowed)
    assert "*" not in "".join(allowed)
    published, _, port = SERVICES["tracking"]["ports"][0].rpartition(":")
    assert {f"localhost:{port}", published} <= set(allowed)


def test_the_secrets_are_made_for_the_database_in_use() -> None:
    _, folder, host, database, user = SERVICES["secrets"]["command"]
    given = SERVICES["database"]["environment"]
    assert (given["POSTGRES_DB"], given["POSTGRES_USER"]) == (database, user)
    (store,) = [
        urlsplit(word.partition("=")[2])
        for word in SERVICES["tracking"]["command"]
        if word.startswith("--backend-store-uri=")
    ]
    assert (store.hostname, store.path, store.username) == (host, f"/{database}", user)
    assert store.password is None
    assert given["POSTGRES_PASSWORD_FILE"] == f"{folder}/password"
    assert SERVICES["tracking"]["environment"]["PGPASSFILE"] == f"{folder}/pgpass"


def test_only_the_database_and_its_clients_mount_the_secrets() -> None:
    seen = {
        name: mode for name in SERVICES for source, _, mode in mounts(name) if source == "secrets"
    }
    assert seen == {"secrets": "rw", "database": "ro", "tracking": "ro"}


def test_docker_compose_accepts_the_file() -> None:
    try:
        known = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    except OSError:
        known = 1
    if known:
        pytest.skip("docker compose is not installed")
    done = subprocess.run(
        ["docker", "compose", "--file", FILE, "--profile", "train", "config", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")

"""Runs the services of compose.yaml as processes of this machine instead of containers.

The processes share a network namespace in which the host names of compose.yaml resolve. Ports and
addresses are therefore those of compose.yaml. Folders replace the volumes, and users of this
machine replace the users of the containers.
"""

import contextlib
import dataclasses
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.processes import LABELWRIGHT, CommandResult

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
POSTGRES = "postgres"

Service = Mapping[str, Any]
"""A service of compose.yaml, as parsed."""


def services() -> dict[str, Service]:
    """All services of compose.yaml."""
    described: dict[str, Service] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))[
        "services"
    ]
    return described


def settings(service: Service) -> dict[str, str]:
    """Environment variables of a service, with defaults for unset variables."""
    given = service.get("environment", {})
    return {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in given.items()}


@dataclasses.dataclass(frozen=True)
class Deployment:
    """A network namespace, and the folder for the files of its processes.

    `holder` is the process that keeps the namespace alive.
    """

    holder: "subprocess.Popen[str]"
    folder: Path

    def inside(self, *command: object) -> list[str]:
        """Arguments that run a command in the network namespace."""
        enter = ("nsenter", f"--target={self.holder.pid}", "--mount", "--net")
        return [*enter, *map(str, command)]

    def volume(self, name: str) -> Path:
        """The folder that replaces a volume."""
        return self.folder / name

    def translated(self, service: Service, text: str) -> str:
        """A text of the service in which folders of this machine replace the mount points."""
        places = {}
        for mounted in service["volumes"]:
            source, target = mounted.split(":")[:2]
            is_file = source.startswith("./")
            places[target] = str(ROOT / source if is_file else self.volume(source))
        targets = "|".join(map(re.escape, places))
        return re.sub(rf"(?<![\w/])({targets})\b", lambda found: places[found[1]], text)

    def environment(self, service: Service, **more: str) -> dict[str, str]:
        """Environment variables for the processes of a service, without settings of this process.

        `more` adds or replaces variables.
        """
        foreign = ("MLFLOW_", "LABELWRIGHT_", "PG")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        own = {name: self.translated(service, value) for name, value in settings(service).items()}
        return {**inherited, **own, **more}

    def run(
        self, environment: Mapping[str, str], *command: object, timeout: float = PATIENCE
    ) -> CommandResult:
        """Run a command and return its result."""
        done = subprocess.run(
            self.inside(*command), env=environment, capture_output=True, text=True, timeout=timeout
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def start(
        self, environment: Mapping[str, str], log: Path, *command: object
    ) -> "subprocess.Popen[bytes]":
        """Start a command whose output goes to a file."""
        with log.open("wb") as output:
            return subprocess.Popen(
                self.inside(*command), env=environment, stdout=output, stderr=output
            )

    def labelwright(self, *arguments: object, **environment: str) -> CommandResult:
        """Run a labelwright command as the service `train`, whose volume is the state folder."""
        train = services()["train"]
        home = {"LABELWRIGHT_HOME": str(self.volume("train"))}
        settings = self.environment(train, **{**home, **environment})
        return self.run(settings, LABELWRIGHT, *arguments, timeout=300)

    def await_health(self, test: Sequence[str], process: "subprocess.Popen[bytes]") -> None:
        """Wait until the health check of a service passes; `test` is its entry in compose.yaml."""
        assert test[0] == "CMD"
        command = [sys.executable if word == "python" else word for word in test[1:]]
        await_health(self.inside(*command), dict(os.environ), process)


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Deployment]:
    """A network namespace in which the names of all services resolve to the loopback address."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {' '.join(services())}\n")
    make = 'mount --bind "$1" /etc/hosts && ip link set lo up && echo ready && exec sleep infinity'
    apart = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--net"]
    holder = subprocess.Popen(
        [*apart, "sh", "-c", make, "sh", hosts], stdout=subprocess.PIPE, text=True
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield Deployment(holder, folder)
        finally:
            holder.kill()


def await_health(
    check: Sequence[str], environment: Mapping[str, str], process: "subprocess.Popen[bytes]"
) -> None:
    """Wait until the command of a health check succeeds; fail if `process` ends before."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, f"it has ended with {process.returncode}"
        done = subprocess.run(check, env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, f"the health check does not pass: {done.stderr}"
        time.sleep(0.2)


def make_secrets(deployment: Deployment) -> None:
    """Create the secrets with the command of the service `secrets`."""
    service = services()["secrets"]
    user, _, group = service["user"].partition(":")
    volume = deployment.volume("secrets")
    if not volume.exists():
        volume.mkdir()
        os.chown(volume, int(user), int(group))
    command = [deployment.translated(service, word) for word in service["command"]]
    privileges = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    subprocess.run([*privileges, *command], check=True)


@contextlib.contextmanager
def database(deployment: Deployment, programs: Path) -> Iterator[Mapping[str, str]]:
    """Run PostgreSQL, initialised in the same way as by its image.

    Yields the environment variables with which a client connects as the superuser.
    """
    service = services()["database"]
    settings = deployment.environment(service)
    name, user = settings["POSTGRES_DB"], settings["POSTGRES_USER"]
    password = Path(settings["POSTGRES_PASSWORD_FILE"]).read_text("utf-8").strip()
    owner = pwd.getpwnam(POSTGRES)
    data = deployment.volume("database")
    data.mkdir()
    os.chown(data, owner.pw_uid, owner.pw_gid)
    given = data / "given"
    given.write_text(password)
    os.chown(given, owner.pw_uid, owner.pw_gid)
    as_owner = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    initdb = [programs / "initdb", f"--pgdata={data / 'data'}", f"--username={user}"]
    more = [f"--pwfile={given}", "--auth=scram-sha-256", settings["POSTGRES_INITDB_ARGS"]]
    result = deployment.run(settings, *as_owner, *initdb, *more)
    assert result.code == 0, result.err
    options = ["-c", "fsync=off", "-c", f"unix_socket_directories={data}"]
    postgres = [*as_owner, programs / "postgres", "-D", data / "data", *options]
    process = deployment.start(settings, deployment.folder / "database.log", *postgres)
    try:
        isready, *arguments = service["healthcheck"]["test"][1:]
        deployment.await_health(["CMD", str(programs / isready), *arguments], process)
        superuser = {**settings, "PGHOST": "database", "PGUSER": user, "PGPASSWORD": password}
        result = deployment.run(superuser, programs / "createdb", name)
        assert result.code == 0, result.err
        yield superuser
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextlib.contextmanager
def tracking(deployment: Deployment) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the MLflow server with the command of compose.yaml; yields its main process."""
    service = services()["tracking"]
    program, *arguments = (deployment.translated(service, word) for word in service["command"])
    deployment.volume("tracking").mkdir()
    process = deployment.start(
        deployment.environment(service),
        deployment.folder / "tracking.log",
        Path(sys.executable).with_name(program),
        *arguments,
    )
    try:
        deployment.await_health(service["healthcheck"]["test"], process)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)

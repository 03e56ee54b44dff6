"""Builds both targets of the Dockerfile and runs the services of compose.yaml from them.

usage: python -m tests.integration.image BASE WORK POSTGRESQL

BASE is a root folder that replaces the base image. WORK is a folder for the stages, the volumes and
a log. POSTGRESQL is the folder of PostgreSQL's programs, which replace the database image. The
other services run as in compose.yaml: with the same user, without capabilities, on read-only roots,
in a network namespace without a connection to other networks.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tests.integration import composed
from tests.integration.composed import ROOT, Deployment, services
from tests.integration.dockerfile import Builder, Image, inside, mount

PATIENCE = 300.0
BRANDS = ROOT / "entities" / "data" / "brands.parquet"
ONLY_FOR_TRAINING = {"matplotlib", "mlflow", "optuna", "scikit-learn"}
TRAIN = ("labelwright", "train", "--data", "/data/few.parquet", "--name", "few")

PACKAGES = (
    "from importlib import metadata\nfor d in metadata.distributions(): print(d.name.lower())"
)
FIND_WHEEL = (
    "from labelwright.training.tracking.environment import find_wheel; print(find_wheel().path)"
)
REQUEST = {"entities": [{"name": "Joe's Pizza", "country": "US"}], "top_k": 3}
CLIENT = """
import sys
from urllib import request
url, (body, key) = "http://service:8000/v1/labels", sys.argv[1:]
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
asked = request.Request(url, body.encode(), headers)
print(request.urlopen(asked, timeout=10).read().decode())
"""


def main(base: Path, work: Path, postgresql: Path) -> None:
    """Build both images, check their packages, and run every service once."""
    given = {name: value for name, value in os.environ.items() if name != "PATH"}
    with (work / "log").open("a") as log:
        builder = Builder(ROOT, base, work / "stages", given, log)
        started = time.monotonic()
        images = {target: builder.build(target) for target in ("serve", "train")}
    report(f"both targets are built, in {time.monotonic() - started:.0f} s")
    for name, image in images.items():
        above = sum(_megabytes(layer) for layer in image.layers[:-1])
        report(f"target {name}: {_megabytes(image.root):,} MB, {above:,} MB of them above the base")
    _look_for_packages(images)
    found = _output_of([*_clean(images["train"]), "python", "-c", FIND_WHEEL]).strip()
    assert found.endswith(".whl"), f"the target train has no wheel to store with models: {found}"

    (work / "composed").mkdir()
    data = work / "data"
    data.mkdir()
    pq.write_table(pq.read_table(BRANDS).slice(0, 2_000), data / "few.parquet")
    with composed.network(work / "composed") as deployment:
        containers = {
            name: _container(deployment, name, images[service["build"]["target"]], data)
            for name, service in services().items()
            if "build" in service
        }
        _run(deployment, containers["secrets"])
        with (
            composed.database(deployment, postgresql),
            _running(deployment, "tracking", containers["tracking"]),
        ):
            started = time.monotonic()
            _run(deployment, dataclasses.replace(containers["train"], command=TRAIN))
            report(
                f"a training against the tracking server took {time.monotonic() - started:.0f} s"
            )
            container = containers["service"]
            create = ("labelwright", "keys", "create", "tests")
            key = _run(deployment, dataclasses.replace(container, command=create)).strip()
            with _running(deployment, "service", container) as process:
                _check_rights(process, container)
                body = json.dumps(REQUEST)
                sender = dataclasses.replace(container, command=("python", "-c", CLIENT, body, key))
                (result,) = json.loads(_run(deployment, sender))["results"]
                assert len(result["labels"]) >= 3, result
                report(f"its first label: {json.dumps(result['labels'][0])}")


def report(line: str) -> None:
    """Print a line."""
    print(f"image: {line}", flush=True)


def _megabytes(root: Path) -> int:
    measure = ["du", "--summarize", "--one-file-system", "--block-size=1000000", str(root)]
    return int(subprocess.run(measure, capture_output=True, check=True).stdout.split()[0])


def _look_for_packages(images: dict[str, Image]) -> None:
    look = ["python", "-c", PACKAGES]
    found = {name: set(_output_of(_clean(image) + look).split()) for name, image in images.items()}
    superfluous = found["serve"] & ONLY_FOR_TRAINING
    assert not superfluous, f"the target serve holds {superfluous}"
    missing = ONLY_FOR_TRAINING - found["train"]
    assert not missing, f"the target train lacks {missing}"
    report(f"packages: {len(found['serve'])} in serve, {len(found['train'])} in train")


def _container(deployment: Deployment, name: str, image: Image, data: Path) -> Image:
    """The image with the mounts, user and settings of a service.

    `data` replaces the user's data folder.
    """
    service = services()[name]
    mounts = []
    for mounted in service["volumes"]:
        source, _, target = mounted.removesuffix(":ro").rpartition(":")
        place = image.root / target.lstrip("/")
        if source.startswith("./"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
            mounts.append((ROOT / source, target, "ro"))
        elif source.startswith("$"):
            place.mkdir(parents=True, exist_ok=True)
            mounts.append((data, target, "ro"))
        else:
            if not deployment.volume(
                source
            ).exists():  # a new volume starts with the image's content
                subprocess.run(["cp", "--archive", place, deployment.volume(source)], check=True)
            mounts.append(
                (deployment.volume(source), target, "ro" if mounted.endswith(":ro") else "rw")
            )
    root = deployment.folder / f"{name}.root"
    root.mkdir()
    mount("--bind", image.root, root)
    mount("-o", "remount,bind,ro", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "dev/shm")
    for place in service["tmpfs"]:
        options = "mode=1777,nosuid,nodev,noexec"
        mount("-t", "tmpfs", "-o", options, "tmpfs", root / place.lstrip("/"))
    for source, target, mode in [(deployment.folder / "hosts", "/etc/hosts", "ro"), *mounts]:
        mount("--bind", source, root / target.lstrip("/"))
        mount("-o", f"remount,bind,{mode}", root / target.lstrip("/"))
    return dataclasses.replace(
        image,
        root=root,
        user=service["user"],
        command=service.get("command", image.command),
        healthcheck=service.get("healthcheck", {"test": ["CMD", *image.healthcheck]})["test"][1:],
        environment={
            **image.environment,
            "HOME": _home(image, service["user"]),
            **composed.settings(service),
        },
    )


def _home(image: Image, user: str) -> str:
    lines = (image.root / "etc/passwd").read_text("utf-8").splitlines()
    return {line.split(":")[2]: line.split(":")[5] for line in lines}[user.partition(":")[0]]


def _clean(image: Image) -> list[str]:
    """Leading arguments that run a command in a container with only the image's environment."""
    settings = [f"{name}={value}" for name, value in image.environment.items()]
    return [*inside(image), "--ignore-environment", *settings]


def _beside(deployment: Deployment, container: Image) -> list[str]:
    return ["nsenter", f"--target={deployment.holder.pid}", "--net", *_clean(container)]


def _run(deployment: Deployment, container: Image) -> str:
    """Run a container and return its standard output."""
    return _output_of([*_beside(deployment, container), *container.command])


@contextlib.contextmanager
def _running(
    deployment: Deployment, name: str, container: Image
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a container, wait until it is healthy, and yield its process.

    At the end, stop it and assert that it exits with 0 or because of SIGTERM.
    """
    started = time.monotonic()
    log = deployment.folder / f"{name}.log"
    with log.open("wb") as output:
        command = [*_beside(deployment, container), *container.command]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        check = [*_beside(deployment, container), *container.healthcheck]
        composed.await_health(check, os.environ, process)
        report(f"{name} is healthy {time.monotonic() - started:.1f} s after its start")
        yield process
        process.terminate()
        code = process.wait(PATIENCE)
        assert code in (0, -15), f"{name} ended with {code} when it was asked to stop"
    except BaseException:
        print(log.read_text("utf-8")[-4_000:], file=sys.stderr)
        raise
    finally:
        process.kill()
        process.wait()


def _check_rights(process: "subprocess.Popen[bytes]", container: Image) -> None:
    lines = Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    user, _, group = container.user.partition(":")
    assert int(user) > 0
    assert set(status["Uid"]) == {user}
    assert set(status["Gid"]) == {group}
    assert status["NoNewPrivs"] == ["1"]
    assert {int(status[kind][0], 16) for kind in ("CapPrm", "CapEff", "CapBnd")} == {0}
    touched = subprocess.run(["touch", container.root / "written"], capture_output=True)
    assert b"Read-only file system" in touched.stderr
    report(f"it runs as {container.user} without capabilities on a root that is read-only")


def _output_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

"""Builds both targets of the Dockerfile and proves the service of one; image.sh calls it.

usage: python -m tests.integration.image BASE WORK

BASE is a root that stands for the base image; WORK gets the stages and a log. The service runs as
the Dockerfile's user, on a root that is mounted read-only, with no network but its own loopback.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.dockerfile import Builder, Image, inside, mount

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
ONLY_FOR_TRAINING = {"matplotlib", "mlflow", "optuna", "psycopg", "scikit-learn", "sqlalchemy"}

QUESTION = {"entities": [{"name": "Joe's Pizza", "country": "US"}], "top_k": 3}
ASK = """
import sys
from urllib import request
url, kind = "http://127.0.0.1:{port}/v1/labels", {{"Content-Type": "application/json"}}
asked = request.Request(url, sys.stdin.buffer.read(), kind)
print(request.build_opener(request.ProxyHandler({{}})).open(asked, timeout=10).read().decode())
"""
PACKAGES = (
    "from importlib import metadata\nfor d in metadata.distributions(): print(d.name.lower())"
)


def main(base: Path, work: Path) -> None:
    """Build, look, serve and ask."""
    given = {name: value for name, value in os.environ.items() if name != "PATH"}
    with (work / "log").open("a") as log:
        builder = Builder(ROOT, base, work / "stages", given, log)
        started = time.monotonic()
        images = {target: builder.build(target) for target in ("serve", "train")}
        (manifest,) = (builder.build("kernels").root / "tmp/state").rglob("bundle/manifest.json")
    say(f"both targets are built, in {time.monotonic() - started:.0f} s")
    for name, image in images.items():
        above = sum(_megabytes(layer) for layer in image.layers[:-1])
        say(f"target {name}: {_megabytes(image.root):,} MB, {above:,} MB of them above the base")
    _look_for_packages(images)

    run = work / "run"
    container = _container(images["serve"], run, manifest.parent)
    started = time.monotonic()
    with _running(container, work / "service") as (process, within):
        _await_health(container, process, within)
        say(f"the health check passes {time.monotonic() - started:.1f} s after the start")
        _check_rights(process, container)
        (port,) = container.ports
        answer = _said([*within, "python", "-c", ASK.format(port=port)], container, QUESTION)
        (result,) = json.loads(answer)["results"]
        assert len(result["labels"]) >= 3, answer
        say(f"it answers: {json.dumps(result['labels'][0])}")
        process.terminate()
        code = process.wait(PATIENCE)
        assert code == 0, f"the service ended with {code} when it was asked to stop"


def say(words: str) -> None:
    """Print a line."""
    print(f"image: {words}", flush=True)


def _megabytes(root: Path) -> int:
    done = subprocess.run(
        ["du", "--summarize", "--one-file-system", "--block-size=1000000", root],
        capture_output=True,
        check=True,
    )
    return int(done.stdout.split()[0])


def _look_for_packages(images: dict[str, Image]) -> None:
    found = {
        name: set(_said([*inside(image), "python", "-c", PACKAGES], image).split())
        for name, image in images.items()
    }
    superfluous = found["serve"] & ONLY_FOR_TRAINING
    assert not superfluous, f"the target serve holds {superfluous}"
    missing = ONLY_FOR_TRAINING - found["train"]
    assert not missing, f"the target train lacks {missing}"
    say(f"packages: {len(found['serve'])} in serve, {len(found['train'])} in train")


def _container(image: Image, root: Path, bundle: Path) -> Image:
    """The image as `docker run --read-only --tmpfs /tmp` with a new volume would mount it."""
    root.mkdir()
    (image.root / "model").mkdir()
    mount("--bind", image.root, root)
    mount("-o", "remount,bind,ro", root)
    mount("-t", "proc", "proc", root / "proc")
    mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev,noexec", "tmpfs", root / "tmp")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "dev/shm")
    mount("--bind", bundle, root / "model")
    mount("-o", "remount,bind,ro", root / "model")
    for number, volume in enumerate(image.volumes):
        content = root.with_name(f"volume{number}")
        subprocess.run(["cp", "--archive", image.root / volume.lstrip("/"), content], check=True)
        mount("--bind", content, root / volume.lstrip("/"))
    settings = {**image.environment, "LABELWRIGHT_MODEL": "/model"}
    return dataclasses.replace(image, root=root, environment=settings)


@contextmanager
def _running(
    container: Image, log: Path
) -> Iterator[tuple["subprocess.Popen[bytes]", Sequence[str]]]:
    """The container's command, and the beginning of commands that run beside it."""
    own_network = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with log.open("wb") as words:
        process = subprocess.Popen(
            [*own_network, *inside(container), *container.command],
            env=container.environment,
            stdout=words,
            stderr=words,
        )
    try:
        yield process, ["nsenter", f"--target={process.pid}", "--net", *inside(container)]
    except BaseException:
        print(log.read_text("utf-8")[-4_000:], file=sys.stderr)
        raise
    finally:
        process.kill()
        process.wait()


def _await_health(
    container: Image, process: "subprocess.Popen[bytes]", within: Sequence[str]
) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended with {process.returncode}"
        check = subprocess.run(
            [*within, *container.healthcheck], env=container.environment, capture_output=True
        )
        if check.returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError(f"the health check does not pass: {check.stderr.decode()[-500:]}")


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
    say(f"it runs as {container.user} without capabilities on a root that is read-only")


def _said(command: Sequence[str], image: Image, body: object = None) -> str:
    done = subprocess.run(
        command,
        env=image.environment,
        input=None if body is None else json.dumps(body).encode(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    return done.stdout.decode()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

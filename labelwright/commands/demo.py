"""The whole story on the embedded brands: train once, then serve beside the MLflow UI.

The model is trained, registered and promoted as `brands` unless it has a champion already. Ctrl-C
stops both servers.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib import resources

from labelwright.commands import options
from labelwright.entities.errors import LabelwrightError

NAME = "brands"
HOST = "127.0.0.1"
PATIENCE = 120.0
_PYTHON = (sys.executable, "-P", "-m")  # -P: modules in the current folder are none of ours


def configure(parser: argparse.ArgumentParser) -> None:
    """State the options."""
    parser.add_argument(
        "--port", type=options.port, default=8000, help="the service (default: 8000)"
    )
    parser.add_argument(
        "--ui-port", type=options.port, default=5000, help="the MLflow UI (default: 5000)"
    )


def run(given: argparse.Namespace) -> None:
    """Train if need be, start both servers, and wait for one to end."""
    from labelwright.models.paths import artifact_root, tracking_uri
    from labelwright.training.tracking.versions import current_champion

    for port in (given.port, given.ui_port):
        _check_free(port)
    if current_champion(NAME) is None:
        data = resources.files("labelwright.entities") / "data" / "brands.parquet"
        _run("train", "--data", str(data), "--name", NAME)
    store = ["--backend-store-uri", tracking_uri()]
    if root := artifact_root():
        store += ["--default-artifact-root", root]
    ui = ["mlflow", "server", "--host", HOST, "--port", str(given.ui_port), "--workers", "1"]
    serve = ["labelwright", "serve", "--model", f"models:/{NAME}@champion"]
    os.environ["LABELWRIGHT_MLFLOW_UI"] = f"http://{HOST}:{given.ui_port}"
    servers = [_start([*serve, "--port", str(given.port)]), _start([*ui, *store])]
    try:
        _await(f"http://{HOST}:{given.port}/readyz", servers)
        _await(f"http://{HOST}:{given.ui_port}/health", servers)
        print(_invitation(given.port, given.ui_port), flush=True)
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
        raise LabelwrightError("one of the servers has ended; its own words are above")
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
    finally:
        _stop(servers)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LabelwrightError(f"port {port} cannot be used: {error.strerror}") from error


def _run(*arguments: str) -> None:
    """Run one of our commands in a process of its own, as a user would.

    It has a session of its own, so that one interrupt reaches it, and it ends its run in peace.
    """
    command = [*_PYTHON, "labelwright", *arguments]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait(PATIENCE)
            raise
    if code:
        raise LabelwrightError(f"labelwright {arguments[0]} ended with exit code {code}")


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C reaches it through us alone."""
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return subprocess.Popen(
        [*_PYTHON, *command],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )


def _await(url: str, servers: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if any(server.poll() is not None for server in servers):
            raise LabelwrightError("a server ended while it started; its own words are above")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own servers
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise LabelwrightError(f"{url} does not answer")


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
    for server in servers:
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _invitation(port: int, ui_port: int) -> str:
    body = json.dumps({"entities": [{"name": "Joe's Pizza", "country": "US"}], "top_k": 3})
    quoted = body.replace("'", "'\\''")
    return f"""
labels     http://{HOST}:{port}
MLflow UI  http://{HOST}:{ui_port}
try        curl -s http://{HOST}:{port}/v1/labels -H 'Content-Type: application/json' -d '{quoted}'
stop       Ctrl-C
"""

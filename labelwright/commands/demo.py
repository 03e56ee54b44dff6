"""Train a model on the embedded brands, then serve it together with the MLflow UI.

The model is registered and promoted as `brands`. If `brands` already has a champion, nothing is
trained. Ctrl-C stops both servers.
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
"""Maximum time in seconds until a server responds, and until a terminated training ends."""
_PYTHON = (sys.executable, "-P", "-m")  # -P: import nothing from the current folder


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--port", type=options.port, default=8000, help="port of the service (default: 8000)"
    )
    parser.add_argument(
        "--ui-port", type=options.port, default=5000, help="port of the MLflow UI (default: 5000)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Train if there is no champion, start both servers, and wait until one of them ends."""
    from labelwright.models.paths import artifact_root, tracking_uri
    from labelwright.training.tracking.versions import current_champion

    for port in (arguments.port, arguments.ui_port):
        _check_free(port)
    if current_champion(NAME) is None:
        data = resources.files("labelwright.entities") / "data" / "brands.parquet"
        _run("train", "--data", str(data), "--name", NAME)
    store = ["--backend-store-uri", tracking_uri()]
    if root := artifact_root():
        store += ["--default-artifact-root", root]
    ui = ["mlflow", "server", "--host", HOST, "--port", str(arguments.ui_port), "--workers", "1"]
    serve = ["labelwright", "serve", "--model", f"models:/{NAME}@champion"]
    os.environ["LABELWRIGHT_MLFLOW_UI"] = f"http://{HOST}:{arguments.ui_port}"
    servers = [_start([*serve, "--port", str(arguments.port)]), _start([*ui, *store])]
    try:
        _await(f"http://{HOST}:{arguments.port}/readyz", servers)
        _await(f"http://{HOST}:{arguments.ui_port}/health", servers)
        print(_instructions(arguments.port, arguments.ui_port), flush=True)
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
        raise LabelwrightError("a server has stopped; its error message is printed above")
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
            raise LabelwrightError(
                f"port {port} cannot be used: {error.strerror}; choose another port with --port or "
                "--ui-port"
            ) from error


def _run(*arguments: str) -> None:
    """Run a labelwright command in a new process.

    The process has its own session, so that Ctrl-C in the terminal sends no signal to it. The
    process gets one SIGTERM instead, and has time to mark its run as killed.
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
        raise LabelwrightError(
            f"`labelwright {arguments[0]}` ended with exit code {code}; its error message is "
            "printed above"
        )


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a server in its own session, so that Ctrl-C sends no signal to it; see `_stop`."""
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
            raise LabelwrightError(
                "a server stopped during its start; its error message is printed above"
            )
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a local server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise LabelwrightError(f"{url} did not respond within {PATIENCE:.0f} seconds")


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
    for server in servers:
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _instructions(port: int, ui_port: int) -> str:
    body = json.dumps({"entities": [{"name": "Joe's Pizza", "country": "US"}], "top_k": 3})
    quoted = body.replace("'", "'\\''")
    return f"""
labels     http://{HOST}:{port}
MLflow UI  http://{HOST}:{ui_port}
try        curl -s http://{HOST}:{port}/v1/labels -H 'Content-Type: application/json' -d '{quoted}'
stop       Ctrl-C
"""

"""Running the service: a socket, one or several processes, and a clear word when it cannot."""

import logging
import os
import resource
import socket
import sys
from pathlib import Path

import fastapi
import uvicorn
from uvicorn.supervisors import Multiprocess

from labelwright.entities.corrections import CorrectionStore
from labelwright.entities.errors import LabelwrightError
from labelwright.entities.io.files import temporary_folder
from labelwright.models.paths import corrections_kept, corrections_uri
from labelwright.models.registry import read
from labelwright.service.app import create_app
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.shutdown import on_first_and_second_signal
from labelwright.service.http.connection import Connection
from labelwright.service.middleware.access import keyring
from labelwright.service.process.skipped_imports import spare
from labelwright.service.rollout.follower import Follower, Following
from labelwright.service.rollout.manager import Serving
from labelwright.service.rollout.state import CHAMPION, recall
from labelwright.service.settings import Settings
from labelwright.service.telemetry import tracing
from labelwright.service.telemetry.logs import log_configuration
from labelwright.service.telemetry.metrics import Metrics
from labelwright.service.telemetry.traffic import Traffic

SETTINGS_VARIABLE = "LABELWRIGHT_SETTINGS"
SHARED_FOLDER_VARIABLE = "LABELWRIGHT_SHARED"
WORKER_SECONDS = 60
"""Within which a worker must say that it lives; on a busy machine its imports take most of that."""
SWITCH_SECONDS = 0.0005
"""Python's own 5 ms: so long may the event loop wait for a compute thread, which is long."""
_log = logging.getLogger("labelwright.server")


def serve(following: Following, host: str, port: int, settings: Settings) -> None:
    """Serve a model until a signal stops it, and whatever its alias moves to.

    With several workers, each is a process of its own that is told by a file what to serve. Raises
    LabelwrightError for a port in use, or a model that cannot be served.
    """
    tracing.wanted()
    locked = settings.access.keys and not keyring().read()
    with _listen(host, port) as listener, temporary_folder() as folder:
        _allow_connections()
        follower = Follower(following, folder)
        state = follower.begin()
        application: fastapi.FastAPI | str = "labelwright.service.server:app"
        if alone := settings.access.workers == 1:
            serving = Serving(folder)
            serving.load()
            application = build_app(serving, settings)
        elif recall(following.uri) is None:
            read(state.models[CHAMPION])  # else a worker would have to say that it cannot be
        configuration = _configuration(application, settings)
        if locked:
            _log.warning("nobody has a key yet: make one with `labelwright keys create NAME`")
        follower.start()
        if alone:
            uvicorn.Server(configuration).run([listener])
        else:
            os.environ[SETTINGS_VARIABLE] = settings.to_json()
            os.environ[SHARED_FOLDER_VARIABLE] = str(folder)
            supervisor = Supervisor(configuration, [listener])
            with on_first_and_second_signal(second=supervisor.kill):
                supervisor.run()
        follower.stop()


def app() -> fastapi.FastAPI:
    """The application of a worker process, with the settings and the folder of the environment."""
    spare()
    settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
    folder = Path(os.environ[SHARED_FOLDER_VARIABLE])
    return build_app(Serving(folder), settings, folder)


def build_app(serving: Serving, settings: Settings, folder: Path | None = None) -> fastapi.FastAPI:
    """The application for what serves, with compute threads of its own.

    Several processes tell each other in `folder` what they have seen.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    corrections = CorrectionStore(corrections_uri(), corrections_kept())
    engine = Engine(serving, traffic=Traffic(folder))
    return create_app(engine, settings.access, corrections)


class Supervisor(Multiprocess):
    """Keeps workers alive, and counts how often it had to."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._metrics = Metrics()

    def keep_subprocess_alive(self) -> None:
        """Put a new worker in the place of one that has died or hangs."""
        for worker in self.processes:
            worker.child_conn.close()  # else who dies while it is asked would be waited for
        before = self.processes[:]
        super().keep_subprocess_alive()
        for old, new in zip(before, self.processes, strict=True):
            if old is not new and old.pid is not None:
                self._metrics.count_worker_restart(old.pid)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.processes:
            worker.process.kill()


def _allow_connections() -> None:
    """Let there be as many connections as the system allows: under overload, callers wait."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _configuration(app: fastapi.FastAPI | str, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        http=Connection,
        ws="none",
        workers=settings.access.workers,
        log_config=log_configuration(settings.logs),
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
        timeout_worker_healthcheck=WORKER_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise LabelwrightError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener

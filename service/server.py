"""Starts the service: a listening socket, and one process or a supervisor with several workers."""

import logging
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import fastapi
import uvicorn

from labelwright.entities.corrections import CorrectionStore
from labelwright.entities.errors import LabelwrightError
from labelwright.entities.io.files import temporary_folder
from labelwright.models.audit import expired
from labelwright.models.paths import corrections_kept, corrections_uri
from labelwright.models.registry import read
from labelwright.service.app import create_app
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.shutdown import on_first_and_second_signal
from labelwright.service.http.connection import Connection
from labelwright.service.http.uvicorn_adapter import Supervisor
from labelwright.service.middleware.access import Access, keyring
from labelwright.service.process.allocator import return_freed_memory
from labelwright.service.process.skipped_imports import skip_unused_imports
from labelwright.service.rollout.follower import Follower, FollowerSettings
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.rollout.state import CHAMPION, last_good
from labelwright.service.settings import Settings
from labelwright.service.telemetry.logs import log_configuration
from labelwright.service.telemetry.metrics import Metrics
from labelwright.service.telemetry.tracing import tracing_enabled
from labelwright.service.telemetry.traffic import Traffic

SETTINGS_VARIABLE = "LABELWRIGHT_SETTINGS"
SHARED_FOLDER_VARIABLE = "LABELWRIGHT_SHARED"
WORKER_SECONDS = 60
"""A worker that does not reply to the supervisor within this number of seconds is replaced. On a
busy machine, a new worker needs most of this time for its imports."""
SWITCH_SECONDS = 0.0005
"""Seconds after which a compute thread must release the interpreter lock if the event loop waits
for the lock. Python's default is 5 ms, and many requests take less time than that."""
LISTEN_BACKLOG = 2_048
"""Maximum number of connections that the operating system queues until the service accepts them."""
_log = logging.getLogger("labelwright.server")


def serve(following: FollowerSettings, host: str, port: int, settings: Settings) -> None:
    """Serve a model, and the models that its alias moves to, until a signal stops the service.

    With one worker, this process serves. With several workers, this process supervises them. A file
    in a shared folder tells the workers which models to serve. Raises LabelwrightError if the port
    is in use or the model cannot be served.
    """
    tracing_enabled()  # raises an error now if the exporter is missing
    warnings = list(_warnings(settings.access))
    with _listen(host, port) as listener, temporary_folder() as folder:
        _raise_connection_limit()
        follower = Follower(following, folder)
        state = follower.begin()
        application: fastapi.FastAPI | str = "labelwright.service.server:app"
        if single := settings.access.workers == 1:
            manager = ModelManager(folder)
            manager.load()
            application = build_app(manager, settings)
        elif last_good(following.uri) is None:
            read(state.models[CHAMPION])  # raises an error here and not in every worker
        configuration = _uvicorn_configuration(application, settings)
        for warning in warnings:
            _log.warning(warning)
        follower.start()
        if single:
            uvicorn.Server(configuration).run([listener])
        else:
            os.environ[SETTINGS_VARIABLE] = settings.to_json()
            os.environ[SHARED_FOLDER_VARIABLE] = str(folder)
            supervisor = Supervisor(configuration, [listener], Metrics().count_worker_restart)
            with on_first_and_second_signal(second=supervisor.kill):
                supervisor.run()
        follower.stop()


def _warnings(access: Access) -> Iterator[str]:
    """Warnings about access rules that allow nobody, or everybody who can reach the port."""
    if access.keys and not keyring().read():
        yield (
            "requests need an API key and there is none yet: create one with "
            "`labelwright keys create NAME`"
        )
    if not access.keys and not access.admin:
        yield (
            "requests need no API key, and this address can be reached from other machines: "
            "everybody who can reach it can use the model and send corrections"
        )


def app() -> fastapi.FastAPI:
    """The application of a worker process, configured by its environment."""
    skip_unused_imports()
    settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
    folder = Path(os.environ[SHARED_FOLDER_VARIABLE])
    return build_app(ModelManager(folder), settings, folder)


def build_app(
    manager: ModelManager, settings: Settings, folder: Path | None = None
) -> fastapi.FastAPI:
    """The application for the models in service, with its own compute threads.

    With a `folder`, the processes of a service share their counts of the traffic there.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    return_freed_memory()
    corrections = CorrectionStore(corrections_uri(), corrections_kept(), expired)
    engine = Engine(manager, traffic=Traffic(folder))
    return create_app(engine, settings.access, corrections)


def _raise_connection_limit() -> None:
    """Raise the limit of open files as far as the system allows: each connection is a file."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


def _uvicorn_configuration(app: fastapi.FastAPI | str, settings: Settings) -> uvicorn.Config:
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
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise LabelwrightError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address with --host "
            "or another port with --port"
        ) from error
    listener.set_inheritable(True)
    return listener

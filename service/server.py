"""Running the service: a socket, one or several processes, and a clear word when it cannot."""

import os
import socket
import tempfile
from pathlib import Path

import fastapi
import uvicorn
from uvicorn.supervisors import Multiprocess

from entities.corrections import CorrectionStore
from entities.errors import LabelwrightError, StorageError, reason
from models.home import corrections_kept, corrections_uri
from models.registry import Model, load_model
from service.app import create_app
from service.engine import Engine
from service.traffic import Traffic

MODEL_VARIABLE = "LABELWRIGHT_MODEL"
FOLDER_VARIABLE = "LABELWRIGHT_SHARED"


def serve(model: Model, host: str, port: int, workers: int) -> None:
    """Serve a model until a signal stops it; raises LabelwrightError for a port in use.

    With several workers, each is a process of its own that loads the model itself.
    """
    listener = _listen(host, port)
    with listener:
        if workers == 1:
            uvicorn.Server(_configuration(app_for(model))).run([listener])
            return
        os.environ[MODEL_VARIABLE] = model.uri
        with _shared_folder() as folder:
            os.environ[FOLDER_VARIABLE] = folder
            Multiprocess(_configuration("service.server:app", workers), [listener]).run()


def app() -> fastapi.FastAPI:
    """The application of a worker process, with the model that the environment names."""
    return app_for(load_model(os.environ[MODEL_VARIABLE]), Path(os.environ[FOLDER_VARIABLE]))


def app_for(model: Model, folder: Path | None = None) -> fastapi.FastAPI:
    """The application for a model, with compute threads of its own.

    Several processes tell each other in `folder` what they have seen.
    """
    corrections = CorrectionStore(corrections_uri(), corrections_kept())
    return create_app(Engine(model, traffic=Traffic(folder)), corrections)


def _configuration(app: fastapi.FastAPI | str, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        access_log=False,
        timeout_graceful_shutdown=30,
    )


def _shared_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="labelwright-")
    except OSError as error:
        raise StorageError(f"no temporary folder can be made: {reason(error)}") from error


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

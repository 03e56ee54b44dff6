"""Tests that the installed version of uvicorn has all names that the adapter uses."""

import asyncio
from importlib.metadata import version
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

REQUEST = b"GET /path?query HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONNECTION_NAMES = (
    "app_state",
    "cycle",
    "expect_100_continue",
    "flow",
    "headers",
    "loop",
    "on_body",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "parser",
    "pipeline",
    "scope",
    "send_400_response",
    "shutdown",
    "transport",
    "url",
)
CYCLE_NAMES = (
    "keep_alive",
    "message_event",
    "more_body",
    "response_complete",
    "response_started",
    "scope",
)
WORKER_NAMES = ("child_conn", "pid", "process")
REMEDY = f"uvicorn {version('uvicorn')} has no {{}}: adapt service/http/uvicorn_adapter.py"


def require(owner: object, *names: str) -> None:
    """Fail if an object of uvicorn lacks some of these names, and list the missing names."""
    missing = [f"{type(owner).__name__}.{name}" for name in names if not hasattr(owner, name)]
    assert not missing, REMEDY.format(", ".join(missing))


async def application(scope: object, receive: object, send: object) -> None:
    """An application that never runs, because the event loop ends first."""


def test_a_connection_has_the_names_that_the_adapter_uses() -> None:
    async def connect() -> HttpToolsProtocol:
        configuration = uvicorn.Config(application, log_config=None)
        connection = HttpToolsProtocol(configuration, ServerState(), {})
        transport = Mock(asyncio.Transport)
        transport.get_extra_info.return_value = None
        connection.connection_made(transport)
        connection.data_received(REQUEST)
        for task in connection.tasks:
            task.cancel()
        await asyncio.gather(*connection.tasks, return_exceptions=True)
        return connection

    connection = asyncio.run(connect())
    require(connection, *CONNECTION_NAMES)
    require(connection.cycle, *CYCLE_NAMES)
    require(connection.flow, "pause_reading", "write_paused")
    require(connection.parser, "get_http_version", "get_method", "should_keep_alive")


def test_a_supervisor_has_the_names_that_the_adapter_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", Mock())  # uvicorn sets handlers for this process
    configuration = uvicorn.Config(application, workers=2, log_config=None)
    require(Multiprocess(configuration, []), "keep_subprocess_alive", "processes", "run")
    require(Process(configuration, []), *WORKER_NAMES)

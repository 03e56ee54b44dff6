"""The command line with one hand-written part of the service replaced by the plain way.

    python -m benchmarks.plain_parts PART serve --model URI

`PART` is one of PARTS, or `none`: then nothing is replaced. Worker processes import this module
again, and read the part from the environment.
"""

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Mapping

NONE = "none"
VARIABLE = "LABELWRIGHT_BENCHMARK_PART"


def _replace(module: str, name: str, plain: object) -> None:
    """Put the plain way in the place of a part; raises AttributeError if the part is not there."""
    found = importlib.import_module(module)
    getattr(found, name)
    setattr(found, name, plain)


def _import_everything() -> None:
    """Let workers import pandas and SciPy where a library asks for them."""
    _replace("labelwright.service.process.skipped_imports", "skip_unused_imports", lambda: None)


def _write_at_once() -> None:
    """Give each write of a response to the event loop's own transport."""
    from uvicorn.protocols.http.flow_control import FlowControl

    from labelwright.service.http.connection import Connection

    class DirectConnection(Connection):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.transport, self.flow = transport, FlowControl(transport)

    _replace("labelwright.service.server", "Connection", DirectConnection)


def _use_protocol_of_uvicorn() -> None:
    """Read requests with uvicorn's own protocol: refusals then follow the whole body."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    _replace("labelwright.service.server", "Connection", HttpToolsProtocol)


def _use_route_of_fastapi() -> None:
    """Let FastAPI prepare the arguments of `POST /v1/labels`, as of any other path."""
    from fastapi.routing import APIRoute

    _replace("labelwright.service.routes.labels", "DirectRoute", APIRoute)


PARTS: Mapping[str, Callable[[], None]] = {
    "skipped_imports": _import_everything,
    "write_coalescing": _write_at_once,
    "connection": _use_protocol_of_uvicorn,
    "direct_route": _use_route_of_fastapi,
}
"""The hand-written parts, and for each the function that puts the plain way in its place."""


def main() -> int:
    """Run a command of labelwright; the first argument names the part to replace."""
    from labelwright.__main__ import main as run

    return run(sys.argv[2:])


if __name__ == "__main__":
    os.environ[VARIABLE] = sys.argv[1]
if __name__ in ("__main__", "__mp_main__") and os.environ[VARIABLE] != NONE:
    PARTS[os.environ[VARIABLE]]()
if __name__ == "__main__":
    sys.exit(main())

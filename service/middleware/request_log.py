"""Outermost middleware: request ids, security headers, metrics, the request log and traces."""

import logging
import random
import re
import time
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelwright.service.http.errors import internal_error
from labelwright.service.http.headers import HEADERS
from labelwright.service.middleware.access import OPEN_PATHS, UNLIMITED_PATHS
from labelwright.service.telemetry.logs import REQUESTS
from labelwright.service.telemetry.metrics import Metrics
from labelwright.service.telemetry.request_record import (
    REQUEST_RECORD,
    Client,
    RequestRecord,
    network_of,
)
from labelwright.service.telemetry.tracing import Tracing

_UNLOGGED_PATHS = OPEN_PATHS | UNLIMITED_PATHS
"""Successful requests for these paths are not logged, because monitoring sends many of them."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_CLIENT_CLOSED_REQUEST = 499
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
Header = tuple[bytes, bytes]
_log = logging.getLogger(REQUESTS)


class RequestLogMiddleware:
    """ASGI middleware that reports each request to the metrics, the traces and the log.

    It responds to unexpected exceptions with status 500.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to the request, then report it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        record = RequestRecord(_request_id(scope), client=Client(network_of(address)))
        REQUEST_RECORD.set(record)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with_common_headers(message.get("headers", ()), record)
            await send(message)

        self._metrics.request_started()
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            _log.exception("internal error", extra={"request": {"request_id": record.id}})
            if status:  # the response has started, so the server can only close the connection
                raise
            await internal_error()(scope, receive, send_with_headers)
        finally:
            self._report(scope, record, status or _CLIENT_CLOSED_REQUEST)

    def _report(self, scope: Scope, record: RequestRecord, status: int) -> None:
        """Report a finished request to the metrics, the traces and the log."""
        seconds = time.monotonic() - record.start
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.request_finished(method, route, status, seconds, record)
        fields = {"request_id": record.id, "method": method, "route": route, "status": status}
        if self._tracing:
            fields["trace_id"] = self._tracing.export(scope, record, fields)
        if status < 400 and scope["path"] in _UNLOGGED_PATHS:
            return
        fields |= {
            "milliseconds": round(1e3 * seconds, 3),
            "rows": record.rows,
            "key": record.client.key,
            "client": scope["client"][0] if scope.get("client") else None,
        }
        _log.info("%s %s", method, route, extra={"request": fields})


def _request_id(scope: Scope) -> str:
    """The `X-Request-Id` of the client if it is valid, else a random id."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return f"{random.getrandbits(128):032x}"


def _with_common_headers(headers: Sequence[Header], record: RequestRecord) -> list[Header]:
    """The headers of a response with the request id, and with those of HEADERS that are missing."""
    names = {name.lower() for name, _ in headers}
    common = (header for header in HEADERS if header[0] not in names)
    return [*headers, *common, (b"x-request-id", record.id.encode())]

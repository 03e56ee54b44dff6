"""The outermost layer: every request gets an id, a note, and safe headers, and is reported on."""

import logging
import random
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelwright.service.http.errors import problem
from labelwright.service.http.headers import HEADERS
from labelwright.service.middleware.access import OPEN, UNLIMITED
from labelwright.service.telemetry.logs import REQUESTS
from labelwright.service.telemetry.metrics import Metrics
from labelwright.service.telemetry.request_record import REQUEST_RECORD, RequestRecord
from labelwright.service.telemetry.tracing import Tracing

_QUIET = OPEN | UNLIMITED
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_GONE = 499
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
Header = tuple[bytes, bytes]
_log = logging.getLogger(REQUESTS)


class RequestLogMiddleware:
    """ASGI middleware around all others; a mistake of ours ends here, as status 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, then report on it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note = RequestRecord(_request_id(scope))
        REQUEST_RECORD.set(note)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _completed(message.get("headers", ()), note)
            await send(message)

        self._metrics.request_started()
        try:
            await self._app(scope, receive, sending)
        except Exception:
            _log.exception("a mistake of ours", extra={"request": {"request_id": note.id}})
            if status:  # the answer has begun: all that can be done is to cut the connection
                raise
            await problem(500)(scope, receive, sending)
        finally:
            self._report(scope, note, status or _GONE)

    def _report(self, scope: Scope, note: RequestRecord, status: int) -> None:
        seconds = time.monotonic() - note.begin
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.request_finished(method, route, status, seconds, note)
        about = {"request_id": note.id, "method": method, "route": route, "status": status}
        if self._tracing:
            about["trace_id"] = self._tracing.report(scope, note, about)
        if status < 400 and scope["path"] in _QUIET:
            return
        about |= {
            "milliseconds": round(1e3 * seconds, 3),
            "rows": note.rows,
            "key": note.key,
            "client": scope["client"][0] if scope.get("client") else None,
        }
        _log.info("%s %s", method, route, extra={"request": about})


def _request_id(scope: Scope) -> str:
    """The caller's name for the request if it is a sane one, else one of our own."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return f"{random.getrandbits(128):032x}"


def _completed(
    headers: list[tuple[bytes, bytes]], note: RequestRecord
) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, with those that every answer has."""
    given = {name.lower() for name, _ in headers}
    ours = (header for header in HEADERS if header[0] not in given)
    return [*headers, *ours, (b"x-request-id", note.id.encode())]

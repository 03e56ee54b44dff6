"""Error responses: the status of each error class, and problem documents (RFC 9457)."""

import http
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import fastapi
import pydantic
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from labelwright.entities import errors
from labelwright.entities.errors import LabelwrightError
from labelwright.service.engine.engine import Engine
from labelwright.service.http.error_formats import ErrorFormat, error_format_of
from labelwright.service.telemetry.logs import REQUESTS
from labelwright.service.telemetry.request_record import current_record

STATUS: Mapping[type[Exception], int] = {
    errors.DataError: 422,
    errors.RequestError: 422,
    errors.HostError: 421,
    errors.OriginError: 403,
    errors.KeyUnknownError: 401,
    errors.RoleError: 403,
    errors.RateError: 429,
    errors.ConflictError: 409,
    errors.MalformedError: 400,
    errors.TransferCodingError: 501,
    errors.TooLargeError: 413,
    errors.HeadTooLargeError: 431,
    errors.TooSlowError: 408,
    errors.EncodingError: 415,
    errors.ModelNotFoundError: 404,
    errors.ModelError: 503,
    errors.RegistryError: 503,
    errors.StorageError: 507,
    errors.OverloadedError: 503,
    errors.UnreachableError: 503,
}
"""HTTP status of each error class. A subclass that is not listed has the status of its closest base
class."""

PUBLIC_MESSAGES: Mapping[type[Exception], str | None] = {
    errors.BundleError: "the model of the service cannot be used; retry later",
    errors.RegistryError: "the model registry cannot be reached; retry later",
    errors.StorageError: "the disk or the store of the service is full, or cannot be written",
    errors.UnreachableError: "the database of the service cannot be reached; send the request "
    "again later (a correction with the same key)",
    errors.UnconfirmedError: None,
}
"""Messages that replace the message of an error in responses, because it names hosts or paths of
the service. The original message is logged. None: the message is sent unchanged."""

PROBLEM: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
"""JSON schema of a problem document."""

_log = logging.getLogger(REQUESTS)
_SHOWN_ERRORS = 10
"""Maximum number of validation errors in one response."""


class ProblemResponse(JSONResponse):
    """A problem document. On the paths of a protocol, it is sent in the protocol's format."""

    media_type = "application/problem+json"

    def __init__(self, content: Mapping[str, Any], headers: Mapping[str, str] | None) -> None:
        super().__init__(content, content["status"], headers)
        self._detail = content.get("detail", content["title"])
        self._own_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response in the format of the path."""
        if error_format := error_format_of(scope["path"]):
            await self.in_format(error_format)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def in_format(self, error_format: ErrorFormat) -> Response:
        """A response with this error in the format of a protocol."""
        status, content = error_format(self.status_code, self._detail)
        return JSONResponse(content, status, self._own_headers)


def problem(
    status: int, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    """A problem document for a status. The title is the standard phrase of the status."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
    }
    if detail:
        content["detail"] = detail
    return ProblemResponse(content, headers)


def internal_error() -> ProblemResponse:
    """The response to an unexpected exception, without the message of the exception."""
    return problem(500, "internal error; search the log of the service for this X-Request-Id")


def error_response(error: Exception) -> ProblemResponse:
    """The response to an error: its status in STATUS and its public message.

    For an error of any other class, the response has the status 500 and not the error's message.
    """
    for kind in type(error).__mro__:
        if kind in STATUS:
            return problem(STATUS[kind], public_message(error), _error_headers(error))
    return internal_error()


def public_message(error: Exception) -> str:
    """The message of an error, or its replacement in PUBLIC_MESSAGES; then the error is logged."""
    messages = (PUBLIC_MESSAGES[kind] for kind in type(error).__mro__ if kind in PUBLIC_MESSAGES)
    message = next(messages, None)
    if message is None:
        return str(error)
    _log.error("%s", error, extra={"request": {"request_id": current_record().id}})
    return message


def validation_problem(error: pydantic.ValidationError) -> ProblemResponse:
    """The response to a failed validation, without the values that the client sent.

    The status is 400 if the body is not valid JSON. Otherwise it is 422, and the response lists the
    invalid fields and the violated rules.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        place = found[0]["msg"].removeprefix("Invalid JSON: ")
        return problem(400, f"the body is not valid JSON: {place}")
    return _validation_problem(found)


def not_ready(engine: Engine) -> Response:
    """A response with the status 503 and the reason why the service is not ready."""
    if engine.stopping:
        return problem(503, "the service is stopping; send requests to another instance")
    return problem(503, "no model is in service yet; retry later, or look into the service's log")


def encode_response(response: Response, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of an HTTP/1.1 response; `headers` are added to the headers of the response."""
    phrase = http.HTTPStatus(response.status_code).phrase
    lines = [f"HTTP/1.1 {response.status_code} {phrase}".encode()]
    lines += [name + b": " + value for name, value in (*response.raw_headers, *headers)]
    return b"\r\n".join([*lines, b"", bytes(response.body)])


def add_error_handlers(app: fastapi.FastAPI) -> None:
    """Register the functions that make an application's error responses."""
    app.add_exception_handler(LabelwrightError, _on_labelwright_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameters)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


def _error_headers(error: Exception) -> Mapping[str, str]:
    """The response headers that tell a client how to react to an error, such as Retry-After."""
    if isinstance(error, errors.KeyUnknownError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.RateError | errors.OverloadedError):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.TooSlowError | errors.HeadTooLargeError):
        return {"Connection": "close"}
    if isinstance(error, errors.EncodingError):
        return {"Accept-Encoding": error.understood}
    return {}


def _validation_problem(found: Sequence[Mapping[str, Any]]) -> ProblemResponse:
    """A response with the status 422, the invalid fields and the violated rules.

    The names of unknown fields are left out, because they are data of the client.
    """
    broken = [(e["loc"], e["msg"]) for e in found if e["type"] != "extra_forbidden"]
    if len(broken) < len(found):
        broken.append(((), "a field is not known; the page /docs lists the fields"))
    parts = [f"{'.'.join(map(str, place)) or 'body'}: {rule}" for place, rule in broken]
    return problem(422, "; ".join(parts[:_SHOWN_ERRORS]))


async def _on_labelwright_error(request: Request, error: Exception) -> ProblemResponse:
    return error_response(error)


async def _on_http_exception(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, error.detail, error.headers)


async def _on_invalid_parameters(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return _validation_problem([{**e, "loc": e["loc"][1:]} for e in error.errors()])


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """A response with the status 499, for the request log only: the client has disconnected."""
    return Response(status_code=499)

"""Errors over HTTP: the one table from errors to statuses, as RFC 9457 problem documents."""

import http
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
"""The JSON schema of a problem document."""


class ProblemResponse(JSONResponse):
    """A problem document (RFC 9457), or what the protocol of a path has in its place."""

    media_type = "application/problem+json"

    def __init__(self, content: Mapping[str, Any], headers: Mapping[str, str] | None) -> None:
        super().__init__(content, content["status"], headers)
        self._detail = content.get("detail", content["title"])
        self._own_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the dialect of the path."""
        if error_format := error_format_of(scope["path"]):
            await self.in_format(error_format)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def in_format(self, error_format: ErrorFormat) -> Response:
        """The same in a dialect."""
        status, content = error_format(self.status_code, self._detail)
        return JSONResponse(content, status, self._own_headers)


def problem(
    status: int, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    """A problem document with the standard title of its status."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
    }
    if detail:
        content["detail"] = detail
    return ProblemResponse(content, headers)


def encode_response(answer: Response, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A response with further headers, as HTTP/1.1 sends it."""
    head = [f"HTTP/1.1 {answer.status_code} {http.HTTPStatus(answer.status_code).phrase}".encode()]
    head += [name + b": " + value for name, value in (*answer.raw_headers, *headers)]
    return b"\r\n".join([*head, b"", bytes(answer.body)])


def add_error_handlers(app: fastapi.FastAPI) -> None:
    """Let an application answer every error with a problem document."""
    app.add_exception_handler(LabelwrightError, _domain_problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    app.add_exception_handler(ClientDisconnect, _nobody_there)


def validation_problem(error: pydantic.ValidationError) -> ProblemResponse:
    """What is wrong with a body, by place and rule, without the values that were sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return problem(400, "the body is not valid JSON")
    return _misfits(found)


def error_response(error: Exception) -> ProblemResponse:
    """The answer to a LabelwrightError; of a mistake of ours nothing is told, the log has it."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return problem(STATUS[kind], str(error), _headers(error))
    return problem(500)


def _headers(error: Exception) -> Mapping[str, str]:
    """What a caller can do about an error, in the headers that HTTP has for it."""
    if isinstance(error, errors.KeyUnknownError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.RateError | errors.OverloadedError):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.TooSlowError | errors.HeadTooLargeError):
        return {"Connection": "close"}
    if isinstance(error, errors.EncodingError):
        return {"Accept-Encoding": error.understood}
    return {}


async def _domain_problem(request: Request, error: Exception) -> ProblemResponse:
    return error_response(error)


async def _invalid_parameters(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return _misfits([{**e, "loc": e["loc"][1:]} for e in error.errors()])


def _misfits(found: Sequence[Mapping[str, Any]]) -> ProblemResponse:
    """What is wrong at which place; a name that is not known is the caller's, and not repeated."""
    misfits = [(e["loc"], e["msg"]) for e in found if e["type"] != "extra_forbidden"]
    if len(misfits) < len(found):
        misfits.append(((), "a member is not known"))
    parts = [f"{'.'.join(map(str, place)) or 'body'}: {rule}" for place, rule in misfits[:10]]
    return problem(422, "; ".join(parts))


async def _nobody_there(request: Request, error: Exception) -> Response:
    """A caller who has gone away reads no answer, and is no mistake of ours."""
    return Response(status_code=499)


async def _http_problem(request: Request, error: Exception) -> ProblemResponse:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, error.detail, error.headers)


def not_ready(engine: Engine) -> Response:
    """503, with the reason why no model serves."""
    return problem(503, "the service is stopping" if engine.stopping else "no model serves yet")

"""Errors over HTTP: the one table from errors to statuses, as RFC 9457 problem documents."""

import http
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from entities import errors

STATUS: Mapping[type[Exception], int] = {
    errors.DataError: 422,
    errors.RequestError: 422,
    errors.ModelNotFoundError: 404,
    errors.ModelError: 503,
    errors.RegistryError: 503,
    errors.StorageError: 507,
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
    """A problem document (RFC 9457)."""

    media_type = "application/problem+json"


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
    return ProblemResponse(content, status, headers)


def domain_problem(request: Request, error: Exception) -> ProblemResponse:
    """The answer to a LabelwrightError."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return problem(STATUS[kind], str(error))
    return problem(500)


def unexpected_problem(request: Request, error: Exception) -> ProblemResponse:
    """The answer to a mistake of ours: nothing of it is told, the log has it."""
    return problem(500)

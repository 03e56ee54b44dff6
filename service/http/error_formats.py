"""Error formats of the protocols. Errors on all other paths are problem documents (RFC 9457)."""

from collections.abc import Callable, Mapping
from typing import Any

ErrorFormat = Callable[[int, str], tuple[int, Mapping[str, Any]]]
"""Takes a status and an error message; returns the status and the JSON body of a protocol."""

_MLFLOW_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""Error codes of MLflow by status."""


def error_format_of(path: str) -> ErrorFormat | None:
    """The error format of a path, or None if its errors are problem documents."""
    if path == "/v2" or path.startswith("/v2/"):
        return _v2_error
    return _mlflow_error if path == "/invocations" else None


def _v2_error(status: int, detail: str) -> tuple[int, Mapping[str, Any]]:
    """An error of the Open Inference Protocol."""
    return _protocol_status(status), {"error": detail}


def _mlflow_error(status: int, detail: str) -> tuple[int, Mapping[str, Any]]:
    """An error of MLflow's scoring protocol."""
    status = _protocol_status(status)
    default = "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"
    return status, {"error_code": _MLFLOW_CODES.get(status, default), "message": detail}


def _protocol_status(status: int) -> int:
    """The status of an error in a protocol: 400 replaces 422, which the protocols do not use."""
    return 400 if status == 422 else status


def _error_responses(*members: str) -> Mapping[int | str, dict[str, Any]]:
    """OpenAPI responses for errors whose body has these members."""
    properties = {member: {"type": "string"} for member in members}
    schema = {"type": "object", "required": list(members), "properties": properties}
    content = {"application/json": {"schema": schema}}
    return {"default": {"description": "An error.", "content": content}}


V2_ERRORS = _error_responses("error")
"""OpenAPI description of the errors of the Open Inference Protocol."""
MLFLOW_ERRORS = _error_responses("error_code", "message")
"""OpenAPI description of the errors of MLflow's scoring protocol."""

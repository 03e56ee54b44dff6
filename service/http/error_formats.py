"""How each protocol tells an error; all others get a problem document (RFC 9457)."""

from collections.abc import Callable, Mapping
from typing import Any

Told = tuple[int, Mapping[str, Any]]
"""A status, and the body that goes with it."""
ErrorFormat = Callable[[int, str], Told]

_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's names of errors, by status."""


def error_format_of(path: str) -> ErrorFormat | None:
    """The dialect of a path, None where errors are problem documents."""
    if path == "/v2" or path.startswith("/v2/"):
        return _inference
    return _scoring if path == "/invocations" else None


def _inference(status: int, detail: str) -> Told:
    """The Open Inference Protocol's: whatever is wrong with a request is 400."""
    return _plain(status), {"error": detail}


def _scoring(status: int, detail: str) -> Told:
    """MLflow's."""
    status = _plain(status)
    fallback = "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"
    return status, {"error_code": _CODES.get(status, fallback), "message": detail}


def _plain(status: int) -> int:
    return 400 if status == 422 else status


def _errors(name: str, *others: str) -> Mapping[int | str, dict[str, Any]]:
    """What an error looks like, for all operations of a protocol."""
    texts = {member: {"type": "string"} for member in (name, *others)}
    schema = {"type": "object", "required": list(texts), "properties": texts}
    wrong = {"description": "What is wrong.", "content": {"application/json": {"schema": schema}}}
    return {"default": wrong}


V2_ERRORS = _errors("error")
MLFLOW_ERRORS = _errors("error_code", "message")
"""OpenAPI responses that describe the errors of a protocol."""

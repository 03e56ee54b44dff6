"""Log lines on standard error: one for each request and event, as JSON or text.

The log line of an exception has the exception's class and stack frames, but never its message,
because a message may repeat the client's data. For the same reason, a request is logged with its
route and not with its path.
"""

import enum
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

REQUESTS = "labelwright.requests"
"""Name of the logger for requests."""


class LogFormat(enum.StrEnum):
    """Format of log lines: JSON for programs, text for people."""

    JSON = "json"
    TEXT = "text"


def log_configuration(format: LogFormat) -> dict[str, Any]:  # noqa: A002 - name of the option
    """Argument of `logging.config.dictConfig`: labelwright and uvicorn log in the same format."""
    formatter = f"{__name__}.{'JsonLines' if format is LogFormat.JSON else 'TextLines'}"
    logger = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": formatter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "lines",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"labelwright": logger, "uvicorn": logger},
    }


class JsonLines(logging.Formatter):
    """Formats each record as one line with a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, with the fields of its request and the location of its error, if any."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **vars(record).get("request", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["error"] = _error_location(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """Formats each record as one line of text for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the local time, the level, the message, and the request and error, if any."""
        fields = vars(record).get("request", {})
        parts = [
            datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S"),
            f"{record.levelname.lower():<7}",
            record.getMessage(),
            *(f"{name}={value}" for name, value in fields.items()),
        ]
        if record.exc_info and record.exc_info[1]:
            parts.append(" < ".join(_error_location(record.exc_info[1])))
        return " ".join(parts)


def _error_location(error: BaseException) -> list[str]:
    """The class name of an exception and its stack frames, the innermost frame first."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return [type(error).__name__, *(f"{f.filename}:{f.lineno} {f.name}" for f in frames)]

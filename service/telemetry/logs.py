"""What the service writes to standard error: a line for every request and event.

Of exceptions it tells the kind and the places in the code, never the words: they may hold what a
caller has sent. For the same reason a request is named by its route, not by its path.
"""

import enum
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

REQUESTS = "labelwright.requests"


class LogFormat(enum.StrEnum):
    """How lines look: for machines, or for people."""

    JSON = "json"
    TEXT = "text"


def log_configuration(format: LogFormat) -> dict[str, Any]:  # noqa: A002 - the word of the option
    """For `logging.config.dictConfig`: our lines and the server's, all in one format."""
    formatter = f"{__name__}.{'JsonLines' if format is LogFormat.JSON else 'TextLines'}"
    ours = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
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
        "loggers": {"labelwright": ours, "service": ours, "uvicorn": ours},
    }


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """A record with what was said about its request, if it is about one."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **vars(record).get("request", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["error"] = _places(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """One line for a reader at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level and message, and what was said about the request."""
        about = vars(record).get("request", {})
        parts = [
            datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S"),
            f"{record.levelname.lower():<7}",
            record.getMessage(),
            *(f"{name}={value}" for name, value in about.items()),
        ]
        if record.exc_info and record.exc_info[1]:
            parts.append(" < ".join(_places(record.exc_info[1])))
        return " ".join(parts)


def _places(error: BaseException) -> list[str]:
    """The kind of an exception, and where it came from, the innermost place first."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return [type(error).__name__, *(f"{f.filename}:{f.lineno} {f.name}" for f in frames)]

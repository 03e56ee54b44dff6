"""Bodies of requests, of which no more is read than an answer can need."""

import math
import time

from starlette.exceptions import HTTPException
from starlette.requests import Request

BODY_LIMIT = 16 << 20
"""The largest request body, in bytes."""


TIMEOUT = 5.0
TIMEOUT_LIMIT = 60.0
"""Seconds within which a request is answered: by default, and at most."""


def deadline(request: Request) -> float:
    """The monotonic time by which a request must be answered, as `X-Request-Timeout` says.

    Raises HTTPException 400 for a header that is no number of seconds.
    """
    given = request.headers.get("x-request-timeout")
    try:
        seconds = TIMEOUT if given is None else float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= TIMEOUT_LIMIT:
        raise HTTPException(
            400, f"X-Request-Timeout: must be seconds above 0 and up to {TIMEOUT_LIMIT:g}"
        )
    return time.monotonic() + seconds


async def limited_body(request: Request) -> bytes:
    """The body of a request; raises HTTPException 413 as soon as it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"a body may have {BODY_LIMIT:,} bytes")
    return bytes(body)

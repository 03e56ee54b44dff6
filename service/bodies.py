"""Bodies of requests, of which no more is read than an answer can need."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

BODY_LIMIT = 16 << 20
"""The largest request body, in bytes."""


async def limited_body(request: Request) -> bytes:
    """The body of a request; raises HTTPException 413 as soon as it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, f"a body may have {BODY_LIMIT:,} bytes")
    return bytes(body)

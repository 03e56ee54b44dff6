"""Compression of response bodies for requests whose Accept-Encoding header allows it."""

import gzip
import zlib

MIN_BYTES = 1_024
"""Bodies with fewer bytes are sent uncompressed."""
LEVEL = 1
"""The fastest level of zlib."""
_ZERO_WEIGHTS = {"q=0", "q=0.0", "q=0.00", "q=0.000"}


def compressed(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """The body, compressed if the Accept-Encoding header `accepted` allows it, and further headers.

    gzip is preferred to deflate. The body is returned unchanged and without headers if it is small
    or if the client accepts neither coding.
    """
    if len(content) < MIN_BYTES:
        return content, {}
    codings = [part.strip().partition(";") for part in accepted.lower().split(",")]
    allowed = {name for name, _, weight in codings if weight.replace(" ", "") not in _ZERO_WEIGHTS}
    if "gzip" in allowed:
        return gzip.compress(content, LEVEL, mtime=0), _headers("gzip")
    if "deflate" in allowed:
        return zlib.compress(content, LEVEL), _headers("deflate")
    return content, {}


def _headers(encoding: str) -> dict[str, str]:
    return {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}

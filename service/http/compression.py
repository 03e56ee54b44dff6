"""Compression of response bodies, as the Accept-Encoding header of the request allows."""

import gzip
import zlib

MIN_BYTES = 1_024
"""Smaller bodies are sent uncompressed."""
LEVEL = 1
"""The fastest level of zlib."""
_ZERO_WEIGHTS = {"q=0", "q=0.0", "q=0.00", "q=0.000"}


def compressed(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """The body in a coding that `accepted`, an Accept-Encoding header, allows, and its headers.

    gzip is preferred to deflate. The body is returned unchanged if it is small or neither is
    accepted.
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

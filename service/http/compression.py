"""Answers in fewer bytes, for callers who ask for it."""

import gzip
import zlib

LEAST = 1_024
"""Bytes below which it is not worth while."""
LEVEL = 1


def compressed(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """A body as an Accept-Encoding wants it, and the headers that say so."""
    if len(content) < LEAST:
        return content, {}
    names = [part.strip().partition(";") for part in accepted.lower().split(",")]
    wanted = {name for name, _, weight in names if weight.replace(" ", "") not in _NEVER}
    if "gzip" in wanted:
        return gzip.compress(content, LEVEL, mtime=0), _headers("gzip")
    if "deflate" in wanted:
        return zlib.compress(content, LEVEL), _headers("deflate")
    return content, {}


_NEVER = {"q=0", "q=0.0", "q=0.00", "q=0.000"}


def _headers(encoding: str) -> dict[str, str]:
    return {"Content-Encoding": encoding, "Vary": "Accept-Encoding"}

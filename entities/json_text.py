"""Parsing of JSON, with the extensions that common programs write.

These are NaN and infinite numbers (Python, pandas), half of a surrogate pair (JavaScript) and a
byte order mark (Windows). Most JSON has none of them, and is parsed by orjson alone.
"""

import json
import math
from typing import Any

import orjson

CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}
"""The values of constants that JSON does not have. NaN is how programs write a missing value."""


def parse_json(text: bytes | str) -> Any:
    """Parse JSON; raises json.JSONDecodeError, with the line and the column of the error."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            decoded = text if isinstance(text, str) else text.decode("utf-8")
            return json.loads(decoded.removeprefix("\ufeff"), parse_constant=CONSTANTS.get)
        except (ValueError, RecursionError):
            raise error from None

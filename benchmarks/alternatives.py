"""The command line with one hand-written part of the service replaced by a library's alternative.

    python -m benchmarks.alternatives PART serve --model URI

`PART` is a key of ALTERNATIVES, or `none` to replace nothing. Worker processes import this module
again, and read the part from the environment.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping

NONE = "none"
VARIABLE = "LABELWRIGHT_BENCHMARK_PART"


def _replace(module: str, name: str, alternative: object) -> None:
    """Replace an attribute of a module; raises AttributeError if the module does not have it."""
    found = importlib.import_module(module)
    getattr(found, name)
    setattr(found, name, alternative)


def _import_everything() -> None:
    """Let libraries import pandas and SciPy in workers."""
    _replace("labelwright.service.process.skipped_imports", "skip_unused_imports", lambda: None)


def _use_protocol_of_uvicorn() -> None:
    """Use uvicorn's own protocol: a request is refused after its body has been read."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    _replace("labelwright.service.server", "Connection", HttpToolsProtocol)


ALTERNATIVES: Mapping[str, Callable[[], None]] = {
    "skipped_imports": _import_everything,
    "connection": _use_protocol_of_uvicorn,
}
"""For each hand-written part, the function that replaces it."""


def main() -> int:
    """Run a command of labelwright; the first argument names the part to replace."""
    from labelwright.__main__ import main as run

    return run(sys.argv[2:])


if __name__ == "__main__":
    os.environ[VARIABLE] = sys.argv[1]
if __name__ in ("__main__", "__mp_main__") and os.environ[VARIABLE] != NONE:
    ALTERNATIVES[os.environ[VARIABLE]]()
if __name__ == "__main__":
    sys.exit(main())

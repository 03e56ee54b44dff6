"""Categorical labels for places and other entities.

`load(uri)` gives a model whose `label(table)` labels an Arrow table, a pandas frame or records; the
command line (`labelwright --help`) trains, evaluates, labels files and serves. `Client(url)` labels
streams of any length with a service, and raises `ServiceError` where that does not answer.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwright.api import LoadedModel, load
    from labelwright.client import Client
    from labelwright.entities.errors import ServiceError

_HOMES = {
    "Client": "labelwright.client",
    "LoadedModel": "labelwright.api",
    "ServiceError": "labelwright.entities.errors",
    "load": "labelwright.api",
}
__all__ = ["Client", "LoadedModel", "ServiceError", "load"]


def __getattr__(name: str) -> Any:
    """Import the API on first use, so that `labelwright --help` need not wait for it."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Categorical labels for places and other entities.

`load(uri)` gives a model whose `label(table)` labels an Arrow table, a pandas frame or records; the
command line (`labelwright --help`) trains, evaluates, labels files and serves. `Client(url)` labels
streams of any length with a service.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwright.api import LoadedModel, load
    from labelwright.client import Client

__all__ = ["Client", "LoadedModel", "load"]


def __getattr__(name: str) -> Any:
    """Import the API on first use, so that `labelwright --help` need not wait for it."""
    if name == "Client":
        from labelwright import client

        return client.Client
    if name in __all__:
        from labelwright import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

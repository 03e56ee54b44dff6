"""Multi-label classification of places and other entities.

- `load(uri)` loads a trained model. Its method `label` labels an Arrow table, a pandas frame or a
  list of dicts.
- `train(data, name=...)` trains a model and registers it, as `labelwright train` does.
- `Client(url)` labels streams of any length with a running service.

The command line (`labelwright --help`) has a command for each of these tasks.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelwright.api import LoadedModel, TrainingResult, load, train
    from labelwright.client import Client
    from labelwright.entities.errors import ServiceError

    __version__: str

_MODULES = {
    "Client": "labelwright.client",
    "LoadedModel": "labelwright.api",
    "ServiceError": "labelwright.entities.errors",
    "TrainingResult": "labelwright.api",
    "load": "labelwright.api",
    "train": "labelwright.api",
}
__all__ = [
    "Client",
    "LoadedModel",
    "ServiceError",
    "TrainingResult",
    "__version__",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import labelwright` is fast."""
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        return metadata.version("labelwright")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

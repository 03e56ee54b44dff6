"""What a worker does without: packages that others import only in case somebody needs them."""

import sys
from importlib.abc import MetaPathFinder

_SPARED = frozenset(("pandas", "scipy"))


def spare() -> None:
    """Let pandas and SciPy seem not to be installed in this process from now on.

    PyArrow imports pandas to find out whether what it is given is a series, Numba SciPy to offer
    kernels its linear algebra. No worker has any use for either, and its start and its memory are
    better used. MLflow needs both: this is for processes that never import it.
    """
    sys.meta_path.insert(0, _Spared())


class _Spared(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Raise ModuleNotFoundError for what is spared, and leave all else to others."""
        if name.partition(".")[0] in _SPARED:
            raise ModuleNotFoundError(f"{name} is spared", name=name)

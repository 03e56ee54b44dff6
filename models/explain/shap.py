"""SHAP values of the reranker's features, computed by LightGBM's shared library.

The library is called through its C API (`LightGBM/c_api.h`), because importing the Python package
would also import SciPy, pandas and scikit-learn: 2 s of CPU time and 130 MB in every worker.
"""

import ctypes
import functools
import importlib.util
import threading
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FLOAT32, _ROW_BY_ROW, _CONTRIBUTIONS, _ALL_TREES = 0, 1, 3, -1
_PARAMETERS = b"num_threads=1 verbosity=-1"
_MODELS = 2
"""The number of models whose trees are kept in memory: the champion and the challenger."""
_LOCK = threading.Lock()
"""LightGBM writes to the trees during a computation, so only one thread computes at a time."""


def contributions(
    trees: str, features: int, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """SHAP values of each feature for the raw score of each row, n x (features + 1).

    `trees` is a model in LightGBM's text format, `rows` is n x features.
    The last column is the expected raw score.
    The values of a row add up to the row's raw score, which is the log-odds before calibration.
    """
    if not len(rows):
        return np.zeros((0, features + 1))
    with _LOCK:
        return _loaded(trees).of(rows)


class Contributions:
    """Trees that LightGBM has read from a model in its text format.

    Only one thread may use them at a time.

    Raises ValueError for a text that LightGBM rejects.
    """

    def __init__(self, trees: str) -> None:
        library, handle, count = _library(), ctypes.c_void_p(), ctypes.c_int()
        _check(
            library.LGBM_BoosterLoadModelFromString(
                trees.encode(), ctypes.byref(count), ctypes.byref(handle)
            )
        )
        self._handle = handle
        weakref.finalize(self, library.LGBM_BoosterFree, handle)

    def of(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """SHAP values in the layout of `contributions`.

        They are exact (TreeSHAP: Lundberg et al. 2020, "From local explanations to global
        understanding with explainable AI for trees").
        """
        values = np.ascontiguousarray(rows, np.float32)
        found = np.zeros((values.shape[0], values.shape[1] + 1))
        written = ctypes.c_int64()
        _check(
            _library().LGBM_BoosterPredictForMat(
                self._handle,
                values.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int(_FLOAT32),
                ctypes.c_int32(values.shape[0]),
                ctypes.c_int32(values.shape[1]),
                ctypes.c_int(_ROW_BY_ROW),
                ctypes.c_int(_CONTRIBUTIONS),
                ctypes.c_int(0),
                ctypes.c_int(_ALL_TREES),
                ctypes.c_char_p(_PARAMETERS),
                ctypes.byref(written),
                found.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
            )
        )
        return found


@functools.lru_cache(_MODELS)
def _loaded(trees: str) -> Contributions:
    return Contributions(trees)


@functools.cache
def _library() -> ctypes.CDLL:
    package = importlib.util.find_spec("lightgbm")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")
    (path,) = (Path(package.origin).parent / "lib").glob("lib_lightgbm.*")
    library = ctypes.CDLL(str(path))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(code: int) -> None:
    if code:
        raise ValueError(_library().LGBM_GetLastError().decode(errors="replace"))

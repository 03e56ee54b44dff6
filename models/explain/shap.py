"""What each feature adds to a raw score, by LightGBM's library without the package around it.

Importing the package brings SciPy, pandas and scikit-learn along: two seconds, and memory in every
worker of the service. The functions are those of LightGBM's C API (`LightGBM/c_api.h`).
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
"""Models whose trees stay loaded: champion and challenger."""
_LOCK = threading.Lock()
"""LightGBM measures the depth of its trees in place, so contributions are computed one by one."""


def contributions(
    trees: str, features: int, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """SHAP values of each feature for the raw score of each row, n x (features + 1).

    `trees` is LightGBM's text. The last column is the expected raw score; a row sums to its raw
    score, the log-odds before calibration.
    """
    if not len(rows):
        return np.zeros((0, features + 1))
    with _LOCK:
        return _loaded(trees).of(rows)


class Contributions:
    """Trees, given as LightGBM's text, to be asked by one thread at a time.

    Raises ValueError for a text that LightGBM does not take.
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
        """What each feature adds to the raw score of each row: n x (features + 1).

        The last column is the expected raw score; a row sums to its raw score (exact TreeSHAP:
        Lundberg et al. 2020, "From local explanations to global understanding with explainable AI
        for trees").
        """
        given = np.ascontiguousarray(rows, np.float32)
        found = np.zeros((given.shape[0], given.shape[1] + 1))
        written = ctypes.c_int64()
        _check(
            _library().LGBM_BoosterPredictForMat(
                self._handle,
                given.ctypes.data_as(ctypes.c_void_p),
                ctypes.c_int(_FLOAT32),
                ctypes.c_int32(given.shape[0]),
                ctypes.c_int32(given.shape[1]),
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

"""Pooling: the vectors of the tokens of a text become one vector."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError, first_line

Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int64]
Pooling = Callable[[Vectors, Mask], Vectors]
"""Function of the vectors of tokens, float32[texts, tokens, width], and of the mask (bool) of the
tokens that are not padding. It returns float32[texts, width]. The padding is at the end."""


def mean(tokens: Vectors, mask: Mask) -> Vectors:
    """The mean of the tokens."""
    return _weighted(tokens, mask)


def weighted_mean(tokens: Vectors, mask: Mask) -> Vectors:
    """The mean of the tokens, weighted by their positions, which begin at 1."""
    return _weighted(tokens, mask * np.arange(1, mask.shape[1] + 1))


def maximum(tokens: Vectors, mask: Mask) -> Vectors:
    """The maximum of each component."""
    largest: Vectors = np.where(mask[:, :, None] > 0, tokens, np.float32(-np.inf)).max(axis=1)
    return largest


def first(tokens: Vectors, mask: Mask) -> Vectors:
    """The first token."""
    beginnings: Vectors = tokens[:, 0]
    return beginnings


def last(tokens: Vectors, mask: Mask) -> Vectors:
    """The last token."""
    ends: Vectors = tokens[np.arange(len(tokens)), mask.sum(axis=1) - 1]
    return ends


_MODES: Mapping[str, Pooling] = {
    "cls": first,
    "lasttoken": last,
    "max": maximum,
    "mean": mean,
    "mean_sqrt_len_tokens": mean,  # the same, because vectors are scaled to unit length
    "weightedmean": weighted_mean,
}
"""The modes of the library sentence-transformers."""
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""The flags of the modes in files of older versions of the library."""


def read_pooling(file: Path | None) -> Pooling:
    """The pooling that `1_Pooling/config.json` declares; without the file, the mean.

    Raises DataError if the file cannot be read, or declares a pooling that is not supported.
    """
    if file is None:
        return mean
    try:
        modes = _declared_modes(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{file} is not the JSON object of a pooling: {first_line(error)}"
        ) from error
    if not modes or not set(modes) <= set(_MODES):
        raise DataError(
            f"{file} declares the pooling {', '.join(modes) or 'nothing'}; supported are "
            f"{', '.join(_MODES)}"
        )

    def concatenated(tokens: Vectors, mask: Mask) -> Vectors:
        return np.concatenate([_MODES[mode](tokens, mask) for mode in modes], axis=1)

    return concatenated


def _declared_modes(settings: Mapping[str, Any]) -> Sequence[str]:
    """The declared modes: one name, a list of names, or flags."""
    named = settings.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else [str(mode) for mode in named]
    return [mode for flag, mode in _FLAGS.items() if settings.get(flag)]


def _weighted(tokens: Vectors, weights: npt.NDArray[np.int64]) -> Vectors:
    shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    means: Vectors = np.einsum("tpw,tp->tw", tokens, shares)
    return means

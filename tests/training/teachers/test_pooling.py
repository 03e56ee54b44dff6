"""Pooling: modes of sentence-transformers, and settings that cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwright.entities.errors import DataError
from labelwright.training.teachers.pooling import read_pooling

TOKENS = np.array([[[1, 5], [3, 1], [9, 9]], [[2, 2], [4, 0], [6, 7]]], np.float32)
MASK = np.array([[1, 1, 0], [1, 1, 1]])
FLAGS = {"word_embedding_dimension": 2, "include_prompt": True}


@pytest.mark.parametrize(
    ("settings", "pooled"),
    [
        ({"pooling_mode_mean_tokens": True}, [[2, 3], [4, 3]]),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, [[2, 3], [4, 3]]),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, [[1, 5], [2, 2]]),
        ({"pooling_mode_max_tokens": True}, [[3, 5], [6, 7]]),
        ({"pooling_mode_lasttoken": True}, [[3, 1], [6, 7]]),
        ({"pooling_mode": "lasttoken"}, [[3, 1], [6, 7]]),
        ({"pooling_mode_weightedmean_tokens": True}, [[7 / 3, 7 / 3], [28 / 6, 23 / 6]]),
        ({"pooling_mode": ["cls", "max"]}, [[1, 5, 3, 5], [2, 2, 6, 7]]),
    ],
)
def test_declared_pooling(tmp_path: Path, settings: dict[str, Any], pooled: list[Any]) -> None:
    """Padding has no effect in any mode; several modes are put side by side."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(FLAGS | settings))
    np.testing.assert_allclose(read_pooling(file)(TOKENS, MASK), pooled, rtol=1e-6)


def test_without_settings_tokens_are_averaged() -> None:
    """Most encoders use the mean."""
    np.testing.assert_allclose(read_pooling(None)(TOKENS, MASK), [[2, 3], [4, 3]])


@pytest.mark.parametrize("content", ["", "[]", "3", "\udcff", '{"pooling_mode": 3}'])
def test_settings_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    """The error names the file."""
    file = tmp_path / "config.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"config.json is not the JSON object of a pooling"):
        read_pooling(file)


@pytest.mark.parametrize("settings", [{}, {"pooling_mode": "attention"}])
def test_unsupported_pooling(tmp_path: Path, settings: dict[str, str]) -> None:
    """The error lists the supported modes."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(settings))
    with pytest.raises(DataError, match=r"config.json declares the pooling .*supported are cls, "):
        read_pooling(file)

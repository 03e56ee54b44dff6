"""Sentence encoders: texts become vectors of unit length, and each text is embedded only once.

An encoder is a folder with an ONNX model and a tokenizer, or an installed package. It runs on this
machine; nothing is downloaded. Training uses the vectors; bundles and the service do not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.errors import DataError
from labelwright.training.teachers.cache import EmbeddingCache, Halves, content_keys
from labelwright.training.teachers.files import find_encoder_files
from labelwright.training.teachers.onnx_model import OnnxModel
from labelwright.training.teachers.packages import find_packaged_model
from labelwright.training.teachers.pooling import Vectors

CHUNK = 256
"""Number of texts between two reports of progress: after Ctrl-C, at most this many are lost."""
THREADS = 2
"""Default number of threads, as in `Configuration`."""


class SentenceModel(Protocol):
    """A model that embeds texts.

    `identity` is a hash of its files. Models with the same identity give the same vectors.
    """

    @property
    def identity(self) -> str:
        """SHA-256 of the files of the model, in hexadecimal digits."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text, float32[n, width], of any length."""


class EmbeddingProgress(Protocol):
    """Callback that reports the progress of an embedding."""

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` texts are embedded; cached texts are not counted."""


def no_embedding_progress(done: int, total: int) -> None:
    """An EmbeddingProgress that reports nothing."""


class Encoder:
    """A sentence model with the cache of its vectors."""

    def __init__(self, model: SentenceModel) -> None:
        self._model = model
        self.width = _embed(model, [""]).shape[1]
        """Number of components of a vector."""
        self._cache = EmbeddingCache(model.identity, self.width)

    @property
    def identity(self) -> str:
        """SHA-256 of the files of the model, in hexadecimal digits."""
        return self._model.identity

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences about the cache, if it cannot be read or written."""
        return self._cache.warnings

    def embed(
        self,
        texts: Sequence[str] | pa.StringArray,
        progress: EmbeddingProgress = no_embedding_progress,
    ) -> Vectors:
        """One vector of unit length for each text, float32[n, width].

        A null is embedded as an empty text. Equal texts are embedded once. The vectors of earlier
        calls come from the cache, with the same values. When the call is interrupted, the finished
        chunks stay in the cache. Raises DataError if the model fails.
        """
        column = pc.fill_null(pa.array(texts, pa.string()), "")
        encoded = pc.dictionary_encode(column)
        distinct = encoded.dictionary
        keys = content_keys(distinct)
        halves, found = self._cache.read(keys)
        missing = np.flatnonzero(~found)
        try:
            for first in range(0, len(missing), CHUNK):
                rows = missing[first : first + CHUNK]
                # Assigned to float16, new vectors are equal to the same vectors from the cache.
                halves[rows] = _embed(self._model, distinct.take(pa.array(rows)).to_pylist())
                self._cache.append(keys[rows], halves[rows])
                progress(first + len(rows), len(missing))
        finally:
            self._cache.close()
        return _unit_rows(halves, encoded.indices.to_numpy())


def open_encoder(
    where: str | Path, tokenizer: str | Path | None = None, threads: int = THREADS
) -> Encoder:
    """Open the encoder of a folder or of an installed package.

    `where` is a folder with `model.onnx` or `onnx/model.onnx`, or else the name of an entry point
    of the group `labelwright.encoders`, or of an installed distribution with such files.
    `tokenizer` names the file `tokenizer.json`, a folder or a distribution that has it, if it is
    not beside the model. Raises DataError if there is no such encoder or its files do not fit, and
    LabelwrightError if the packages of the extra `encoder` are not installed.
    """
    if not Path(where).exists() and tokenizer is None:
        packaged = find_packaged_model(str(where), threads)
        if packaged is not None:
            return Encoder(packaged)
    return Encoder(OnnxModel(find_encoder_files(where, tokenizer), threads))


def _embed(model: SentenceModel, texts: Sequence[str]) -> Vectors:
    vectors = model.embed(texts)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise DataError(
            f"the encoder gives an array of shape {vectors.shape} for {len(texts)} texts; expected "
            "one row for each text"
        )
    if not np.isfinite(vectors).all():
        raise DataError("the encoder gives vectors with infinite or undefined values")
    return _unit_length(vectors)


def _unit_rows(halves: Halves, rows: npt.NDArray[np.int32]) -> Vectors:
    """The given rows with float32 components, scaled to unit length again after the rounding."""
    vectors = np.empty((len(rows), halves.shape[1]), np.float32)
    for first in range(0, len(rows), CHUNK):
        part = halves[rows[first : first + CHUNK]].astype(np.float32)
        vectors[first : first + CHUNK] = _unit_length(part)
    return vectors


def _unit_length(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled

"""Sentence models in ONNX files, run by onnxruntime with a tokenizer of the library tokenizers."""

import hashlib
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError, LabelwrightError, first_line
from labelwright.training.teachers.files import EncoderFiles
from labelwright.training.teachers.pooling import Vectors, read_pooling

DEFAULT_TOKENS = 128
"""Maximum number of tokens of a text if the tokenizer declares none: about 100 words. The beginning
of a long text tells most about its labels, and the time grows with the number of tokens."""
MOST_TOKENS = 512
"""Maximum number of tokens that a tokenizer may declare: memory grows with the square of it."""
TOKENS_AT_ONCE = 512
"""Number of tokens in a batch. Larger batches were not faster on two cores."""
Tokens = Sequence[int] | npt.NDArray[np.int64]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_NUMBERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_ROUNDING_ERROR = 1e-4
"""Maximum distance between two vectors of the same text, of unit length."""
_PROBE_TOKENS = 16
"""Number of tokens of the longer text that shows whether vectors depend on the batch."""


class OnnxModel:
    """A sentence model with its tokenizer.

    Some 8-bit models scale the values of a whole batch, so the vector of a text depends on the
    other texts in its batch. Such a model gets one text at a time.
    """

    def __init__(self, files: EncoderFiles, threads: int) -> None:
        self._file = files.model
        self._pool = read_pooling(files.pooling)
        self._tokenizer, most_tokens = _load_tokenizer(files.tokenizer)
        self.identity = _hash(files.contents, most_tokens)
        self._session = _load_session(files.model, threads)
        self._inputs = {each.name: each.type for each in self._session.get_inputs()}
        self._output, self._pooled = self._choose_output()
        self._check_inputs()
        self._tokens_at_once = TOKENS_AT_ONCE if self._is_independent_of_batch() else 1

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector for each text, float32[n, width]; raises DataError if the model fails."""
        # Some tokenizers give no token for an empty text; models cannot read that.
        tokens = [each.ids or [0] for each in self._tokenizer.encode_batch_fast(list(texts))]
        batches = list(_batches(tokens, self._tokens_at_once))
        sorted_vectors = np.concatenate(
            [self._run([tokens[row] for row in batch]) for batch in batches]
        )
        vectors = np.empty_like(sorted_vectors)
        vectors[np.concatenate(batches)] = sorted_vectors
        return vectors

    def _run(self, tokens: Sequence[Tokens]) -> Vectors:
        """The vectors of one batch of texts."""
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        given = dict(zip(_INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))
        inputs = {name: given[name].astype(_NUMBERS[kind]) for name, kind in self._inputs.items()}
        try:
            (output,) = self._session.run([self._output], inputs)
        except Exception as error:  # the errors of onnxruntime have no common base
            raise DataError(
                f"the model {self._file} fails: {first_line(error)}; does the tokenizer belong to "
                "the model?"
            ) from error
        values = np.asarray(output, np.float32)
        return values if self._pooled else self._pool(values, mask)

    def _choose_output(self) -> tuple[str, bool]:
        """The output to use, and whether it has one vector for each text instead of each token."""
        ranks = {each.name: len(each.shape) for each in self._session.get_outputs()}
        if ranks.get("sentence_embedding") == 2:
            return "sentence_embedding", True
        for rank in (3, 2):
            for name, found in ranks.items():
                if found == rank:
                    return name, rank == 2
        raise DataError(
            f"the model {self._file} has no output with vectors of tokens or texts; its outputs "
            f"are {', '.join(ranks)}"
        )

    def _check_inputs(self) -> None:
        for name, kind in self._inputs.items():
            if name not in _INPUTS or kind not in _NUMBERS:
                raise DataError(
                    f"the model {self._file} needs the input {name!r} of the type {kind}; "
                    f"supported are {', '.join(_INPUTS)} as integers"
                )

    def _is_independent_of_batch(self) -> bool:
        """Whether a text has the same vector alone and in a batch.

        Raises DataError if the model does not know the last token of the tokenizer.
        """
        last = self._tokenizer.get_vocab_size(with_added_tokens=False) - 1
        spread = np.linspace(0, last, _PROBE_TOKENS, dtype=np.int64)
        tokens = [spread[:1], spread]
        alone = np.concatenate([self._run([each]) for each in tokens])
        difference = np.linalg.norm(alone - self._run(tokens), axis=1)
        return bool((difference <= _ROUNDING_ERROR * np.linalg.norm(alone, axis=1)).all())


def _load_tokenizer(file: Path) -> tuple[Any, int]:
    """The tokenizer without padding, and the maximum number of tokens of a text."""
    # No threads: they would be lost in child processes, and the model needs far more time.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        tokenizer = _library("tokenizers").Tokenizer.from_file(str(file))
    except LabelwrightError:
        raise
    except Exception as error:
        raise DataError(
            f"{file} is not a tokenizer.json of the library tokenizers: {first_line(error)}"
        ) from error
    declared = (tokenizer.truncation or {}).get("max_length", DEFAULT_TOKENS)
    most_tokens = min(declared, MOST_TOKENS)
    tokenizer.enable_truncation(most_tokens)
    tokenizer.no_padding()
    return tokenizer, most_tokens


def _load_session(file: Path, threads: int) -> Any:
    onnxruntime = _library("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised anyway
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores are shared
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DataError(f"{file} is not an ONNX model that can run: {first_line(error)}") from error


def _library(name: str) -> Any:
    # Both libraries can use a hub of models; labelwright never does.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LabelwrightError(
            f"an encoder needs {error.name}, which is not installed: install "
            "requirements/train.txt, or the extra 'encoder' of labelwright"
        ) from error


def _batches(
    tokens: Sequence[Sequence[int]], tokens_at_once: int
) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of texts of similar length, in batches of at most `tokens_at_once` with padding."""
    lengths = np.array([len(each) for each in tokens])
    order = np.argsort(lengths, kind="stable")
    first = 0
    for row in range(1, len(order)):
        if (row - first + 1) * lengths[order[row]] > tokens_at_once:
            yield order[first:row]
            first = row
    yield order[first:]


def _hash(files: Sequence[Path], most_tokens: int) -> str:
    """SHA-256 of the files and of the limit."""
    digest = hashlib.sha256(str(most_tokens).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()

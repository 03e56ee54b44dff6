"""Sentence models in ONNX files: inputs, outputs, truncation, batches and errors."""

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from labelwright.entities.errors import DataError, LabelwrightError
from labelwright.training.teachers import onnx_model
from labelwright.training.teachers.files import find_encoder_files
from labelwright.training.teachers.onnx_model import DEFAULT_TOKENS, MOST_TOKENS, OnnxModel
from tests.training.teachers.encoders import (
    WORDS,
    vectors_of_words,
    write_encoder,
    write_tokenizer,
)

TEXTS = ["cafe", "museum park", "", "cafe bar museum park school bank hotel", "cafe cafe"]


def opened(folder: Path) -> OnnxModel:
    """The model of a folder, with one thread."""
    return OnnxModel(find_encoder_files(folder), 1)


def expected(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The mean vector of the words of a text; an empty text is the unknown word."""
    ids = [WORDS.index(word) for word in text.split()] or [0]
    return np.asarray(vectors_of_words()[ids].mean(axis=0), np.float32)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
@pytest.mark.parametrize(
    "inputs", [("input_ids",), ("input_ids", "attention_mask", "token_type_ids")]
)
def test_tokens_are_averaged_in_the_order_of_the_texts(
    tmp_path: Path, kind: int, inputs: tuple[str, ...]
) -> None:
    """Texts of any length keep their order; padding does not change their vectors."""
    model = opened(write_encoder(tmp_path, kind=kind, inputs=inputs))
    np.testing.assert_allclose(model.embed(TEXTS), [expected(text) for text in TEXTS], atol=1e-6)


def test_pooled_outputs_are_used_as_they_are(tmp_path: Path) -> None:
    """An output with one vector for each text is not pooled again."""
    model = opened(write_encoder(tmp_path, output="sentence_embedding"))
    vector = model.embed(["cafe bar"])[0]
    np.testing.assert_allclose(vector, 2 * expected("cafe bar"), atol=1e-6)


@pytest.mark.parametrize(
    ("declared", "most"), [(None, DEFAULT_TOKENS), (3, 3), (10_000, MOST_TOKENS)]
)
def test_long_texts_are_truncated(tmp_path: Path, declared: int | None, most: int) -> None:
    """The tokenizer's own limit is used, or a default, and never more than the largest limit."""
    folder = write_encoder(tmp_path)
    write_tokenizer(folder / "tokenizer.json", most=declared)
    text = " ".join(["cafe"] * most + ["bar"] * 1_000)
    vectors = opened(folder).embed([text, "cafe"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_vectors_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    """Models that scale the values of a whole batch get one text at a time; others get many."""
    vectors = vectors_of_words()
    vectors[1:3] /= 50
    batches = {}
    for eight_bit in (False, True):
        folder = tmp_path / str(eight_bit)
        model = opened(write_encoder(folder, eight_bit=eight_bit, vectors=vectors))
        together = model.embed(TEXTS)
        alone = np.concatenate([model.embed([text]) for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-6)
        tokens = [[1], [2, 3, 4]]
        batches[eight_bit] = [
            len(batch) for batch in onnx_model._batches(tokens, model._tokens_at_once)
        ]
    assert batches == {False: [2], True: [1, 1]}


def test_identity_is_a_hash_of_the_files(tmp_path: Path) -> None:
    """The place of the files does not change the identity; the model or the tokenizer does."""
    first, same, other = (write_encoder(tmp_path / name) for name in ("first", "same", "other"))
    write_tokenizer(other / "tokenizer.json", most=64)
    retrained = write_encoder(tmp_path / "retrained", vectors=2 * vectors_of_words())
    pooled = write_encoder(tmp_path / "pooled")
    (pooled / "1_Pooling").mkdir()
    (pooled / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (first / "README.md").write_text("unknown files are ignored")
    identities = [opened(each).identity for each in (first, same, other, retrained, pooled)]
    assert identities[0] == identities[1]
    assert len(set(identities)) == 4


def test_model_file_that_is_not_onnx(tmp_path: Path) -> None:
    """The error names the file."""
    folder = write_encoder(tmp_path)
    for content in (b"", b"version https://git-lfs.github.com/spec/v1", b"\0" * 1_000):
        (folder / "model.onnx").write_bytes(content)
        with pytest.raises(DataError, match=r"model.onnx is not an ONNX model that can run: "):
            opened(folder)


def test_tokenizer_that_is_none(tmp_path: Path) -> None:
    """The error names the file."""
    folder = write_encoder(tmp_path)
    for content in (b"", b"{}", b"\xff\xfe", b'{"model": {"type": "other"}}'):
        (folder / "tokenizer.json").write_bytes(content)
        with pytest.raises(DataError, match=r"tokenizer.json is not a tokenizer.json of the lib"):
            opened(folder)


def test_tokenizer_of_another_model(tmp_path: Path) -> None:
    """A tokenizer with more tokens than the model is found at once, not at the first rare word."""
    folder = write_encoder(tmp_path)
    write_tokenizer(folder / "tokenizer.json", [*WORDS, "a", "b"])
    with pytest.raises(DataError, match="does the tokenizer belong to the model"):
        opened(folder)


def test_models_that_are_no_sentence_encoders(tmp_path: Path) -> None:
    """Unknown inputs and outputs are named."""
    other = write_encoder(tmp_path / "other", inputs=("input_ids", "offsets"))
    with pytest.raises(DataError, match=r"needs the input 'offsets'.*supported are input_ids"):
        opened(other)
    pixels = write_encoder(tmp_path / "pixels", kind=TensorProto.FLOAT)
    with pytest.raises(DataError, match="is not an ONNX model that can run"):
        opened(pixels)


@pytest.mark.parametrize("missing", ["onnxruntime", "tokenizers"])
def test_missing_libraries_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """The error says what to install."""
    folder = write_encoder(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(LabelwrightError, match=rf"needs {missing}.*requirements/train.txt.*'enco"):
        opened(folder)

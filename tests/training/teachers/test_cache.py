"""The cache of embeddings: kills, interrupts, several processes, damage, and its size."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelwright.training.teachers import cache
from labelwright.training.teachers.encoder import Encoder, open_encoder
from tests.processes import PATIENCE, environment
from tests.training.teachers.encoders import write_encoder

TEXTS = [f"cafe {number}" for number in range(2_000)]
EMBED = """
import sys, time
from labelwright.__main__ import interruptible
from labelwright.training.teachers.encoder import open_encoder
encoder = open_encoder(sys.argv[1])
delay = float(sys.argv[2])
with interruptible():
    encoder.embed([f"cafe {n}" for n in range(2_000)], lambda *_: time.sleep(delay))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test alone."""
    monkeypatch.setenv("LABELWRIGHT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of an encoder."""
    return write_encoder(tmp_path / "encoder")


def embedding(folder: Path, home: Path, delay: float) -> subprocess.Popen[bytes]:
    """A process that embeds TEXTS and waits after each chunk."""
    command = [sys.executable, "-c", EMBED, str(folder), str(delay)]
    return subprocess.Popen(command, env=environment(home), stderr=subprocess.DEVNULL)


def segments(home: Path) -> list[Path]:
    """All segments."""
    return sorted(home.glob(f"cache/embeddings/*/*{cache.SUFFIX}"))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def number_missing(encoder: Encoder, texts: list[str]) -> int:
    """Embed texts, and return the number of texts that were not cached."""
    totals = [0]
    encoder.embed(texts, lambda _, total: totals.append(total))
    return totals[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_embedding_keeps_finished_chunks(
    folder: Path, home: Path, number: signal.Signals
) -> None:
    """The next training embeds only the rest."""
    process = embedding(folder, home, 0.5)
    wait_until(lambda: sum(path.stat().st_size for path in segments(home)) > 20_000)
    process.send_signal(number)
    assert process.wait(PATIENCE) != 0
    encoder = open_encoder(folder)
    left = number_missing(encoder, TEXTS)
    assert 0 < left < len(TEXTS)
    assert left % 256 == len(TEXTS) % 256
    assert number_missing(encoder, TEXTS) == 0


def test_processes_that_embed_the_same_texts(folder: Path, home: Path) -> None:
    """Processes that write at the same time neither wait for each other nor lose anything."""
    processes = [embedding(folder, home, 0.5) for _ in range(3)]
    encoder = open_encoder(folder)
    wait_until(lambda: len(segments(home)) > 1)
    reference = encoder.embed(TEXTS)
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
    assert number_missing(encoder, TEXTS) == 0
    np.testing.assert_array_equal(encoder.embed(TEXTS), reference)


def test_any_part_of_a_segment_can_be_read(folder: Path, home: Path) -> None:
    """A segment that ends anywhere gives its complete chunks; the rest is embedded again."""
    encoder = open_encoder(folder)
    reference = encoder.embed(TEXTS)
    (segment,) = segments(home)
    content = segment.read_bytes()
    found = []
    for size in [*range(0, len(content), len(content) // 25), len(content) - 1]:
        segment.write_bytes(content[:size])
        found.append(len(TEXTS) - number_missing(encoder, TEXTS))
        np.testing.assert_array_equal(encoder.embed(TEXTS), reference)
        for path in set(segments(home)) - {segment}:
            path.unlink()
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == len(TEXTS)


def test_damaged_segments(folder: Path, home: Path) -> None:
    """Vectors that a power failure replaced by zeros, and foreign files, are embedded again."""
    encoder = open_encoder(folder)
    reference = encoder.embed(TEXTS)
    (segment,) = segments(home)
    content = segment.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(15):
        damaged = bytearray(content)
        first = int(random.integers(len(content)))
        damaged[first : first + 4096] = bytes(len(damaged[first : first + 4096]))
        segment.write_bytes(damaged)
        np.testing.assert_array_equal(encoder.embed(TEXTS), reference)
        assert number_missing(encoder, TEXTS) == 0
        for path in set(segments(home)) - {segment}:
            path.unlink()
    for foreign in (b"", b"no Arrow", os.urandom(1_000)):
        segment.write_bytes(foreign)
        np.testing.assert_array_equal(encoder.embed(TEXTS[:300]), reference[:300])


def test_size_is_limited(
    tmp_path: Path, home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder that was unused for longest loses its segments first."""
    monkeypatch.setattr(cache, "SEGMENT", 20_000)
    monkeypatch.setattr(cache, "LIMIT", 150_000)
    rare = open_encoder(folder)
    usual = open_encoder(write_encoder(tmp_path / "usual", eight_bit=True))
    rare.embed(TEXTS)
    usual.embed(TEXTS)
    assert number_missing(usual, TEXTS) == 0
    assert 0 < number_missing(rare, TEXTS) < len(TEXTS)
    assert sum(path.stat().st_size for path in segments(home)) <= 150_000
    assert number_missing(rare, TEXTS) == 0


def test_vectors_are_private(folder: Path, home: Path) -> None:
    """Vectors tell much about texts, so no other user may read them."""
    open_encoder(folder).embed(TEXTS[:10])
    assert cache.cache_folder().stat().st_mode & 0o077 == 0


def test_embedding_goes_on_without_a_cache(folder: Path, home: Path) -> None:
    """If the cache cannot be written, there is one warning, and the vectors are right."""
    folder_of_vectors = cache.cache_folder()
    folder_of_vectors.parent.mkdir(parents=True)
    folder_of_vectors.write_text("a file in the place of the folder")
    encoder = open_encoder(folder)
    vectors = encoder.embed(TEXTS)
    (warning,) = encoder.warnings
    assert "embeddings cannot be cached in" in warning
    folder_of_vectors.unlink()
    np.testing.assert_array_equal(open_encoder(folder).embed(TEXTS), vectors)

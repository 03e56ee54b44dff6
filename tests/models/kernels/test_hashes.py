"""Hash values are stored in bundles, files and runs, so they must never change."""

import numpy as np
import pytest

from labelwright.models.kernels.hashes import hash_numbers, mix, mix_strongly, text_hash

HIGH = 2**63 + 5


@pytest.mark.parametrize(
    ("state", "expected"), [((1, 2), 0xDAA66D2AA8EC1D5C), ((HIGH, 97), 0x4DAB8C77D4441B99)]
)
def test_mix_has_the_stored_values(state: tuple[int, int], expected: int) -> None:
    assert int(mix(np.uint64(state[0]), np.uint64(state[1]))) == expected


@pytest.mark.parametrize(
    ("state", "expected"), [((1, 2), 0x1D0B14E4DB018FED), ((HIGH, 97), 0xBDCC3EA7B95FF1E0)]
)
def test_mix_strongly_has_the_stored_values(state: tuple[int, int], expected: int) -> None:
    assert int(mix_strongly(np.uint64(state[0]), np.uint64(state[1]))) == expected


def test_hashes_of_numbers_have_the_stored_values() -> None:
    tokens = np.ones(3, np.uint64)
    bins, missing = np.array([7, 0, 3]), np.array([False, False, True])
    hash_numbers(np.uint64(HIGH), bins[:1], missing[:1], tokens[:1])
    hash_numbers(np.uint64(1), bins[1:], missing[1:], tokens[1:])
    assert tokens.tolist() == [0x5FC5DEB7DE1AFA22, 0xCA009717F87D8879, 0]


def test_hashes_of_texts_have_the_stored_values() -> None:
    assert text_hash("café").hex() == "5777a2bd3192d7e3"

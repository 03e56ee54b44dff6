"""64-bit hash functions.

Their values are stored. Therefore no function of this module may change.

| Function | Used for | Stored in |
|---|---|---|
| `mix` | tokens of text, hashes of names, bins of categories | bundles |
| `hash_numbers` | tokens of numbers | bundles |
| `mix_strongly` | fingerprints of entities, ids made of the content | output files, corrections |
| `text_hash` | seeds of columns, the split into training and test rows | bundles, runs |
"""

import hashlib

import numpy as np
import numpy.typing as npt

from labelwright.models.kernels.jit import compiled

Hashes = npt.NDArray[np.uint64]

# Odd constants of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014); the first is 2^64 / golden ratio.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)


def text_hash(text: str) -> bytes:
    """The BLAKE2b hash of a text, 8 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


@compiled
def mix(state: np.uint64, value: np.uint64) -> np.uint64:
    """One step of a multiply-xorshift hash, which is fast, because it runs for every character."""
    state = (state ^ value) * _GOLDEN
    return state ^ (state >> np.uint64(29))


@compiled
def mix_strongly(state: np.uint64, value: np.uint64) -> np.uint64:
    """One step of a hash in which every input bit affects all output bits.

    It uses the output function of SplitMix64.
    """
    state = (state ^ value) + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST_FACTOR
    state = (state ^ (state >> np.uint64(27))) * _SECOND_FACTOR
    return state ^ (state >> np.uint64(31))


@compiled
def hash_numbers(
    seed: np.uint64,
    bins: npt.NDArray[np.int64],
    missing: npt.NDArray[np.bool_],
    tokens: npt.NDArray[np.uint64],
) -> None:
    """Write a hash of each bin number to `tokens`, or 0 if the value is missing.

    Bin numbers are small, so a second multiplication spreads them over all bits.
    """
    for row in range(bins.size):
        state = mix(seed, np.uint64(bins[row])) * _FIRST_FACTOR
        tokens[row] = np.uint64(0) if missing[row] else state ^ (state >> np.uint64(32))

"""Arrays in memory and in spill files: they differ only in the use of memory."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labelwright.entities.errors import StorageError
from labelwright.entities.schema import EntitySchema
from labelwright.models.bundle.format import content_hash
from labelwright.training.data import read_labelled
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.fitting.spill import SpillingAllocator

if TYPE_CHECKING:
    from tests.conftest import World

QUICK = Configuration(passes=1, trees=5, folds=2)
ROWS = 600


def in_memory(array: np.ndarray) -> bool:
    """Whether an array owns its data; an array in a file does not."""
    return array.flags.owndata


def test_arrays_beyond_the_limit_are_in_files(home: Path) -> None:
    allocator = SpillingAllocator(1_000)
    first, second = allocator.zeros((100,), np.float64), allocator.zeros((26,), np.float64)
    assert in_memory(first)
    assert not in_memory(second)
    for array in (first, second):
        assert not array.any()
        array[:] = 1
        assert array.sum() == len(array)
    del first, array
    gc.collect()
    assert in_memory(allocator.zeros((100,), np.float64))
    assert list(home.iterdir()) == []  # the spill file has no name
    assert not allocator.zeros((0,), np.float64).size


def test_without_a_limit_all_arrays_are_in_memory(home: Path) -> None:
    assert in_memory(SpillingAllocator().zeros((1_000_000,), np.uint8))
    assert not home.exists()


def test_threads_share_one_limit(home: Path) -> None:
    allocator = SpillingAllocator(10 * 8_000)
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(lambda _: allocator.zeros((1_000,), np.float64), range(40)))
    assert sum(map(in_memory, arrays)) == 10


def test_a_full_disk_is_an_error(home: Path) -> None:
    home.parent.mkdir(exist_ok=True)
    free = os.statvfs(home.parent)
    with pytest.raises(StorageError, match=r"no spill file .*: no space is left"):
        SpillingAllocator(0).zeros((10 * free.f_blocks * free.f_frsize,), np.uint8)


@pytest.mark.parametrize("limit", [0, 300_000])
def test_the_model_does_not_depend_on_the_limit(
    world: "World", places: EntitySchema, home: Path, limit: int
) -> None:
    data = read_labelled([world.data], places).take(np.arange(ROWS))
    whole = fit_labeler(data, QUICK)
    assert content_hash(fit_labeler(data, QUICK, memory=limit)) == content_hash(whole)

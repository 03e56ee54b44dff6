"""Every decoder decodes or refuses any bytes, without internal errors."""

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.models.registry import Model, load_model
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import REFUSALS, TARGETS, decode_or_refuse

if TYPE_CHECKING:
    from tests.conftest import World

MUTATIONS = 300


@pytest.fixture(scope="module")
def model(world: "World") -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return load_model(world.uri)


@pytest.mark.parametrize(("name", "seed"), [(n, seed) for n in SEEDS for seed in SEEDS[n]])
def test_seeds_are_decoded(model: Model, name: str, seed: bytes) -> None:
    result = decode_or_refuse(name, model, seed)
    assert not isinstance(result, REFUSALS), result


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300))
def test_random_bytes_are_decoded_or_refused(model: Model, name: str, body: bytes) -> None:
    decode_or_refuse(name, model, body)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_seeds_are_decoded_or_refused(model: Model, name: str) -> None:
    chance = random.Random(7)
    for _ in range(MUTATIONS):
        decode_or_refuse(name, model, mutated(chance.choice(SEEDS[name]), chance))

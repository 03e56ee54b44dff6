"""`python -m labelwright.compile_kernels` compiles every kernel that a command needs."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelwright import models, training
from tests.processes import environment, serving

if TYPE_CHECKING:
    from tests.conftest import World

pytestmark = pytest.mark.integration


def kernels() -> Iterator[str]:
    """Module and name of each compiled function, as Numba names its files."""
    modules = [
        module
        for package in (models, training)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    for module in modules:
        for value in vars(importlib.import_module(module.name)).values():
            function = getattr(value, "py_func", None)
            if function is not None and function.__module__ == module.name:
                yield f"{module.name.rpartition('.')[2]}.{function.__qualname__}"


def compiled(cache: Path) -> set[str]:
    """Module and name of each function that has machine code in a cache folder."""
    return {path.name.rpartition("-")[0] for path in cache.rglob("*.nbi")}


@pytest.mark.timeout(1800)
def test_all_kernels_are_compiled_and_the_service_compiles_no_other(
    world: "World", tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    settings = environment(world.home) | {"NUMBA_CACHE_DIR": str(cache)}
    module = [sys.executable, "-m", "labelwright.compile_kernels"]
    done = subprocess.run(module, env=settings, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert compiled(cache) == set(kernels())

    machine_code = sorted(cache.rglob("*.nbc"))
    with (
        serving("--model", world.uri, environment=settings, folder=tmp_path) as service,
        service.client() as client,
    ):
        request = {"entities": [{"name": "Bar", "lat": 1.0, "lon": 1.0}, {"name": "Café"}]}
        assert client.post("/v1/labels", json=request).status_code == 200
        assert client.post("/v1/labels", json={"entities": [{"name": "Bar"}]}).status_code == 200
    assert sorted(cache.rglob("*.nbc")) == machine_code

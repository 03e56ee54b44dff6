"""Cached machine code is used only if it was compiled from the current sources."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numba
import pytest

from labelwright.models.kernels import jit

NUMBERS = """
from typing import NamedTuple
from models.kernels.jit import compiled

class Pair(NamedTuple):
    first: int
    second: int

@compiled
def together(pair):
    return pair.first + pair.second
"""
CALLER = """
from models.kernels.jit import compiled
from models import numbers

@compiled
def total(pair):
    return numbers.together(pair)

print(total(numbers.{}(3, 4)), len(total.stats.cache_hits))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of a package `models` that contains only the module `kernels.jit`."""
    folder = tmp_path / "models"
    (folder / "kernels").mkdir(parents=True)
    shutil.copy(jit.__file__, folder / "kernels")
    return folder


def test_a_change_in_another_module_of_models_invalidates_machine_code(package: Path) -> None:
    write(package, NUMBERS, CALLER.format("Pair"))
    assert printed(package) == (7, 0)
    assert printed(package) == (7, 1)
    write(package, NUMBERS.replace("+", "*"), CALLER.format("Pair"))
    assert printed(package) == (12, 0)


def test_machine_code_for_a_type_that_was_removed_is_ignored(package: Path) -> None:
    write(package, NUMBERS, CALLER.format("Pair"))
    assert printed(package) == (7, 0)
    write(package, NUMBERS.replace("Pair", "Couple"), CALLER.format("Couple"))
    assert printed(package) == (7, 0)


def test_machine_code_does_not_depend_on_the_time_stamps_of_the_sources(package: Path) -> None:
    write(package, NUMBERS, CALLER.format("Pair"))
    assert printed(package) == (7, 0)
    for source in package.rglob("*.py"):
        os.utime(source, (0, 0))
    assert printed(package) == (7, 1)


def test_a_change_in_a_module_outside_models_invalidates_its_machine_code(package: Path) -> None:
    outside = """
from models.kernels.jit import compiled

@compiled
def number():
    return FACTOR * 2

print(number(), len(number.stats.cache_hits))
"""
    for factor, found in ((3, 0), (3, 1), (4, 0)):
        source = outside.replace("FACTOR", str(factor))
        (package.parent / "outside.py").write_text(source, "utf-8")
        assert printed(package, "outside") == (2 * factor, found)


def test_numba_still_has_the_private_names_that_are_used() -> None:
    """If this fails with a new version of Numba, adapt models/kernels/jit.py to it."""
    found: Any = numba.njit(lambda: 0)
    found.enable_caching()
    for name in jit.PRIVATE_NAMES:
        assert hasattr(found, name), missing(name, found)
        found = getattr(found, name)
    for name in jit.PRIVATE_NAMES_OF_CACHE_FILE:
        assert hasattr(found, name), missing(name, found)


def missing(name: str, owner: object) -> str:
    return (
        f"Numba {numba.__version__} has no {type(owner).__name__}.{name}: keep Numba below this "
        "version in pyproject.toml, or adapt models/kernels/jit.py"
    )


def test_pyproject_excludes_the_next_minor_version_of_numba() -> None:
    major, minor = map(int, numba.__version__.split(".")[:2])
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))
    [needed] = [name for name in project["project"]["dependencies"] if name.startswith("numba")]
    assert f"<{major}.{minor + 1}" in needed


def write(package: Path, numbers: str, caller: str) -> None:
    """Write the modules `numbers` and `caller`; `caller` calls the kernel of `numbers`."""
    (package / "numbers.py").write_text(numbers, "utf-8")
    (package / "caller.py").write_text(caller, "utf-8")


def printed(package: Path, module: str = "models.caller") -> tuple[int, int]:
    """Run a module in a new process.

    Returns the result that it prints, and the number of kernels it found in the cache on disk.
    """
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=package.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total, found = map(int, done.stdout.split())
    return total, found

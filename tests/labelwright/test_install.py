"""What is installed: a wheel that works beside anything, and artifacts that hold no code."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from mlflow.models import Model

from tests.processes import environment

if TYPE_CHECKING:
    from tests.conftest import World

ROOT = Path(__file__).parents[2]
ROOMS = ("entities", "models", "service", "training")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    bring_machine_code(folder)
    return folder


def python(*arguments: object, folder: Path | None = None) -> None:
    """Run this Python."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def bring_machine_code(folder: Path) -> None:
    """Take the kernels that are compiled already; Numba compares times before it uses them."""
    for source in (ROOT / "models").rglob("*.py"):
        times, copy = source.stat(), folder / "labelwright" / source.relative_to(ROOT)
        os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    for code in (ROOT / "models").rglob("*.nb[ci]"):
        shutil.copy(code, folder / "labelwright" / code.relative_to(ROOT))


def test_the_only_top_level_entry_of_the_wheel_is_labelwright(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    (metadata,) = {name.split("/")[0] for name in names} - {"labelwright"}
    assert re.fullmatch(r"labelwright-[\d.]+\.dist-info", metadata)
    assert not [name for name in names if {"tests", "__pycache__"} & set(name.split("/"))]
    for room in ROOMS:
        assert f"labelwright/{room}/__init__.py" in names
    data = {"entities/schemas/places.toml", "entities/data/brands.parquet"}
    assert {f"labelwright/{name}" for name in data} <= set(names)
    assert {f"{metadata}/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= set(names)


def test_the_wheel_cannot_be_uploaded_to_an_index(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (name,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(content.read(name))
    assert "Private :: Do Not Upload" in metadata.get_all("Classifier", [])


def test_the_wheel_is_typed_as_its_classifier_says(wheel: Path) -> None:
    assert "labelwright/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_installed_command_works_beside_foreign_packages_of_the_same_names(
    installed: Path, world: "World", tmp_path: Path
) -> None:
    for name in ROOMS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('foreign')\n")
    rows = pq.read_table(world.data).slice(0, 10)
    pq.write_table(rows, tmp_path / "in.parquet")
    settings = {**environment(tmp_path / "home"), "PYTHONPATH": str(installed)}

    script = installed / "bin" / "labelwright"
    label = [str(script), "label", "in.parquet", "out.parquet", "--model", str(world.bundle)]
    done = subprocess.run(
        label, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "10 rows -> out.parquet\n")
    assert pq.read_table(tmp_path / "out.parquet")["id"].equals(rows["id"])

    here = [sys.executable, "-c", "import labelwright; labelwright.load"]
    subprocess.run(here, env=settings, cwd=tmp_path, check=True)


def test_a_checkout_lets_nothing_but_labelwright_be_imported(tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([u.find_spec(room) for room in {ROOMS}])"
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == str([None] * len(ROOMS))


def test_a_registered_artifact_holds_no_code_and_names_only_our_loader(world: "World") -> None:
    (description,) = world.home.glob("artifacts/models/**/MLmodel")
    suffixes = {path.suffix for path in description.parent.glob("**/*") if path.is_file()}
    assert suffixes <= {"", ".json", ".npy", ".txt", ".yaml"}
    flavors = Model.load(str(description)).flavors
    assert set(flavors) == {"python_function"}
    assert flavors["python_function"]["loader_module"] == "labelwright.flavor"
    for place_of_code in ("code", "python_model", "model_code_path"):
        assert not flavors["python_function"].get(place_of_code)
    text = description.read_text("utf-8")
    assert "pickle" not in text
    required = (description.parent / "requirements.txt").read_text("utf-8").split()
    assert {line.partition("==")[0] for line in required} <= {"labelwright", "mlflow"}

"""The wheel, its installation beside packages of the same names, and files of registered models."""

import email
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

from labelwright.training.tracking.environment import find_wheel
from tests.conftest import ROOT
from tests.processes import environment

if TYPE_CHECKING:
    from tests.conftest import World

ROOMS = ("entities", "models", "service", "training")


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel of this checkout."""
    found = find_wheel()
    assert found.path is not None, found.warnings
    return found.path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and the compiled kernels of this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True)
    for code in (ROOT / "models").rglob("*.nb[ci]"):
        copy = folder / "labelwright" / code.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(code, copy)
    return folder


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


def test_only_labelwright_can_be_imported_from_a_checkout(tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([u.find_spec(room) for room in {ROOMS}])"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == str([None] * len(ROOMS))


def test_a_registered_model_is_data_beside_one_wheel(world: "World", wheel: Path) -> None:
    """So MLflow loads it with the installed package, and imports nothing from its artifacts."""
    (description,) = world.home.glob("artifacts/models/**/MLmodel")
    files = [path for path in description.parent.rglob("*") if path.is_file()]
    (stored,) = (path for path in files if path.suffix == ".whl")
    assert stored.parent == description.parent / "wheels"
    assert stored.read_bytes() == wheel.read_bytes()
    assert {path.suffix for path in files} - {".whl"} <= {"", ".json", ".npy", ".txt", ".yaml"}
    assert (description.parent / "data" / "bundle" / "manifest.json").exists()
    assert not list(world.home.glob("artifacts/**/*.p[ky]*"))
    flavors = Model.load(str(description)).flavors
    assert set(flavors) == {"python_function"}
    assert flavors["python_function"]["loader_module"] == "labelwright.flavor"
    for code_setting in ("code", "python_model", "model_code_path"):
        assert not flavors["python_function"].get(code_setting)
    assert "pickle" not in description.read_text("utf-8")

"""The environment of a registered model: the wheel of the running code, and pinned packages."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.models import Model

from labelwright.training.tracking import environment
from labelwright.training.tracking.environment import (
    PortableFlavor,
    find_wheel,
    wheel_folder,
    write_environment,
)
from tests.conftest import ROOT


@pytest.fixture
def wheel() -> Path:
    """The wheel of this checkout, from the installation that runs the tests."""
    found = find_wheel()
    assert found.path is not None, found.warnings
    return found.path


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel folder of an installation without a wheel."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "installation"))
    folder = wheel_folder()
    folder.mkdir(parents=True)
    return folder


def copy_wheel(wheel: Path, folder: Path, **changed: bytes) -> None:
    """Copy a wheel, with changes to some of its files in `labelwright/`."""
    with (
        zipfile.ZipFile(wheel) as source,
        zipfile.ZipFile(folder / wheel.name, "w") as copy,
    ):
        for name in source.namelist():
            module = name.removeprefix("labelwright/").removesuffix(".py")
            copy.writestr(name, changed.get(module, source.read(name)))


def joined(requirements: str) -> list[str]:
    """The requirements of a file, each as one line, without comments."""
    lines = requirements.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if not line.startswith("#")]


def test_the_wheel_of_the_running_code_is_found_without_a_warning(
    wheel: Path, installation: Path
) -> None:
    shutil.copy(wheel, installation)
    assert find_wheel() == environment.FoundWheel(installation / wheel.name)


def test_a_missing_wheel_is_a_warning_that_names_the_folder_and_the_next_step(
    installation: Path,
) -> None:
    found = find_wheel()
    assert found.path is None
    (warning,) = found.warnings
    assert str(installation) in warning
    assert "make install" in warning


@pytest.mark.parametrize("content", [b"", b"print('other code')\n"])
def test_a_wheel_of_other_code_is_not_used_and_the_warning_names_a_file(
    wheel: Path, installation: Path, content: bytes
) -> None:
    copy_wheel(wheel, installation, api=content)
    found = find_wheel()
    assert found.path is None
    (warning,) = found.warnings
    assert "labelwright/api.py" in warning


@pytest.mark.parametrize("size", [0, 1_000, 1_000_000])
def test_a_damaged_wheel_is_a_warning(wheel: Path, installation: Path, size: int) -> None:
    (installation / wheel.name).write_bytes(wheel.read_bytes()[:size])
    found = find_wheel()
    assert found.path is None
    (warning,) = found.warnings
    assert "damaged" in warning


def test_a_wheel_of_another_version_is_not_used(wheel: Path, installation: Path) -> None:
    shutil.copy(wheel, installation / wheel.name.replace("0.1.0", "0.0.9"))
    assert find_wheel().path is None


def test_all_requirements_have_hashes_and_the_wheel_is_required_by_its_path(
    wheel: Path, tmp_path: Path
) -> None:
    write_environment(tmp_path, wheel)
    first, *others = joined((tmp_path / "requirements.txt").read_text("utf-8"))
    path, _, digest = first.partition(" --hash=sha256:")
    assert path.startswith("./")
    assert hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() == digest
    assert (tmp_path / path).read_bytes() == wheel.read_bytes()
    assert others == joined((ROOT / "requirements" / "serve.txt").read_text("utf-8"))
    assert all("==" in line and "--hash=sha256:" in line for line in others)
    assert not any(line.startswith("labelwright") for line in others)


def test_every_environment_manager_gets_the_same_requirements(wheel: Path, tmp_path: Path) -> None:
    write_environment(tmp_path, wheel)
    python_env = yaml.safe_load((tmp_path / "python_env.yaml").read_text("utf-8"))
    assert python_env["dependencies"] == ["-r requirements.txt"]
    assert not python_env.get("build_dependencies")  # all packages are wheels: nothing is built
    conda_env = yaml.safe_load((tmp_path / "conda.yaml").read_text("utf-8"))
    (packages,) = (each["pip"] for each in conda_env["dependencies"] if isinstance(each, dict))
    assert packages == joined((tmp_path / "requirements.txt").read_text("utf-8"))


def test_without_a_wheel_labelwright_is_not_a_requirement(tmp_path: Path) -> None:
    write_environment(tmp_path, None)
    lines = joined((tmp_path / "requirements.txt").read_text("utf-8"))
    assert lines == joined((ROOT / "requirements" / "serve.txt").read_text("utf-8"))


def test_the_uv_project_of_the_working_folder_is_not_stored(
    bundle: Path, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With this project, MLflow would ignore the requirements when it rebuilds the environment."""
    project, model = tmp_path / "project", tmp_path / "model"
    project.mkdir()
    (project / "pyproject.toml").write_text("[project]\nname = 'other'\nversion = '1'\n", "utf-8")
    (project / "uv.lock").write_text("version = 1\n", "utf-8")
    monkeypatch.chdir(project)
    PortableFlavor(wheel).save_model(
        str(model), Model(), loader_module="labelwright.flavor", data_path=str(bundle)
    )
    assert not {"uv.lock", "pyproject.toml"} & {path.name for path in model.iterdir()}
    predictions = mlflow.pyfunc.load_model(str(model)).predict(pd.DataFrame({"name": ["Bar"]}))
    assert predictions["labels"][0]


def test_the_time_and_the_folder_of_a_build_do_not_change_the_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    parts = ("labelwright", "entities", "models", "service", "training", "requirements")
    for name in parts:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=ignore)
    for name in ("LICENSE", "NOTICE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    for path in checkout.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, str(tmp_path)], cwd=checkout, capture_output=True, check=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()

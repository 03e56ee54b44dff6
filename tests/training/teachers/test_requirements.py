"""Pinned packages: training can run encoders, the service cannot."""

import pytest

from tests.conftest import ROOT

LIBRARIES = {"onnxruntime", "tokenizers"}


@pytest.mark.parametrize(
    ("name", "expected"), [("train", LIBRARIES), ("dev", LIBRARIES), ("serve", set())]
)
def test_libraries_of_encoders(name: str, expected: set[str]) -> None:
    """`make install` installs them, the image of the service has none; no file names PyTorch."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    assert pinned & {*LIBRARIES, "torch", "sentence-transformers", "transformers"} == expected

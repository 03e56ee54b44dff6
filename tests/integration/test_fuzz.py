"""A short run of `make fuzz`, and Schemathesis on the OpenAPI document of a loaded model."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from labelwright.models.bundle.format import MANIFEST
from tests.fuzz.targets import TARGETS
from tests.processes import Service

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.integration

INPUTS = 8_000
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"


def test_hostile_input_has_no_findings(world: "World", tmp_path: Path) -> None:
    (manifest,) = world.home.glob(f"artifacts/**/bundle/{MANIFEST}")
    page = tmp_path / "fuzz.md"
    options = ("--inputs", str(INPUTS), "--bundle", str(manifest.parent), "--output", str(page))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert page.read_text("utf-8").count("| nothing |") == len(TARGETS) + 2  # and bundles, HTTP


def test_the_service_conforms_to_its_openapi_document(service: Service, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text('[parameters]\n"path.name" = "small"\n"path.number" = "1"\n', "utf-8")
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings)),
            *("run", f"{service.url}/openapi.json", "--checks", CHECKS, "--max-examples", "50"),
            *("--phases", "examples,fuzzing", "--no-color", "--generation-deterministic"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5_000:]
    assert "Traceback" not in service.log.read_text()

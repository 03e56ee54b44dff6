"""Runs the commands of the tutorial in order, on the extract that the tutorial uses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs.pages import ROOT, blocks
from tests.processes import Service, environment, serving

EXTRACTS = Path(os.environ.get("LABELWRIGHT_DATA", "../shared/data")).resolve() / "osm/extracts"
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
SERVE = "labelwright serve"
PATIENCE = 900.0

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not EXTRACTS.exists(), reason=f"no real extracts at {EXTRACTS}: set LABELWRIGHT_DATA"
    ),
    pytest.mark.skipif(not shutil.which("curl"), reason="the tutorial asks with curl"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with the two extracts that the tutorial uses."""
    shutil.copy(EXTRACTS / "porto.osm.pbf", tmp_path / "city.osm.pbf")
    shutil.copy(EXTRACTS / "monaco.osm.pbf", tmp_path / "elsewhere.osm.pbf")
    return tmp_path


def test_the_tutorial_goes_from_an_extract_to_a_model_that_learns(workspace: Path) -> None:
    settings = environment(workspace / "home")
    settings["PATH"] = f"{Path(sys.executable).parent}:{settings['PATH']}"
    typed = blocks(TUTORIAL, "sh")
    begin = next(place for place, block in enumerate(typed) if block.startswith(SERVE))
    output = "".join(_run(block, workspace, settings) for block in typed[:begin])
    assert (workspace / "labelled.parquet").exists()
    for line in ("3,364 places, 3,364 of them labelled -> places.parquet", 'name "Farmácia"'):
        assert line in output
        assert line in TUTORIAL
    options = typed[begin].removeprefix(SERVE).split()
    with serving(*options, environment=settings, folder=workspace) as service:
        output = "".join(_run(block, workspace, settings, service) for block in typed[begin + 1 :])
        assert "1 corrections\n" in output
        assert "champion promoted: " in output
        assert '"version":"2"' in output
        assert "verdicts on 1 corrected entities learned from" in output
        assert httpx.get(service.url).status_code == 200  # the web page


@pytest.mark.parametrize("town", ["helsinki", "liechtenstein", "malta", "monaco"])
def test_a_retraining_with_a_correction_is_promoted_in_every_town(
    town: str, tmp_path: Path
) -> None:
    settings = environment(tmp_path / "home")
    settings["PATH"] = f"{Path(sys.executable).parent}:{settings['PATH']}"
    shutil.copy(EXTRACTS / f"{town}.osm.pbf", tmp_path / "city.osm.pbf")
    typed = blocks(TUTORIAL, "sh")
    begin = next(place for place, block in enumerate(typed) if block.startswith(SERVE))
    for block in typed[:2]:  # import and train
        _run(block, tmp_path, settings)
    with serving(
        *typed[begin].removeprefix(SERVE).split(), environment=settings, folder=tmp_path
    ) as service:
        later = [
            block.replace("amenity=pharmacy", "amenity=restaurant")  # every town has restaurants
            for block in typed[begin + 1 :]
            if "feedback" in block
        ]
        output = "".join(_run(block, tmp_path, settings, service) for block in later)
    assert "verdicts on 1 corrected entities learned from" in output
    assert "champion promoted: " in output


def _run(
    block: str, workspace: Path, settings: dict[str, str], service: Service | None = None
) -> str:
    """Run a block of commands and return their output; each must succeed."""
    if service:
        block = block.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace("curl -s ", "curl -sf ")],
        cwd=workspace,
        env=settings,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout

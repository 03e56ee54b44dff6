"""The command `doctor`: its findings in a working installation and in broken ones."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import labelwright
from labelwright import checks, processors
from labelwright.checks import PYTHONS, Finding, ModelCost, Result, Status, model_cost
from labelwright.commands import doctor
from labelwright.entities.errors import LabelwrightError
from labelwright.models.labeler import Labeler

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

ROOT = Path(labelwright.__file__).parents[1]
BEFORE_MODELS = ("python", "labelwright", "numpy", "lightgbm", "scikit-learn", "libgomp", "threads")


@pytest.fixture
def here(world: "World", monkeypatch: pytest.MonkeyPatch) -> "World":
    """The shared world in the environment of this process."""
    monkeypatch.setenv("LABELWRIGHT_HOME", str(world.home))
    return world


def run(*arguments: str) -> None:
    """Run the command as the command line does."""
    parser = ArgumentParser()
    doctor.configure(parser)
    doctor.run(parser.parse_args(arguments))


def found(model: str | None = None) -> dict[str, Finding]:
    """All findings by the name of the check."""
    return {finding.what: finding for finding in checks.run_checks(model)}


def without_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the check of a model, which starts a new process, by a fixed result."""
    cost = ModelCost(labels=3, size=2_000_000, seconds=1.0, memory=150_000_000)
    monkeypatch.setattr(checks, "_model", lambda uri: Result(Status.OK, str(cost)))


def test_all_checks_pass_in_a_working_installation(
    here: "World", labeler: Labeler, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--json")
    *lines, last = capsys.readouterr().out.splitlines()
    findings: list[dict[str, Any]] = json.loads(last)
    assert len(lines) == len(findings)
    assert all(line.split()[0] in ("ok", "warn") for line in lines)
    by_name = {finding["what"]: finding for finding in findings}
    for what in (*BEFORE_MODELS, "numba cache", "state folder", "registry", "champions"):
        assert by_name[what]["status"] in ("ok", "warn"), by_name[what]
    assert by_name["champions"]["finding"] == "small"
    model = by_name["models:/small@champion"]["finding"]
    assert f"{len(labeler.labels):,} labels" in model
    memory = int(model.split(" MB of memory")[0].rsplit(" ", 1)[1])
    assert 40 < memory < 2_000, "the libraries and a small model take a few hundred MB"


def test_other_checks_still_run_if_the_registry_and_the_state_folder_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("LABELWRIGHT_HOME", str(file / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("importlib.metadata.version", lambda name: 1 / 0)
    with pytest.raises(LabelwrightError) as caught:
        run("--model", str(tmp_path / "nothing"))
    words = str(caught.value)
    out = capsys.readouterr().out
    failed = [line for line in out.splitlines() if line.startswith("fail")]
    assert [line.split(": ")[0].split(maxsplit=1)[1] for line in failed] == [
        *("labelwright", "state folder", "registry"),
        str(tmp_path / "nothing"),
    ]
    assert all(what in words for what in ("labelwright", "state folder", "registry", "nothing"))
    assert "ZeroDivisionError" in failed[0]
    assert "LABELWRIGHT_HOME" in failed[1]
    assert "http://127.0.0.1:9" in failed[2]
    assert "MLFLOW_TRACKING_URI" in failed[2]
    assert "no bundle at" in failed[3]
    assert all("; " in line for line in failed), "every failure names the next step"
    assert "\nok    libgomp" in out


def test_a_new_installation_has_no_state_and_doctor_creates_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = found()
    assert all(finding.status is not Status.FAIL for finding in findings.values())
    assert "does not exist yet" in findings["state folder"].finding
    assert "no database yet" in findings["registry"].finding
    assert findings["champions"].status is Status.WARN
    assert "train" in findings["champions"].remedy
    assert not home.exists()


def test_a_corrupt_bundle_is_a_failure(
    here: "World", labeler: Labeler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelwright.models.bundle.format import write_bundle

    folder = tmp_path / "bundle"
    write_bundle(labeler, folder, "0", {})
    assert model_cost(str(folder)).labels == len(labeler.labels)
    on_disk = sum(file.stat().st_size for file in folder.iterdir())
    assert model_cost(str(folder)).size == pytest.approx(on_disk, rel=0.1)
    with (folder / "reranker.txt").open("a") as trees:
        trees.write(" ")
    with pytest.raises(LabelwrightError, match=r"reranker\.txt is corrupt"):
        model_cost(str(folder))


def test_a_run_whose_process_was_killed_is_a_warning(
    empty_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_models(monkeypatch)
    assert found()["runs"].status is Status.OK
    die = "run = runs.active_run(runs.experiment_id_of('m')); run.__enter__(); os._exit(1)"
    subprocess.run(
        [sys.executable, "-c", f"import os; from labelwright.training.tracking import runs; {die}"],
        env={**os.environ, "LABELWRIGHT_HOME": str(empty_world)},
    )
    finding = found()["runs"]
    assert finding.status is Status.WARN
    assert "of 'm'" in finding.finding
    assert "`labelwright prune NAME`" in finding.remedy


def test_supported_python_versions_are_those_of_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest, newest) = PYTHONS
    assert project["requires-python"] == f">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"
    monkeypatch.setattr(sys, "version_info", (3, 15, 0, "final", 0))
    finding = next(iter(checks.run_checks()))
    assert finding.status is Status.FAIL
    assert finding.remedy == "install labelwright with Python 3.11 to 3.14"


def test_missing_libraries_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_models(monkeypatch)
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    def no_sklearn(name: str, package: str | None = None) -> Any:
        return None if name == "sklearn" else find_spec(name, package)

    find_spec = checks.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr("importlib.util.find_spec", no_sklearn)

    def no_library(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", no_library)
    findings = found()
    assert findings["uvicorn"].status is Status.FAIL
    assert findings["libgomp"].status is Status.FAIL
    assert "libgomp1" in findings["libgomp"].remedy
    assert findings["scikit-learn"].status is Status.WARN
    assert "requirements/train.txt" in findings["scikit-learn"].remedy
    assert findings["numpy"].status is Status.OK


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root can write everywhere"
)
def test_a_read_only_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    code = "from labelwright import checks as c; print(c._write_refusal(c.Path({!r})))"
    command = [sys.executable, "-c", code.format(str(closed))]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cannot be written to (Permission denied)"


def test_threads_are_limited_by_the_control_group(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    without_models(monkeypatch)
    monkeypatch.setattr(processors, "granted_cpus", lambda: 0.5)
    monkeypatch.setattr(processors, "allowed", lambda: 4)
    assert found()["threads"] == Finding(
        "threads", Status.OK, "1 of 4, limited by the control group", ""
    )


def test_compiled_kernels_of_all_folders_are_counted(
    monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    without_models(monkeypatch)
    for number, name in enumerate(("features", "stages"), 1):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        for kernel in range(number):
            (folder / f"kernel{kernel}.nbi").touch()
    folders = sorted((tmp_path / "cache").iterdir())
    monkeypatch.setattr("labelwright.models.kernels.jit.cache_folders", lambda: folders)
    cache = found()["numba cache"]
    assert cache.status is Status.OK
    assert cache.finding == f"3 compiled kernels in 2 folders of {tmp_path / 'cache'}"
    monkeypatch.setattr("labelwright.models.kernels.jit.cache_folders", list)
    assert found()["numba cache"].status is Status.FAIL


def test_an_unused_numba_cache_folder_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    without_models(monkeypatch)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "elsewhere"))
    cache = found()["numba cache"]
    assert cache.status is Status.WARN
    assert "compiled kernels in " in cache.finding
    assert "NUMBA_CACHE_DIR" in cache.finding


def test_low_disk_space_is_a_warning(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    without_models(monkeypatch)
    full = shutil.disk_usage(home.parent)._replace(free=5_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    state = found()["state folder"]
    assert state.status is Status.WARN
    assert "5 MB free" in state.finding
    assert "prune" in state.remedy

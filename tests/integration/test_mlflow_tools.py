"""Tests that MLflow's scoring server and evaluation give the labels of the service."""

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.environments import ROOT, interpreter
from labelwright.models.mlflow_server import connect
from tests.conftest import BRANDS
from tests.processes import HOST, PATIENCE, await_ready, environment, free_port, serving, spawn

pytest_plugins = ["tests.worlds"]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

URI = "models:/m@champion"
ROWS = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A separate state folder, because an evaluation writes runs."""
    folder = tmp_path_factory.mktemp("tools")
    pq.write_table(pq.read_table(BRANDS).slice(0, ROWS), folder / "rows.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        data = ("--data", folder / "rows.parquet", "--name", "m")
        result = spawn("train", *data, environment=environment(folder))
        assert result.code == 0, result.err
        yield folder


@pytest.fixture(scope="module")
def frame(home: Path) -> pd.DataFrame:
    """Rows as a pandas frame, with coordinates and tags."""
    rows: pd.DataFrame = pq.read_table(home / "rows.parquet").slice(0, 100).to_pandas()
    number = np.arange(len(rows))
    points = {"lat": number % 90 - 45.5, "lon": number % 180 - 90.25}
    tags: list[Any] = [{"fee": "no"} if n % 2 else {} for n in number]
    return rows.assign(**points, tags=tags)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON."""
    found: list[dict[str, Any]] = json.loads(frame.drop(columns="labels").to_json(orient="records"))
    return [{k: v for k, v in row.items() if v is not None} for row in found]


Predictions = list[list[dict[str, Any]]]


@pytest.fixture(scope="module")
def expected(home: Path, frame: pd.DataFrame) -> Predictions:
    """Labels from the HTTP service."""
    settings = environment(home)
    with (
        serving("--model", URI, environment=settings, folder=home) as service,
        service.client() as client,
    ):
        response = client.post("/v1/labels", json={"entities": records(frame)})
    return [result["labels"] for result in response.json()["results"]]


def agree(found: Predictions, expected: Predictions) -> None:
    """Assert equal labels, order and assertions, and probabilities within 1e-6."""
    assert len(found) == len(expected)
    for labels, others in zip(found, expected, strict=True):
        assert [(a["label"], a["asserted"]) for a in labels] == [
            (b["label"], b["asserted"]) for b in others
        ]
        for mine, other in zip(labels, others, strict=True):
            assert mine["probability"] == pytest.approx(other["probability"], abs=1e-6)


@contextlib.contextmanager
def scoring_server(
    home: Path, folder: Path, settings: dict[str, str], manager: str
) -> Iterator[str]:
    """Run `mlflow models serve` in the working folder `folder`; yields its URL when it is ready."""
    port, log = free_port(), home / "mlflow_serve.log"
    options = ("-m", URI, "--env-manager", manager, "--host", HOST, "--port", str(port))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", *options],
            env=settings,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await_ready(f"http://{HOST}:{port}/ping", lambda: process.poll() is None)
        yield f"http://{HOST}:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)


def mlflow_settings(home: Path, *programs: Path) -> dict[str, str]:
    """Environment variables for MLflow's commands; `programs` are folders to put on the path."""
    settings = {**environment(home), "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    return settings | {"PATH": os.pathsep.join([*map(str, programs), settings["PATH"]])}


@pytest.fixture(scope="module")
def mlflow_server(home: Path) -> Iterator[str]:
    """URL of `mlflow models serve` in the environment of the tests."""
    settings = mlflow_settings(home, Path(sys.executable).parent)
    with scoring_server(home, home, settings, "local") as url:
        yield url


def uv_folder() -> Path:
    """The folder of a pinned uv."""
    requirements = Path(__file__).parent / "requirements"
    return Path(interpreter("uv", ROOT / "build" / "environments", requirements)).parent


def need_pyenv() -> None:
    """Skip the test unless pyenv has this Python: MLflow's `virtualenv` manager needs both."""
    listed = ["pyenv", "versions", "--bare"]
    if shutil.which("pyenv") is None:
        pytest.skip("this test needs pyenv")
    versions = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    if platform.python_version() not in versions:
        pytest.skip(f"this test needs Python {platform.python_version()} in pyenv")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("manager", ["uv", "virtualenv"])
def test_the_mlflow_server_rebuilds_its_environment_from_the_registry_alone(
    manager: str, home: Path, frame: pd.DataFrame, expected: Predictions, tmp_path: Path
) -> None:
    """The working folder has packages with the names of our folders, which must not be imported."""
    if manager == "virtualenv":
        need_pyenv()
    settings = mlflow_settings(home, uv_folder()) | {"MLFLOW_ENV_ROOT": str(tmp_path / "envs")}
    decoys = tmp_path / "decoys"
    for name in ("entities", "models", "service", "training"):
        (decoys / name).mkdir(parents=True)
        (decoys / name / "__init__.py").write_text("raise ImportError('decoy')\n", "utf-8")
    prepare = [sys.executable, "-m", "mlflow", "models", "prepare-env", "-m", URI]
    done = subprocess.run(
        [*prepare, "--env-manager", manager],
        env=settings,
        cwd=decoys,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    (package,) = (tmp_path / "envs").glob("*/lib/python*/site-packages/labelwright")
    assert not package.is_symlink()

    with scoring_server(home, decoys, settings, manager) as url:
        request = {"dataframe_records": records(frame)}
        response = httpx.post(url, json=request, timeout=60)
    agree([row["labels"] for row in response.json()["predictions"]], expected)


def test_the_mlflow_server_agrees_with_the_service(
    mlflow_server: str, frame: pd.DataFrame, expected: Predictions
) -> None:
    request = {"dataframe_records": records(frame)}
    predictions = httpx.post(mlflow_server, json=request, timeout=60).json()["predictions"]
    assert [row["id"] for row in predictions] == frame["id"].tolist()
    agree([row["labels"] for row in predictions], expected)
    fewer = httpx.post(mlflow_server, json=request | {"params": {"top_k": 1}}, timeout=60).json()
    for row, labels in zip(fewer["predictions"], expected, strict=True):
        agree([row["labels"]], [labels[:1] + [each for each in labels[1:] if each["asserted"]]])


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ({"dataframe_records": [{"name": 5}]}, "column 'name' holds int64"),
        ({"dataframe_records": [{"name": "Bar", "lat": "x", "lon": 1}]}, "lat: must be a number"),
        ({"dataframe_records": [{"name": "Bar", "lat": 200, "lon": 1}]}, "lat: must lie between"),
        ({"dataframe_records": [{"name": "Bar"}], "params": {"top_k": "1"}}, "top_k"),
        ({"dataframe_records": [{"name": "Bar"}], "params": {"policy": "x"}}, "unknown policy"),
        ({"rows": [{"name": "Bar"}]}, "The input must be a JSON dictionary"),
    ],
    ids=str,
)
def test_the_mlflow_server_explains_why_it_refuses_a_request(
    mlflow_server: str, request_body: dict[str, Any], message: str
) -> None:
    response = httpx.post(mlflow_server, json=request_body, timeout=60)
    assert response.status_code == 400
    assert message in response.json()["message"]
    assert "stack_trace" not in response.json()


def test_mlflow_evaluates_the_labels_of_the_service(
    home: Path, frame: pd.DataFrame, expected: Predictions
) -> None:
    evaluated: list[Predictions] = []

    def hits(predictions: "pd.Series[Any]", targets: "pd.Series[Any]") -> float:
        evaluated.append(predictions.tolist())
        first = (labels[0]["label"] for labels in predictions)
        return float(np.mean([a in b for a, b in zip(first, targets, strict=True)]))

    data = frame.rename(columns={"labels": "truth"})
    with connect():
        mlflow.create_experiment("evaluations", (home / "evaluations").as_uri())
        mlflow.set_experiment("evaluations")
        tools: Any = mlflow.models  # these functions have no types
        metric = tools.make_metric(eval_fn=hits, greater_is_better=True, name="p_at_1")
        found = tools.evaluate(
            URI, data, targets="truth", predictions="labels", extra_metrics=[metric]
        )
    agree(evaluated[-1], expected)
    truth = zip(expected, frame["labels"], strict=True)
    p_at_1 = np.mean([predictions[0]["label"] in labels for predictions, labels in truth])
    assert found.metrics["p_at_1"] == pytest.approx(p_at_1)

"""The state folder, and a tracking database outside of it."""

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.labelwright.commands.summaries import train
from tests.processes import Command, FirstVisit

pytest_plugins = ["tests.worlds"]


def test_a_new_state_folder_has_no_model(first_visit: FirstVisit) -> None:
    assert first_visit.result.code == 4
    assert first_visit.result.err == (
        "labelwright: no model has a champion yet: train one, or name a model URI\n"
    )
    assert {path.stem for path in first_visit.home.iterdir()} == {"mlflow"}


def test_another_tracking_database_replaces_that_of_the_state_folder(
    command: Command,
    empty_world: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (empty_world / "mlflow.db").rename(tmp_path / "elsewhere" / "mlflow.db")
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}"
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", elsewhere)
        uri = train(command, "--data", data)["model_uri"]
        assert command("label", data, tmp_path / "labelled.csv", "--model", uri).code == 0
        assert os.environ["MLFLOW_TRACKING_URI"] == elsewhere
    assert not (empty_world / "mlflow.db").exists()
    client = MlflowClient(elsewhere, elsewhere)
    assert [model.name for model in client.search_registered_models()] == ["places"]


def test_state_does_not_depend_on_the_current_folder(
    command: Command,
    first_visit: FirstVisit,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "share" / "labelwright"
    home.mkdir(parents=True)
    (home / "mlflow.db").write_bytes((first_visit.home / "mlflow.db").read_bytes())
    monkeypatch.delenv("LABELWRIGHT_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    train(command, "--data", data)
    monkeypatch.chdir(there)
    model = "models:/places@champion"
    assert command("evaluate", "--data", data, "--model", model).code == 0
    assert command("label", data, tmp_path / "labelled.csv", "--model", model).code == 0
    assert not [*here.iterdir(), *there.iterdir()]
    assert {path.name for path in home.iterdir()} >= {"mlflow.db", "artifacts"}

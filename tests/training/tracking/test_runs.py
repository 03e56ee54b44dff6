"""Runs of interrupted and killed trainings, and the runs that pruning deletes."""

import signal
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from labelwright.entities.errors import ModelNotFoundError
from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from labelwright.training.tracking import runs, versions
from tests.conftest import World
from tests.processes import Command, environment, run_signalled

pytest_plugins = ["tests.worlds"]

STORING = "mlflow.store.artifact.local_artifact_repo:LocalArtifactRepository.log_artifacts"
REGISTERING = "mlflow.store.model_registry.sqlalchemy_store:SqlAlchemyStore.create_model_version"


@pytest.fixture
def data(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(pq.read_table(world.data).slice(0, 150), path)
    return path


def states() -> list[str]:
    """The states of the runs of `m`, newest first."""
    client = MlflowClient(tracking_uri(), tracking_uri())
    experiment = client.get_experiment_by_name("m")
    assert experiment is not None
    return [str(run.info.status) for run in client.search_runs([experiment.experiment_id])]


def artifacts(home: Path) -> list[Path]:
    return [path for path in (home / "artifacts").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["terminated", "Ctrl-C"]
)
def test_an_interrupted_run_has_the_status_killed(
    empty_world: Path, data: Path, by: signal.Signals, code: int
) -> None:
    arguments = ("train", "--data", data, "--name", "m", "--threads", 1)
    result = run_signalled(STORING, "after", by, *arguments, environment=environment(empty_world))
    assert (result.code, result.err) == (code, "labelwright: interrupted\n")
    assert states() == [runs.KILLED]
    assert versions.current_champion("m") is None
    assert artifacts(empty_world)
    assert len(versions.prune("m", keep=1).runs) == 1
    assert not artifacts(empty_world)
    assert states() == []
    assert not list((empty_world / "underway").iterdir())


def test_an_unfinished_run_of_a_killed_process_is_found_and_pruned(
    empty_world: Path, data: Path, command: Command
) -> None:
    arguments = ("train", "--data", data, "--name", "m", "--threads", 1)
    settings = environment(empty_world)
    result = run_signalled(REGISTERING, "before", signal.SIGKILL, *arguments, environment=settings)
    assert result.code == -signal.SIGKILL
    assert states() == [runs.RUNNING]
    (unfinished,) = runs.unfinished_runs()
    assert unfinished.experiment == "m"
    with pytest.raises(ModelNotFoundError):
        load_model("models:/m/1")

    training = command(*arguments)
    assert training.code == 0
    assert f"warning: run {unfinished.run_id} of an earlier training did not finish" in training.err
    assert "`labelwright prune m` deletes it" in training.err
    assert load_model("models:/m@champion").version == "1"

    pruning = command("prune", "m")
    run_id = unfinished.run_id
    assert pruning.out == f"0 versions deleted\nruns without a version deleted: {run_id}\n"
    assert runs.unfinished_runs() == []
    assert states() == [runs.FINISHED]
    assert load_model("models:/m@champion").version == "1"
    assert not [file for file in artifacts(empty_world) if unfinished.run_id in str(file)]


def test_an_active_run_is_not_pruned(empty_world: Path) -> None:
    with runs.active_run(runs.experiment_id_of("m")):
        assert runs.unfinished_runs() == []
        assert versions.prune("m", keep=1) == versions.Pruned([], [])
        assert states() == [runs.RUNNING]
    assert states() == [runs.FINISHED]


def test_a_run_can_start_while_mlflow_uses_another_experiment(empty_world: Path) -> None:
    mlflow.set_experiment(experiment_id=runs.experiment_id_of("elsewhere"))
    with runs.active_run(runs.experiment_id_of("m")):
        assert states() == [runs.RUNNING]
    assert states() == [runs.FINISHED]


def test_an_unknown_model_cannot_be_pruned(empty_world: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="'nobody'"):
        versions.prune("nobody", keep=1)

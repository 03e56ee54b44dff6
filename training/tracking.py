"""Writing the record: a run in MLflow, a registered version, and the alias that makes it live."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from entities.errors import DataError
from entities.schema import NUMERIC, EntitySchema, Kind
from models.home import artifact_root
from models.registry import reached

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

LOADER = "labelwright.flavor"
"""The module that MLflow loads a model through: part of the installed package."""
DATA_FINGERPRINT = "labelwright.data"
CONTENT = "labelwright.content"
TRAINING_ROWS = "training_rows.npy"
"""Artifact with a hash of every row that a model was trained on (`training.data.row_hashes`)."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows that a run read: `context` is what for, `fingerprint` the hash of their content."""

    context: str
    paths: Sequence[Path]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Record:
    """What is written about one training; `artifacts` is a folder of files to log as they are."""

    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: Sequence[Dataset]
    artifacts: Path
    schema: EntitySchema
    example: Mapping[str, Any]
    bundle: Path


@dataclasses.dataclass(frozen=True)
class Registered:
    """A run and the version it registered."""

    run_id: str
    name: str
    version: str

    @property
    def uri(self) -> str:
        """The model URI of exactly this version."""
        return f"models:/{self.name}/{self.version}"


def check_name(name: str) -> None:
    """Raise DataError for a name that cannot be registered."""
    if not name.strip() or set(name) & set("/:.@\"'%") or len(name) > 100:
        raise DataError("a model's name must be short and without quotes or any of / : . @ %")


def write_run(record: Record) -> Registered:
    """Log a run with its model and register the model.

    Raises RegistryError. A run that fails half-way is marked as failed, and registers nothing.
    """
    with reached() as client:
        import mlflow

        experiment = _experiment(record.name)
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.set_tags(dict(record.tags))
            mlflow.log_params(dict(record.parameters))
            mlflow.log_metrics({k: v for k, v in record.metrics.items() if math.isfinite(v)})
            for dataset in record.datasets:
                _log_dataset(dataset)
            mlflow.log_artifacts(str(record.artifacts))
            model = _log_model(record)
        with _unless_there():
            client.create_registered_model(record.name)
        version = client.create_model_version(
            record.name,
            model.model_uri,
            run.info.run_id,
            tags={CONTENT: record.tags[CONTENT]},
            model_id=model.model_id,
        )
        return Registered(run.info.run_id, record.name, str(version.version))


def training_rows(name: str, version: str, folder: Path) -> npt.NDArray[np.uint64] | None:
    """Hashes of the rows that a version was trained on, where its run still has them."""
    with reached() as client:
        run_id = client.get_model_version(name, version).run_id
        if not run_id or all(f.path != TRAINING_ROWS for f in client.list_artifacts(run_id)):
            return None
        path = client.download_artifacts(run_id, TRAINING_ROWS, str(folder))
        rows: npt.NDArray[np.uint64] = np.load(path, allow_pickle=False)
        return rows


def _experiment(name: str) -> str:
    import mlflow

    with _unless_there():
        mlflow.create_experiment(name, artifact_location=artifact_root())
    experiment = mlflow.set_experiment(name)
    return str(experiment.experiment_id)


@contextlib.contextmanager
def _unless_there() -> Iterator[None]:
    """Let something be made that another training may have made already."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_dataset(dataset: Dataset) -> None:
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]

    for path in dataset.paths:
        source = LocalArtifactDatasetSource(str(path.resolve()))
        note = MetaDataset(  # type: ignore[abstract] # MLflow makes it at run time
            source, name=path.name[:500], digest=dataset.fingerprint[:36]
        )
        mlflow.log_input(note, context=dataset.context)


def _log_model(record: Record) -> "ModelInfo":
    import mlflow
    import pandas as pd

    info: ModelInfo = mlflow.pyfunc.log_model(
        name="model",
        loader_module=LOADER,
        data_path=str(record.bundle),
        signature=signature(record.schema),
        input_example=pd.DataFrame([record.example]),
        pip_requirements=[f"labelwright=={record.tags['labelwright.version']}"],
    )
    return info


def signature(schema: EntitySchema) -> Any:
    """MLflow's signature: every field optional, one list of labels out, the question as params."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array, Map, Object, Property

    label = Object(
        [
            Property("label", DataType.string),
            Property("probability", DataType.double),
            Property("asserted", DataType.boolean),
        ]
    )
    inputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "id", required=False)]
    for kind, field in _fields(schema):
        spec: Any = DataType.double if kind in NUMERIC else DataType.string
        spec = Map(DataType.string) if kind is Kind.TAGS else spec
        inputs.append(ColSpec(spec, field, required=False))
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema([ColSpec(DataType.string, "id"), ColSpec(Array(label), "labels")]),
        params=ParamSchema(
            [
                ParamSpec("top_k", DataType.long, 5),
                ParamSpec("policy", DataType.string, "balanced"),
                ParamSpec("min_probability", DataType.double, 0.0),
            ]
        ),
    )


def _fields(schema: EntitySchema) -> Iterator[tuple[Kind, str]]:
    for column in schema.columns:
        for field in column.fields:
            yield column.kind, field

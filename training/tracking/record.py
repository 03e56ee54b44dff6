"""Writing the record: a run in MLflow, a registered version, and the alias that makes it live."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import DataError
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.schema import NUMERIC, EntitySchema, Kind
from labelwright.models.registry import reached
from labelwright.training.tracking.environment import PortableFlavor
from labelwright.training.tracking.runs import Run, storage_errors

if TYPE_CHECKING:
    from mlflow.client import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.models.model import ModelInfo

LOADER = "labelwright.flavor"
"""The module that MLflow loads a model through: part of the installed package."""
DATA_FINGERPRINT = "labelwright.data"
CONTENT = "labelwright.content"
INPUTS = "labelwright.inputs"
"""The tag with a hash of all that a training depends on: equal where it would be the same again."""
DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow's UI shows as the description of a run."""
TRAINING_ROWS = "training_rows.npy"
"""Artifact with a hash of every row that a model was trained on (`content_fingerprints`)."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows that a run read: `context` is what for, `fingerprint` the hash of their content."""

    context: str
    paths: Sequence[LocationLike]
    rows: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Record:
    """What is written about one training; `artifacts` is a folder of files to log as they are."""

    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: Sequence[Dataset]
    artifacts: Path
    schema: EntitySchema
    example: Mapping[str, Any]
    bundle: Path


@dataclasses.dataclass(frozen=True)
class Version:
    """What a version says of itself, and its `model` of all its versions, in MLflow's pages."""

    description: str
    tags: Mapping[str, str]
    model: str


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


def write_run(run: Run, record: Record, wheel: Path | None) -> "ModelInfo":
    """Log a training, its model and the wheel that trained it.

    Raises RegistryError or StorageError.
    """
    finite = {name: value for name, value in record.metrics.items() if math.isfinite(value)}
    run.log(record.parameters, finite, record.tags)
    with reached() as client:
        inputs = [_input(dataset, record.schema) for dataset in record.datasets]
        _note(client, run.id, [each for group in inputs for each in group])
    run.store(record.artifacts)
    with reached(), storage_errors():
        return _log_model(record, wheel)


def register(run: Run, name: str, model: "ModelInfo", version: Version) -> Registered:
    """Make a version of a model that has been logged, complete from the first.

    Raises RegistryError.
    """
    with reached() as client:
        with _unless_there():
            client.create_registered_model(name, description=version.model)
        made = client.create_model_version(
            name,
            model.model_uri,
            run.id,
            tags=dict(version.tags),
            description=version.description,
            model_id=model.model_id,
        )
        return Registered(run.id, name, str(made.version))


def training_rows(name: str, version: str, folder: Path) -> npt.NDArray[np.uint64] | None:
    """Hashes of the rows that a version was trained on, where its run still has them."""
    with reached() as client:
        run_id = client.get_model_version(name, version).run_id
        if not run_id or all(f.path != TRAINING_ROWS for f in client.list_artifacts(run_id)):
            return None
        path = client.download_artifacts(run_id, TRAINING_ROWS, str(folder))
        rows: npt.NDArray[np.uint64] = np.load(path, allow_pickle=False)
        return rows


def _note(client: "MlflowClient", run_id: str, inputs: "list[DatasetInput]") -> None:
    """Note the data sets of a run.

    MLflow looks for a data set before it makes one, so of two trainings on the same data at once
    one may fail to make it; the second time, it finds it.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:
        client.log_inputs(run_id, inputs)


@contextlib.contextmanager
def _unless_there() -> Iterator[None]:
    """Let something be made that another training may have made already."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _input(dataset: Dataset, schema: EntitySchema) -> "Iterator[DatasetInput]":
    """What MLflow keeps of each file of a data set."""
    from mlflow.entities import Dataset as Noted
    from mlflow.entities import DatasetInput, InputTag

    columns = json.dumps({"mlflow_colspec": signature(schema).inputs.to_dict()})
    profile = json.dumps({"num_rows": dataset.rows, "fingerprint": dataset.fingerprint})
    for location in map(locate, dataset.paths):
        source = json.dumps({"uri": location.address})
        digest, kind = dataset.fingerprint[:36], "local" if location.local else "remote"
        noted = Noted(location.name[:500], digest, kind, source, columns, profile)
        yield DatasetInput(noted, [InputTag("mlflow.data.context", dataset.context)])


def _log_model(record: Record, wheel: Path | None) -> "ModelInfo":
    import pandas as pd
    from mlflow.models import Model

    info: ModelInfo = Model.log(
        artifact_path=None,
        name="model",
        flavor=PortableFlavor(wheel),
        loader_module=LOADER,
        data_path=str(record.bundle),
        signature=signature(record.schema),
        input_example=pd.DataFrame([record.example]),
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
                ParamSpec("min_precision", DataType.double, 0.0),
            ]
        ),
    )


def _fields(schema: EntitySchema) -> Iterator[tuple[Kind, str]]:
    for column in schema.columns:
        for field in column.fields:
            yield column.kind, field

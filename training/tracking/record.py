"""Logging of a training as an MLflow run, and registration of its model."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.entities.errors import DataError
from labelwright.entities.io.locations import LocationLike, locate
from labelwright.entities.schema import NUMERIC, EntitySchema, Kind
from labelwright.models.mlflow_server import connect
from labelwright.training.tracking.environment import PortableFlavor
from labelwright.training.tracking.runs import Run, storage_errors

if TYPE_CHECKING:
    from mlflow.client import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.models.model import ModelInfo

LOADER = "labelwright.flavor"
"""The module that MLflow calls to load a model; it is part of the installed package."""
DATA_FINGERPRINT = "labelwright.data"
"""Tag with the hash of the training rows."""
CONTENT = "labelwright.content"
"""Tag with the content hash of the bundle."""
INPUTS = "labelwright.inputs"
"""Tag with a hash of all inputs of a training; equal inputs give an equal model."""
DESCRIPTION = "mlflow.note.content"
"""Tag that MLflow's UI shows as the description of a run."""
TRAINING_ROWS = "training_rows.npy"
"""Artifact with the hashes of the rows that a model was trained on (`content_fingerprints`)."""
TRAINING_LABELS = "training_labels.parquet"
"""Artifact with the labels of the rows in TRAINING_ROWS."""
ANSWERS = "cross_validated_answers.npz"
"""Artifact with the answers of the model's recipe to rows with other names (`cross_validate`)."""
NAME_LIMIT = 100
"""Maximum number of characters in the name of a model."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Rows that a run has read from the files `paths`.

    `context` is the purpose of the rows, such as "training" or "test". `rows` is their number, and
    `fingerprint` their hash.
    """

    context: str
    paths: Sequence[LocationLike]
    rows: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Record:
    """The content that is logged for one training, or for the import of a model.

    `artifacts` is a folder of files that are logged unchanged, `bundle` the folder of the bundle.
    """

    parameters: Mapping[str, Any]
    tags: Mapping[str, str]
    schema: EntitySchema
    bundle: Path
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    datasets: Sequence[Dataset] = ()
    artifacts: Path | None = None


@dataclasses.dataclass(frozen=True)
class Version:
    """Description and tags of a version; `model` is the description of the registered model."""

    description: str
    tags: Mapping[str, str]
    model: str


@dataclasses.dataclass(frozen=True)
class Registered:
    """A registered version and its run."""

    run_id: str
    name: str
    version: str

    @property
    def uri(self) -> str:
        """The model URI of this version."""
        return f"models:/{self.name}/{self.version}"


def check_name(name: str) -> None:
    """Raise DataError for a name that cannot be registered."""
    if not name.strip() or set(name) & set("/:.@\"'%") or len(name) > NAME_LIMIT:
        raise DataError(
            f"a model cannot be named {name[:NAME_LIMIT]!r}: a name has 1 to {NAME_LIMIT} "
            "characters, and none of them is a quote or one of / : . @ %; choose another name"
        )


def write_run(run: Run, record: Record, wheel: Path | None) -> "ModelInfo":
    """Log a training or an import, its model and the wheel of the running code.

    Raises RegistryError or StorageError.
    """
    finite = {name: value for name, value in record.metrics.items() if math.isfinite(value)}
    run.log(record.parameters, finite, record.tags)
    with connect() as client:
        inputs = [
            file for dataset in record.datasets for file in _dataset_inputs(dataset, record.schema)
        ]
        _log_inputs(client, run.id, inputs)
    if record.artifacts is not None:
        run.store(record.artifacts)
    with connect(), storage_errors():
        return _log_model(record, wheel)


def register(run: Run, name: str, model: "ModelInfo", version: Version) -> Registered:
    """Register a logged model as a new version, with its tags and description.

    One request creates the complete version, so no incomplete version is ever visible. Raises
    RegistryError.
    """
    with connect() as client:
        with _allow_existing():
            client.create_registered_model(name, description=version.model)
        created = client.create_model_version(
            name,
            model.model_uri,
            run.id,
            tags=dict(version.tags),
            description=version.description,
            model_id=model.model_id,
        )
        return Registered(run.id, name, str(created.version))


def download(name: str, version: str, file: str, folder: Path) -> str | None:
    """Download an artifact of a version's run into a folder, and return its path.

    None if the run has no such file. Raises RegistryError.
    """
    with connect() as client:
        run_id = client.get_model_version(name, version).run_id
        if not run_id or all(found.path != file for found in client.list_artifacts(run_id)):
            return None
        return client.download_artifacts(run_id, file, str(folder))


def add_artifact(name: str, version: str, file: Path) -> None:
    """Store a further file in the run of a version; raises RegistryError or StorageError."""
    with connect() as client, storage_errors():
        if run_id := client.get_model_version(name, version).run_id:
            client.log_artifact(run_id, str(file))


def parameters(name: str, version: str) -> Mapping[str, str]:
    """The parameters of a version's run; empty if it has no run. Raises RegistryError."""
    with connect() as client:
        run_id = client.get_model_version(name, version).run_id
        return dict(client.get_run(run_id).data.params) if run_id else {}


def _log_inputs(client: "MlflowClient", run_id: str, inputs: "list[DatasetInput]") -> None:
    """Log the datasets of a run, with a second attempt after an error.

    MLflow creates a dataset if it does not exist. If two trainings log the same data at the same
    time, both may try to create the dataset, and one of them fails. In the second attempt, the
    dataset exists.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:
        client.log_inputs(run_id, inputs)


@contextlib.contextmanager
def _allow_existing() -> Iterator[None]:
    """Ignore MLflow's error for a registered model that exists already."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _dataset_inputs(dataset: Dataset, schema: EntitySchema) -> "Iterator[DatasetInput]":
    """Yield an MLflow dataset for each file of a dataset."""
    from mlflow.entities import Dataset as MlflowDataset
    from mlflow.entities import DatasetInput, InputTag

    columns = json.dumps({"mlflow_colspec": columns_of(schema).to_dict()})
    profile = json.dumps({"num_rows": dataset.rows, "fingerprint": dataset.fingerprint})
    for location in map(locate, dataset.paths):
        source = json.dumps({"uri": location.address})
        digest, kind = dataset.fingerprint[:36], "local" if location.local else "remote"
        file = MlflowDataset(location.name[:500], digest, kind, source, columns, profile)
        yield DatasetInput(file, [InputTag("mlflow.data.context", dataset.context)])


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
        input_example=pd.DataFrame([_example(record.schema)]),
    )
    return info


def _example(schema: EntitySchema) -> Mapping[str, Any]:
    """An example of the model's input: the examples of the schema's columns, if it has any."""
    given = {c.name: c.example for c in schema.columns if c.example is not None}
    return given or dict.fromkeys(schema.fields[:1], None)


def signature(schema: EntitySchema) -> Any:
    """MLflow's signature of a model that labels entities of this schema.

    The inputs are `id` and the fields of the schema; all are optional. The outputs are `id` and a
    list of labels. The parameters are the fields of the query.

    The inputs have no types. With a type, MLflow refuses columns that this package can read: text
    in which all values are NaN, categoricals, and whole numbers as positions. The entities' own
    checks refuse a wrong type.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType, Array, Object, Property

    label = Object(
        [
            Property("label", DataType.string),
            Property("probability", DataType.double),
            Property("asserted", DataType.boolean),
        ]
    )
    untyped = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(untyped, name, required=False) for name in ("id", *schema.fields)
    ]
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema(
            [
                ColSpec(DataType.string, "id"),
                ColSpec(Array(label), "labels"),
                ColSpec(label, "primary", required=False),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("top_k", DataType.long, 5),
                ParamSpec("policy", DataType.string, "balanced"),
                ParamSpec("min_probability", DataType.double, 0.0),
                ParamSpec("min_precision", DataType.double, 0.0),
            ]
        ),
    )


def columns_of(schema: EntitySchema) -> Any:
    """MLflow's description of the columns of a dataset: `id` and the fields of the schema."""
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Map

    columns: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, "id", required=False)]
    for column in schema.columns:
        kind: Any = DataType.double if column.kind in NUMERIC else DataType.string
        kind = Map(DataType.string) if column.kind is Kind.TAGS else kind
        columns += [ColSpec(kind, field, required=False) for field in column.fields]
    return Schema(columns)

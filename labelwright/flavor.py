"""Loader of registered models for MLflow's `python_function` flavor.

The metadata of a registered model names this module as the loader, so MLflow imports no code from
the artifact.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

from labelwright.entities.errors import DataError, RequestError
from labelwright.entities.tables import from_frame
from labelwright.models.bundle.format import read_bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler


def _load_pyfunc(data_path: str) -> "PythonModel":
    """Load a model for MLflow; `data_path` is the folder of the bundle inside the artifact.

    In a new environment no kernel is compiled yet. The kernels are compiled while the model is
    loaded, because MLflow's server waits for that, but ends a request after 60 seconds.
    """
    labeler = read_bundle(Path(data_path)).labeler
    labeler.warm_up()
    return PythonModel(labeler)


class PythonModel:
    """A labeler with the `predict` method that MLflow calls."""

    def __init__(self, labeler: Labeler) -> None:
        self._labeler = labeler

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Label the rows of a frame; `params` are fields of a `LabelQuery`, such as `top_k`.

        Returns a frame with `id`, `labels` and `primary` for each row, in order. `labels` is a list
        of dicts with `label`, `probability` and `asserted`. `primary` is such a dict for the most
        probable kind, or None if the model has no kinds.

        Raises MlflowException if the schema rejects a row, or if the model does not support the
        query. MLflow's server sends the message of the exception to the client.
        """
        try:
            return self._predict(frame, LabelQuery(**(params or {})))
        except (DataError, RequestError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _predict(self, frame: pd.DataFrame, query: LabelQuery) -> pd.DataFrame:
        entities = from_frame(frame, self._labeler.schema)
        if entities.rejected:
            row, reason = next(iter(entities.rejected.items()))
            raise DataError(f"row {row}: {reason} ({len(entities.rejected)} rows rejected)")
        predictions = self._labeler.label(entities, query).columns()
        columns = {name: column.to_pylist() for name, column in predictions.items()}
        return pd.DataFrame({"id": entities.ids.to_pylist(), **columns}, dtype=object)

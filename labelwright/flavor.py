"""The MLflow flavor: what registered models name as their loader, so that they carry no code."""

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
    """MLflow's entry point: `data_path` is the bundle inside the artifact."""
    return PythonModel(read_bundle(Path(data_path)).labeler)


class PythonModel:
    """A model with the method that MLflow's `python_function` flavor calls."""

    def __init__(self, labeler: Labeler) -> None:
        self._labeler = labeler

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`id` and `labels` (a list of label, probability, asserted) for each row of a frame.

        Raises MlflowException, which MLflow's own server answers with the words it has, for rows
        that the schema rejects (a frame has no place for their reasons) and for a question that
        the model cannot answer.
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
        predictions = self._labeler.label(entities, query)
        return pd.DataFrame(
            {"id": entities.ids.to_pylist(), "labels": predictions.to_arrow().to_pylist()}
        )

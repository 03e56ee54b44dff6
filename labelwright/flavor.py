"""The MLflow flavor: what registered models name as their loader, so that they carry no code."""

from pathlib import Path
from typing import Any

import pandas as pd

from entities.errors import DataError
from entities.tables import from_frame
from models.bundle import read_bundle
from models.decisions import Question
from models.labeler import Labeler


def _load_pyfunc(data_path: str) -> "PythonModel":
    """MLflow's entry point: `data_path` is the bundle inside the artifact."""
    return PythonModel(read_bundle(Path(data_path)).labeler)


class PythonModel:
    """A model with the method that MLflow's `python_function` flavor calls."""

    def __init__(self, labeler: Labeler) -> None:
        self._labeler = labeler

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`id` and `labels` (a list of label, probability, asserted) for each row of a frame.

        Raises DataError for rows that the schema rejects: a frame has no place for their reasons.
        """
        entities = from_frame(frame, self._labeler.schema)
        if entities.rejected:
            row, reason = next(iter(entities.rejected.items()))
            raise DataError(f"row {row}: {reason} ({len(entities.rejected)} rows rejected)")
        answers = self._labeler.label(entities, Question(**(params or {})))
        return pd.DataFrame(
            {"id": entities.ids.to_pylist(), "labels": answers.to_arrow().to_pylist()}
        )

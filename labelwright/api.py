"""The Python API: `labelwright.load(uri).label(table)`."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_frame, from_records, from_table
from labelwright.models.decisions import LabelQuery
from labelwright.models.explain.reasons import explain
from labelwright.models.registry import Model, load_model


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in memory. `name` and `version` are None where it does not come from a registry."""

    model: Model

    @property
    def name(self) -> str | None:
        """The registered name."""
        return self.model.name

    @property
    def version(self) -> str | None:
        """The registered version."""
        return self.model.version

    @property
    def schema(self) -> EntitySchema:
        """The schema of the entities it labels."""
        return self.model.bundle.labeler.schema

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels it can give."""
        return self.model.bundle.labeler.labels.names

    def label(
        self,
        entities: Any,
        *,
        top_k: int = 5,
        policy: str = "balanced",
        min_probability: float = 0.0,
        only: Sequence[str] = (),
        min_precision: float = 0.0,
    ) -> pa.Table:
        """Label an Arrow table, a pandas frame, or a sequence of dicts.

        Returns a table with one row for each entity, in order: `id` and `labels`, a
        list<struct<label: string, probability: float, asserted: bool>> with the most probable
        first, null where the schema rejects the row. Raises DataError or RequestError.
        """
        checked = self._checked(entities)
        labeler = self.model.bundle.labeler
        query = LabelQuery(top_k, policy, min_probability, tuple(only), min_precision)
        labels = labeler.label(checked, query).to_arrow(list(checked.rejected))
        return pa.table({"id": checked.ids, "labels": labels})

    def explain(
        self,
        entities: Any,
        label: str | None = None,
        *,
        top_k: int = 5,
        policy: str = "balanced",
    ) -> pa.Table:
        """Label entities and say why: the table of `label` with reasons.

        Each struct of `labels` also has `log_odds`, before calibration, and `reasons`, a
        list<models.explain.reasons.REASON> whose weights sum to them. With `label`, a name or a
        pattern with `*` and `?`, only labels that match are listed, however improbable. Raises
        DataError or RequestError.
        """
        checked = self._checked(entities)
        query = LabelQuery(top_k, policy, only=(label,) if label is not None else ())
        explanation = explain(self.model.bundle.labeler, checked, query)
        return pa.table({"id": checked.ids, "labels": explanation.to_arrow(list(checked.rejected))})

    def _checked(self, entities: Any) -> Entities:
        if isinstance(entities, pa.Table):
            return from_table(entities, self.schema)
        if isinstance(entities, Sequence):
            return from_records(entities, self.schema)
        return from_frame(entities, self.schema)


def load(uri: str) -> LoadedModel:
    """Load a model: a bundle folder, `runs:/...`, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises ModelNotFoundError, BundleError, RegistryError or StorageError.
    """
    return LoadedModel(load_model(uri))

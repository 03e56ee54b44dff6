"""The Python API: `labelwright.load` and `labelwright.train`."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labelwright.entities.errors import DataError, first_line
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_frame, from_records, from_table
from labelwright.models.decisions import LabelQuery
from labelwright.models.explain.reasons import explain
from labelwright.models.registry import Model, load_model

if TYPE_CHECKING:
    from labelwright.training.job import Outcome

Paths = str | Path | Sequence[str | Path]
"""One path (a file, a folder or an address like `s3://...` and `gs://...`), or several paths."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    `name` and `version` are None if the model was loaded from a bundle folder or from a run.
    """

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
        """The schema of the entities that the model labels."""
        return self.model.bundle.labeler.schema

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """All labels of the model, sorted by name."""
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
        """Label an Arrow table, a frame of pandas, Polars or DuckDB, or a sequence of dicts.

        Returns a table with one row for each entity, in the same order. Column `id` holds the
        ids. Column `labels` is a list<struct<label: string, probability: float, asserted: bool>>
        with the most probable label first; a row that the schema rejects has null labels. Column
        `primary` holds the most probable kind as such a struct, even if it is not listed; it is
        null for a rejected row, and for a model without kinds.

        Each row lists the `top_k` most probable labels of the entity, and every asserted label.
        The `policy` (balanced, broad or precise) decides which labels are asserted; a
        `min_precision` above 0 replaces it. Labels are left out if they are less probable than
        `min_probability`, or if `only` has patterns and the label matches none of them.

        Raises DataError if the entities cannot be read, and RequestError if the model does not
        support the query.
        """
        checked = self._checked(entities)
        labeler = self.model.bundle.labeler
        query = LabelQuery(top_k, policy, min_probability, tuple(only), min_precision)
        predictions = labeler.label(checked, query)
        return pa.table({"id": checked.ids, **predictions.columns(list(checked.rejected))})

    def explain(
        self,
        entities: Any,
        label: str | None = None,
        *,
        top_k: int = 5,
        policy: str = "balanced",
    ) -> pa.Table:
        """Label entities and explain each label by reasons.

        Returns the same table as the method `label`, with two more members in each struct of
        `labels`: `log_odds` (before calibration) and `reasons`, a
        list<labelwright.models.explain.reasons.REASON>. The weights of the reasons sum to the
        log-odds. The parameter `label` is a name or a pattern with `*` and `?`: only matching
        labels are listed, even if they are improbable.

        Raises DataError and RequestError for the same reasons as `label`.
        """
        checked = self._checked(entities)
        query = LabelQuery(top_k, policy, only=(label,) if label is not None else ())
        explanation = explain(self.model.bundle.labeler, checked, query)
        return pa.table({"id": checked.ids, "labels": explanation.to_arrow(list(checked.rejected))})

    def _checked(self, entities: Any) -> Entities:
        import pandas as pd

        if isinstance(entities, pd.DataFrame):
            return from_frame(entities, self.schema)
        if isinstance(entities, Sequence) and not isinstance(entities, str | bytes):
            return from_records(entities, self.schema)
        return from_table(_arrow_table(entities), self.schema)


def _arrow_table(data: Any) -> pa.Table:
    """The table of an object with Arrow's stream interface; raises DataError."""
    if not (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")):
        raise DataError(
            "entities must be a list of dicts, an Arrow table, or a frame of pandas, Polars or "
            "DuckDB; put a single entity into a list, and collect a lazy frame"
        )
    try:
        return pa.table(data)
    except pa.ArrowException as error:
        raise DataError(
            f"entities must be a table that Arrow can read: {first_line(error)}"
        ) from error


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training: a run in MLflow and a registered version.

    `promoted` is true if the version became the champion, and `reason` explains this decision.
    `verdict` is the result of the comparison with the champion: `better`, `no worse`, `worse`,
    `cannot tell` or `not compared`.
    `seconds` is the wall time of the training. `metrics` maps the names of metrics (`p_at_1`,
    `micro_f1`, ...) to their values on the test rows. With fewer than 3,000 test rows, `margins`
    maps them to the distance of their value from the bounds of its 95% interval.
    """

    run_id: str
    model_uri: str
    version: str
    promoted: bool
    verdict: str
    reason: str
    seconds: float
    metrics: Mapping[str, float]
    warnings: Sequence[str]
    margins: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, outcome: "Outcome") -> "TrainingResult":
        """Convert the outcome of a training job."""
        return cls(
            run_id=outcome.registered.run_id,
            model_uri=outcome.registered.uri,
            version=outcome.registered.version,
            promoted=outcome.verdict.promoted,
            verdict=str(outcome.verdict.finding),
            reason=outcome.verdict.reason,
            seconds=round(outcome.seconds, 2),
            metrics=outcome.evaluation.metrics.by_name,
            warnings=tuple(outcome.warnings),
            margins=dict(outcome.evaluation.margins),
        )


def load(uri: str) -> LoadedModel:
    """Load a model: a bundle folder, `runs:/...`, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises ModelNotFoundError, BundleError, RegistryError or StorageError.
    """
    return LoadedModel(load_model(uri))


def train(
    data: Paths,
    *,
    name: str | None = None,
    test: Paths = (),
    schema: str | Path | None = None,
    feedback: str | None = None,
    columns: Mapping[str, str] | None = None,
    min_count: int = 1,
    seed: int = 0,
    threads: int | None = None,
    memory: int | None = None,
    promote: bool = True,
    unlabelled: Paths = (),
    encoder: str | Path | None = None,
    encoder_tokenizer: str | Path | None = None,
    label_book: str | Path | None = None,
    base: str | Path | None = None,
    empty_labels: str = "unknown",
    label_column: str | None = None,
    exclusive: bool = False,
) -> TrainingResult:
    """Train a model, register it, and promote it if it is not worse than the champion.

    The parameters are the options of `labelwright train`:

    - `data`: labelled files (Parquet, CSV, JSON Lines or GeoJSON), one path or several.
    - `name`: the registered name; by default the name of the schema.
    - `test`: labelled files to measure the model on. By default, the rows of a tenth of the names
      in `data` are held out and used as test rows.
    - `schema`: `places`, `text`, `words` or the path of a TOML file; by default the schema in the
      metadata of the data, or else `places`.
    - `feedback`: corrections to learn from: the URL of a database, or an exported Parquet file.
    - `columns`: the name in the files for each column of the schema with another name there:
      `{"name": "title"}` reads the column `name` from `title`.
    - `min_count`: labels with fewer rows are left out.
    - `seed`: the same seed and data give the same model for any number of threads.
    - `threads`: compute threads; by default the number of processors that this process may use.
    - `memory`: maximum memory in bytes for the features and the variables of the fit; the rest is
      kept in files. By default there is no limit.
    - `promote`: False registers the version without changing an alias.
    - `unlabelled`: files of rows without labels, which the encoder's teacher labels.
    - `encoder`: a folder with the ONNX model and the tokenizer of a sentence encoder, or the name
      of an installed package. `encoder_tokenizer` is its tokenizer, if it lies elsewhere.
    - `label_book`: a TOML or CSV file with titles, synonyms and seed words of labels, or the
      built-in book `osm`.
    - `base`: the URI of another model of the same columns; its knowledge is the start.
    - `empty_labels`: meaning of an empty cell of labels in CSV: `unknown` (not labelled), or
      `none` (none of the labels).
    - `label_column`: column of the files whose texts are one label each.
    - `exclusive`: True makes all labels one exclusive group of kinds: at most one is asserted.

    Training needs the packages of `requirements/train.txt`. Raises DataError, RegistryError or
    StorageError, and ModelError if the base cannot be loaded.
    """
    from labelwright import processors
    from labelwright.entities.io.column_map import ColumnMap
    from labelwright.entities.io.label_books import load_book
    from labelwright.entities.io.label_columns import EmptyLabels
    from labelwright.entities.io.schema_metadata import schema_for
    from labelwright.training.fitting.fit import Configuration
    from labelwright.training.job import Task
    from labelwright.training.job import train as run_job

    entity_schema = schema_for(_listed(data), None if schema is None else str(schema))
    entity_schema = entity_schema.with_label_column(label_column, exclusive)
    names = ColumnMap(columns or {}).with_label_column(label_column)
    names.check(entity_schema)
    book = None if label_book is None else load_book(str(label_book))
    if book:
        entity_schema = book.extend(entity_schema)
    task = Task(
        data=_listed(data),
        test=_listed(test),
        schema=entity_schema,
        name=name or entity_schema.name,
        configuration=Configuration(
            min_count=min_count, seed=seed, threads=threads or processors.usable()
        ),
        promote=promote,
        columns=names,
        feedback=feedback,
        memory=memory,
        unlabelled=_listed(unlabelled),
        encoder=None if encoder is None else str(encoder),
        tokenizer=None if encoder_tokenizer is None else str(encoder_tokenizer),
        base=None if base is None else str(base),
        empty_labels=EmptyLabels.parse(empty_labels),
        book=book,
    )
    return TrainingResult.of(run_job(task))


def _listed(paths: Paths) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)

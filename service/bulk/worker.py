"""Labelling of one batch of a bulk job, the same on threads and on a cluster."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labelwright.entities.io.readers import Batch
from labelwright.entities.io.writers import FINGERPRINT, PREDICTIONS
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.features.fingerprints import fingerprints
from labelwright.service.bulk.rejects import REJECTION
from labelwright.service.bulk.reuse import PreviousOutput

REUSED = "known"
"""The column of a record that is true if its predictions come from an earlier run."""
RECORDS = pa.schema(
    [
        *PREDICTIONS,
        pa.field(FINGERPRINT, pa.uint64()),
        pa.field(REJECTION, pa.string()),
        pa.field(REUSED, pa.bool_()),
    ]
)
"""The schema of labelled rows: predictions, fingerprint, reason of rejection, and reuse."""


@dataclasses.dataclass(frozen=True)
class LabelledBatch:
    """The labelled rows of a batch.

    `share` is the share of the input that has been read up to the end of the batch, None if it is
    not known.
    """

    records: pa.Table
    share: float | None
    warnings: Sequence[str]


@dataclasses.dataclass(frozen=True)
class BatchLabeler:
    """Labels batches with one model and query, and reuses previous predictions if there are any."""

    bundle: Bundle
    query: LabelQuery
    previous: PreviousOutput | None

    def __call__(self, batch: Batch) -> LabelledBatch:
        """Label a batch; raises DataError if the previous output cannot be read."""
        entities, labeler = batch.entities, self.bundle.labeler
        hashes = fingerprints(entities)
        hashes[list(entities.rejected)] = 0
        reused = np.zeros(len(entities), np.bool_)
        if self.previous is None:
            predicted = labeler.label(entities, self.query).columns(list(entities.rejected))
        else:
            reused, old = self.previous.find(hashes)
            rest = np.flatnonzero(~reused)
            new = labeler.label(entities.take(rest), self.query).columns(
                np.flatnonzero(np.isin(rest, list(entities.rejected))).tolist()
            )
            order = np.argsort(np.concatenate([np.flatnonzero(reused), rest]))
            predicted = {
                name: pa.concat_arrays([old[name], column]).take(pa.array(order))
                for name, column in new.items()
            }
        columns = [
            entities.ids,
            *predicted.values(),
            pa.array(hashes),
            entities.rejection_reasons,
            pa.array(reused),
        ]
        return LabelledBatch(pa.table(columns, schema=RECORDS), batch.share, entities.warnings)

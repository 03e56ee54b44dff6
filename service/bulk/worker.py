"""What becomes of a batch of rows: one implementation, whoever it is carried out by."""

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
from labelwright.service.bulk.reuse import Previous

KNOWN = "known"
RECORDS = pa.schema(
    [
        *PREDICTIONS,
        pa.field(FINGERPRINT, pa.uint64()),
        pa.field(REJECTION, pa.string()),
        pa.field(KNOWN, pa.bool_()),
    ]
)
"""What becomes of rows: their answers, why they were rejected, whether an earlier run knew them."""


@dataclasses.dataclass(frozen=True)
class Done:
    """The `records` of a batch; `share` is how much of all there is has been read after it."""

    records: pa.Table
    share: float | None
    warnings: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Work:
    """What is done with a batch."""

    bundle: Bundle
    query: LabelQuery
    previous: Previous | None

    def __call__(self, batch: Batch) -> Done:
        """Label the batch; raises DataError where previous answers cannot be read."""
        entities, labeler = batch.entities, self.bundle.labeler
        prints = fingerprints(entities)
        prints[list(entities.rejected)] = 0
        known = np.zeros(len(entities), np.bool_)
        if self.previous is None:
            labels = labeler.label(entities, self.query).to_arrow(list(entities.rejected))
        else:
            known, old = self.previous.find(prints)
            unknown = np.flatnonzero(~known)
            new = labeler.label(entities.take(unknown), self.query).to_arrow(
                np.flatnonzero(np.isin(unknown, list(entities.rejected))).tolist()
            )
            order = np.argsort(np.concatenate([np.flatnonzero(known), unknown]))
            labels = pa.concat_arrays([old, new]).take(pa.array(order))
        columns = [
            entities.ids,
            labels,
            pa.array(prints),
            entities.rejection_reasons,
            pa.array(known),
        ]
        return Done(pa.table(columns, schema=RECORDS), batch.share, entities.warnings)

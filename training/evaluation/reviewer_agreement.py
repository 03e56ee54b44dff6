"""Agreement of a new model and of the champion with the verdicts of reviewers."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import binomtest

from labelwright.models.decisions import LabelQuery
from labelwright.models.kernels.csr import find_keys
from labelwright.models.labeler import Labeler
from labelwright.training.data import LabelledEntities
from labelwright.training.evaluation.evaluate import label_all
from labelwright.training.feedback.merge import TrainingData
from labelwright.training.feedback.votes import SettledCorrections

LISTED_LABELS = 20
"""Number of labels of an entity that are listed with their probability."""
UNSEEN, LEARNED = "held out", "learned from"
"""Parts of the corrected entities: used to measure the model, or to train it."""
PRESENT, ABSENT = "present", "absent"


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The number of reviewer verdicts that a model agrees with, in one part of the entities.

    A model agrees with a verdict if it asserts a label that is present, or does not assert a label
    that is absent. `entities` is the number of entities, `verdicts` the number of their verdicts.
    `after` is the number of verdicts that the new model agrees with. `before` is this number for
    the champion, or None without a champion. `gained` is the number of verdicts that only the new
    model agrees with, `lost` the number that only the champion agrees with. `p_value` is the
    probability of a split into gained and lost that is at least as uneven, if only chance causes it
    (exact McNemar test, 1947).
    """

    part: str
    entities: int
    verdicts: int
    after: int
    before: int | None
    gained: int
    lost: int
    p_value: float


@dataclasses.dataclass(frozen=True)
class ReviewerAgreement:
    """Comparison of the new model with the verdicts of reviewers, and with the champion.

    `champion` is the version of the champion, or None if there is no champion that can be compared.
    `compared` is the table of `compare_with_corrections`.
    """

    corrections: SettledCorrections
    champion: str | None
    compared: pa.Table

    @functools.cached_property
    def agreements(self) -> Sequence[Agreement]:
        """The agreement on held-out entities, and then on entities the model was trained on."""
        return list(agreements(self.compared))

    @property
    def metrics(self) -> Mapping[str, float]:
        """For each model, the share of verdicts on held-out entities that it agrees with.

        Without such verdicts there are no shares; without a champion only the new model has one.
        """
        unseen = self.agreements[0]
        agreed = {
            "corrections_agreement": unseen.after,
            "corrections_agreement_before": unseen.before,
        }
        return {
            name: count / unseen.verdicts
            for name, count in agreed.items()
            if count is not None and unseen.verdicts
        }


def compare_with_corrections(
    labeler: Labeler, champion: Labeler | None, data: TrainingData, threads: int
) -> pa.Table:
    """A table with one row for each settled label of each corrected entity.

    `asserted` and `probability` are predictions of the new model. `asserted_before` and
    `probability_before` are predictions of the champion; they are null without a champion. A
    probability is also null if the model does not list the label.
    """
    tables = [_COLUMNS.empty_table()]
    for name, part in ((UNSEEN, data.unseen), (LEARNED, data.learned)):
        if part is not None and len(part):
            table = _compare_part(labeler, champion, part, threads)
            names = pa.array([name] * len(table), pa.string())
            tables.append(table.append_column("part", names))
    return pa.concat_tables(tables)


_COLUMNS = pa.schema(
    [
        pa.field("entity_id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("label", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("asserted_before", pa.bool_()),
        pa.field("asserted", pa.bool_()),
        pa.field("probability_before", pa.float32()),
        pa.field("probability", pa.float32()),
        pa.field("part", pa.string()),
    ]
)


def agreements(compared: pa.Table) -> Iterator[Agreement]:
    """Totals of the table of `compare_with_corrections`: first UNSEEN, then LEARNED."""
    for name in (UNSEEN, LEARNED):
        part = compared.filter(pc.equal(compared["part"], name)).combine_chunks()
        present = pc.equal(part["verdict"], PRESENT).to_numpy()
        after = part["asserted"].to_numpy() == present
        known = not part["asserted_before"].null_count
        before = part["asserted_before"].to_numpy() == present if known else after
        gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
        yield Agreement(
            name,
            len(pc.unique(part["entity_id"])),
            len(part),
            int(after.sum()),
            int(before.sum()) if known else None,
            gained,
            lost,
            float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
        )


def worse_entities(compared: pa.Table) -> int:
    """The number of entities on which the new model agrees with fewer verdicts than the champion.

    `compared` is the table of `compare_with_corrections`. Without a champion the number is 0.
    """
    if not len(compared) or compared["asserted_before"].null_count:
        return 0
    present = pc.equal(compared["verdict"], PRESENT).to_numpy().astype(np.int64)
    after, before = (
        (compared[name].to_numpy().astype(np.int64) == present).astype(np.int64)
        for name in ("asserted", "asserted_before")
    )
    _, owners = np.unique(compared["entity_id"].to_numpy(), return_inverse=True)
    return int((np.bincount(owners, after - before) < 0).sum())


def _compare_part(
    labeler: Labeler, champion: Labeler | None, part: LabelledEntities, threads: int
) -> pa.Table:
    """The settled labels of some entities, with the predictions of both models."""
    identity = part.entities.schema.identity
    names = part.entities.column(identity) if identity else None
    rows, labels, verdicts = [], [], []
    for lists, verdict in ((part.labels, PRESENT), (part.absent, ABSENT)):
        if lists is not None:
            rows.append(pc.list_parent_indices(lists))
            labels.append(lists.flatten())
            verdicts.append(pa.array([verdict] * len(labels[-1]), pa.string()))
    row, label = pa.concat_arrays(rows), pa.concat_arrays(labels)
    nothing = pa.nulls(len(row), pa.bool_()), pa.nulls(len(row), pa.float32())
    asserted, probability = _predicted(labeler, part, row, label, threads)
    before = nothing if champion is None else _predicted(champion, part, row, label, threads)
    return pa.table(
        {
            "entity_id": part.entities.ids.take(row),
            "name": pa.nulls(len(row), pa.string()) if names is None else names.take(row),
            "label": label,
            "verdict": pa.concat_arrays(verdicts),
            "asserted_before": before[0],
            "asserted": asserted,
            "probability_before": before[1],
            "probability": probability,
        }
    ).sort_by([("entity_id", "ascending"), ("label", "ascending")])


def _predicted(
    labeler: Labeler, part: LabelledEntities, rows: pa.Array, labels: pa.StringArray, threads: int
) -> tuple[pa.BooleanArray, pa.FloatArray]:
    """Assertions and probabilities of some pairs; False and null for pairs that are not listed."""
    query = LabelQuery(top_k=min(LISTED_LABELS, len(labeler.labels)))
    predictions = label_all(labeler, part.entities, query, threads)
    count = len(labeler.labels)
    ids = pc.fill_null(pc.index_in(labels, value_set=labeler.labels.array), -1).to_numpy()
    wanted = np.where(ids < 0, -1, rows.to_numpy().astype(np.int64) * count + ids)
    place = find_keys(predictions.keys(), wanted)
    listed = pa.array(place, mask=place < 0)
    asserted = pa.array(predictions.asserted).take(listed).fill_null(False)
    return asserted, pa.array(predictions.probabilities).take(listed)

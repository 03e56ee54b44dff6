"""Corrections in training: what they change in the data, and what they changed in the model."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.tables import Entities
from labelwright.models.features.fingerprints import MADE_ID, made_ids
from labelwright.training.data import LabelledEntities, held_out, held_out_share, split
from labelwright.training.feedback.votes import SettledCorrections

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a model is trained on and measured with.

    With corrections, `learned` and `unseen` are the corrected entities that the model learns from
    and that are held out: partial rows, with what their reviewers settled. The rows of `unseen` are
    not in `train`; those of them that the data have are in `test`.
    """

    train: LabelledEntities
    test: LabelledEntities
    reviews: SettledCorrections | None = None
    learned: LabelledEntities | None = None
    unseen: LabelledEntities | None = None


def without_corrections(data: LabelledEntities, test: LabelledEntities | None) -> TrainingData:
    """Rows as they are; without `test` they are split."""
    if test is not None:
        return TrainingData(data, test)
    train, test = split(data)
    return TrainingData(dataclasses.replace(train, warnings=data.warnings), test)


def corrected(
    data: LabelledEntities, test: LabelledEntities | None, reviews: SettledCorrections
) -> TrainingData:
    """Rows with the labels that reviewers settled, and rows of corrected entities that had none.

    A row is an entity's by its id; by its content where the source or the correction has no id.
    Without `test` the rows are split as ever. Of the corrected entities the same share is held out,
    and those that `test` has; the rest is learned from.
    """
    settled = reviews.settled
    if not len(settled):
        return dataclasses.replace(without_corrections(data, test), reviews=reviews)
    data, of_data = _overridden(data, settled)
    settled, known = _described(settled, data, of_data)
    if test is None:
        share = held_out_share(data.entities)
        unseen = held_out(settled.entities, share)
        kept = ~held_out(data.entities, share)
        test = data.take(np.flatnonzero(~kept))
    else:
        test, of_test = _overridden(test, settled)
        settled, tested = _described(settled, test, of_test)
        unseen = held_out(settled.entities) | tested
        kept = (of_data < 0) | ~unseen[of_data]
    train, new = data.take(np.flatnonzero(kept)), np.flatnonzero(~known & ~unseen)
    train = _joined(train, settled.take(new)) if len(new) else train
    return TrainingData(
        train,
        test,
        reviews,
        learned=settled.take(np.flatnonzero(~unseen)),
        unseen=settled.take(np.flatnonzero(unseen)),
    )


def _overridden(rows: LabelledEntities, settled: LabelledEntities) -> tuple[LabelledEntities, Rows]:
    """Rows with what was settled about them, and which corrected entity each is, -1 for none."""
    of = _matches(rows.entities, settled.entities)
    hit = np.flatnonzero(of >= 0)
    if not len(hit):
        return rows, of
    said = settled.take(of[hit])
    before = _lists_of(rows.labels, hit), _lists_of(_absent(rows), hit)
    labels, absent = [], []
    for has, lacks, present, denied in zip(
        *before, said.labels.to_pylist(), _absent(said).to_pylist(), strict=True
    ):
        labels.append([*(label for label in has if label not in {*present, *denied}), *present])
        absent.append([*(label for label in lacks if label not in {*present, *denied}), *denied])
    return (
        dataclasses.replace(
            rows,
            labels=_replaced(rows.labels, hit, labels),
            absent=_replaced(_absent(rows), hit, absent),
        ),
        of,
    )


def _matches(rows: Entities, settled: Entities) -> Rows:
    """Which corrected entity each row is, -1 for none."""
    made = pc.starts_with(settled.ids, MADE_ID)
    none = pa.scalar(None, pa.string())
    of = np.full(len(rows), -1)
    if rows.anonymous or pc.any(made).as_py():
        keys = made_ids(settled)
        keys = keys if rows.anonymous else pc.if_else(made, keys, none)
        of = _places(made_ids(rows), keys)
    if not rows.anonymous:
        by_id = _places(rows.ids, pc.if_else(made, none, settled.ids))
        of = np.where(by_id >= 0, by_id, of)
    return of


def _places(values: pa.StringArray, keys: pa.StringArray) -> Rows:
    found: Rows = pc.fill_null(pc.index_in(values, value_set=keys), -1).to_numpy().astype(np.int64)
    return found


def _described(
    settled: LabelledEntities, rows: LabelledEntities, of: Rows
) -> tuple[LabelledEntities, npt.NDArray[np.bool_]]:
    """Corrected entities as the rows describe those that they have, and which these are."""
    first = np.full(len(settled), -1)
    first[of[::-1][of[::-1] >= 0]] = np.flatnonzero(of >= 0)[::-1]
    known = first >= 0
    place = np.arange(len(settled))
    place[known] = len(settled) + np.arange(np.count_nonzero(known))
    both = _joined(settled, rows.take(first[known])).entities.take(place)
    return dataclasses.replace(settled, entities=both), known


def _joined(first: LabelledEntities, second: LabelledEntities) -> LabelledEntities:
    """Rows one after another; warnings are left behind."""
    tables = [part.entities.table for part in (first, second)]
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    entities = dataclasses.replace(first.entities, table=table, rejected={}, warnings=())
    return LabelledEntities(
        entities,
        pa.concat_arrays([first.labels, second.labels]),
        (),
        pa.concat_arrays([_absent(first), _absent(second)]),
        np.concatenate([_partial(first), _partial(second)]),
    )


def _absent(rows: LabelledEntities) -> pa.ListArray:
    return pa.nulls(len(rows), rows.labels.type) if rows.absent is None else rows.absent


def _partial(rows: LabelledEntities) -> npt.NDArray[np.bool_]:
    return np.zeros(len(rows), np.bool_) if rows.partial is None else rows.partial


def _lists_of(lists: pa.ListArray, rows: Rows) -> list[list[str]]:
    return [given or [] for given in lists.take(pa.array(rows)).to_pylist()]


def _replaced(lists: pa.ListArray, rows: Rows, by: list[list[str]]) -> pa.ListArray:
    places = np.arange(len(lists))
    places[rows] = len(lists) + np.arange(len(rows))
    return pa.concat_arrays([lists, pa.array(by, lists.type)]).take(pa.array(places))

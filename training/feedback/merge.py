"""Merging of corrections into the training and test rows."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from labelwright.entities.tables import Entities
from labelwright.models.features.fingerprints import CONTENT_ID_PREFIX, content_ids
from labelwright.training.data import LabelledEntities, held_out, held_out_share, split
from labelwright.training.feedback.votes import SettledCorrections

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Training and test rows of a model.

    With corrections, `learned` are the corrected entities that the model is trained on, and
    `unseen` the corrected entities that are held out. All rows of `learned` and `unseen` are
    partial: they have only the labels that the reviewers settled. Entities of `unseen` are not in
    `train`. If the data has rows of these entities, these rows are in `test`. `unlabelled` are rows
    without labels that a teacher labels.
    """

    train: LabelledEntities
    test: LabelledEntities
    corrections: SettledCorrections | None = None
    learned: LabelledEntities | None = None
    unseen: LabelledEntities | None = None
    unlabelled: Entities | None = None


def without_corrections(data: LabelledEntities, test: LabelledEntities | None) -> TrainingData:
    """Training and test rows without corrections; `data` is split if `test` is None."""
    if test is not None:
        return TrainingData(data, test)
    train, test = split(data)
    return TrainingData(dataclasses.replace(train, warnings=data.warnings), test)


def with_corrections(
    data: LabelledEntities, test: LabelledEntities | None, corrections: SettledCorrections
) -> TrainingData:
    """Training and test rows with the labels that reviewers settled.

    Settled labels are written into the row of the corrected entity. A corrected entity without a
    row becomes a new, partial training row, if it is not held out. Rows are matched by id, or by
    content if the rows or the correction have no id. `data` is split by name if `test` is None.
    Corrected entities are held out by name too, and if they are in `test`. The model is trained on
    all other corrected entities.
    """
    settled = corrections.settled
    if not len(settled):
        return dataclasses.replace(without_corrections(data, test), corrections=corrections)
    data, data_positions = _with_settled_labels(data, settled)
    settled, known = _with_fields_of_rows(settled, data, data_positions)
    if test is None:
        share = held_out_share(data.entities)
        unseen = held_out(settled.entities, share)
        kept = ~held_out(data.entities, share)
        test = data.take(np.flatnonzero(~kept))
    else:
        test, test_positions = _with_settled_labels(test, settled)
        settled, in_test = _with_fields_of_rows(settled, test, test_positions)
        unseen = held_out(settled.entities) | in_test
        kept = (data_positions < 0) | ~unseen[data_positions]
    train, added = data.take(np.flatnonzero(kept)), np.flatnonzero(~known & ~unseen)
    train = concatenated(train, settled.take(added)) if len(added) else train
    return TrainingData(
        train,
        test,
        corrections,
        learned=settled.take(np.flatnonzero(~unseen)),
        unseen=settled.take(np.flatnonzero(unseen)),
    )


def _with_settled_labels(
    rows: LabelledEntities, settled: LabelledEntities
) -> tuple[LabelledEntities, Rows]:
    """Rows with their settled labels, and the position of each row's entity in `settled`, or -1."""
    positions = _matches(rows.entities, settled.entities)
    matched = np.flatnonzero(positions >= 0)
    if not len(matched):
        return rows, positions
    corrected = settled.take(positions[matched])
    before = _as_lists(rows.labels, matched), _as_lists(_absent(rows), matched)
    labels, absent = [], []
    for has, lacks, present, denied in zip(
        *before, corrected.labels.to_pylist(), _absent(corrected).to_pylist(), strict=True
    ):
        labels.append([*(label for label in has if label not in {*present, *denied}), *present])
        absent.append([*(label for label in lacks if label not in {*present, *denied}), *denied])
    return (
        dataclasses.replace(
            rows,
            labels=_replaced(rows.labels, matched, labels),
            absent=_replaced(_absent(rows), matched, absent),
        ),
        positions,
    )


def _matches(rows: Entities, settled: Entities) -> Rows:
    """The position of each row's entity in `settled`; -1 for a row without corrections."""
    has_content_id = pc.starts_with(settled.ids, CONTENT_ID_PREFIX)
    none = pa.scalar(None, pa.string())
    positions = np.full(len(rows), -1)
    if rows.anonymous or pc.any(has_content_id).as_py():
        keys = content_ids(settled)
        keys = keys if rows.anonymous else pc.if_else(has_content_id, keys, none)
        positions = _positions(content_ids(rows), keys)
    if not rows.anonymous:
        by_id = _positions(rows.ids, pc.if_else(has_content_id, none, settled.ids))
        positions = np.where(by_id >= 0, by_id, positions)
    return positions


def _positions(values: pa.StringArray, keys: pa.StringArray) -> Rows:
    found: Rows = pc.fill_null(pc.index_in(values, value_set=keys), -1).to_numpy().astype(np.int64)
    return found


def _with_fields_of_rows(
    settled: LabelledEntities, rows: LabelledEntities, positions: Rows
) -> tuple[LabelledEntities, npt.NDArray[np.bool_]]:
    """Corrected entities with the fields of their rows, and a mask of the entities with a row."""
    first = np.full(len(settled), -1)
    first[positions[::-1][positions[::-1] >= 0]] = np.flatnonzero(positions >= 0)[::-1]
    known = first >= 0
    place = np.arange(len(settled))
    place[known] = len(settled) + np.arange(np.count_nonzero(known))
    both = concatenated(settled, rows.take(first[known])).entities.take(place)
    return dataclasses.replace(settled, entities=both), known


def concatenated(first: LabelledEntities, second: LabelledEntities) -> LabelledEntities:
    """The rows of `first`, then the rows of `second`, without their warnings."""
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


def _as_lists(lists: pa.ListArray, rows: Rows) -> list[list[str]]:
    return [given or [] for given in lists.take(pa.array(rows)).to_pylist()]


def _replaced(lists: pa.ListArray, rows: Rows, lists_by_row: list[list[str]]) -> pa.ListArray:
    places = np.arange(len(lists))
    places[rows] = len(lists) + np.arange(len(rows))
    return pa.concat_arrays([lists, pa.array(lists_by_row, lists.type)]).take(pa.array(places))

"""Weighted votes of reviewers: they settle whether an entity has a label.

Only the latest vote of a reviewer on a pair of an entity and a label counts. The vote of a
reviewer has the weight log(p / (1 - p)), where p is the share of the reviewer's votes that agree
with the majority of the other reviewers. This weight is optimal for independent reviewers (Nitzan &
Paroush, "Optimal decision rules in uncertain dichotomous choice situations", 1982). The share is
smoothed towards PRIOR by PRIOR_VOTES additional votes. It is at least MIN_AGREEMENT; therefore no
vote has a negative weight. A pair is undecided if both sides have equal weight.
"""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelwright.entities.corrections import CORRECTIONS, CorrectionStore
from labelwright.entities.errors import DataError, reason
from labelwright.entities.io.locations import locate
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_records
from labelwright.training.data import LabelledEntities

PRIOR, PRIOR_VOTES, MIN_AGREEMENT = 0.8, 5, 0.55
EPSILON = 1e-9
"""Two sides have equal weight if their weights differ by at most EPSILON."""

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class SettledCorrections:
    """The corrected entities, one row for each, with the labels that the reviewers settled.

    The rows of `settled` are partial. `corrections` is the number of corrections, `reviewers` the
    number of reviewers. `contested` is the number of pairs of an entity and a label with votes on
    both sides. `undecided` is the number of these pairs that the votes do not settle.
    """

    settled: LabelledEntities
    corrections: int
    reviewers: int
    contested: int
    undecided: int


def read_corrections(feedback: str, name: str, schema: EntitySchema) -> SettledCorrections:
    """Read the corrections of a model and settle them by vote.

    `feedback` is the URL of a database, or the location of an exported Parquet file. Corrections of
    a model without a name are used too. Raises DataError or StorageError.
    """
    parts = list(_read_tables(feedback))
    table = pa.concat_tables([CORRECTIONS.empty_table(), *parts])
    models = pc.struct_field(table["model"].combine_chunks(), "name")
    of_this_model = pc.fill_null(pc.equal(models, name), True)
    foreign = len(table) - int(pc.sum(of_this_model).as_py() or 0)
    warnings = [f"{foreign:,} corrections left out: they belong to other models"] if foreign else []
    return _settle_table(table.filter(of_this_model), schema, warnings)


def _read_tables(feedback: str) -> Iterator[pa.Table]:
    if feedback.startswith(("sqlite:", "postgresql:", "postgresql+")):
        with CorrectionStore(feedback) as store:
            yield from store.batches()
        return
    location = locate(feedback)
    try:
        with location.open() as stream:
            yield pq.read_table(stream).select(CORRECTIONS.names).cast(CORRECTIONS)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{location} holds no corrections ({reason(error)}): give a Parquet file that "
            "`labelwright corrections export` has written"
        ) from error


def _settle_table(table: pa.Table, schema: EntitySchema, warnings: list[str]) -> SettledCorrections:
    entities = _entities(table, schema)
    if rejected := len(entities.rejected):
        warnings.append(f"{rejected:,} corrected entities left out: the schema rejects them")
    labels, votes = _votes(table, entities.ids, schema.redirects)
    results = settle(votes)
    rows, ids = np.divmod(results.pairs, max(len(labels), 1))

    def lists(sign: int) -> pa.ListArray:
        chosen = results.signs == sign
        return _lists(rows[chosen], labels.take(pa.array(ids[chosen])), len(entities))

    partial = np.ones(len(entities), np.bool_)
    everything = LabelledEntities(entities, lists(1), (), lists(-1), partial)
    usable = np.setdiff1d(rows, list(entities.rejected))
    return SettledCorrections(
        dataclasses.replace(everything.take(usable), warnings=warnings),
        len(table),
        len(pc.unique(table["reviewer"])),
        int(results.contested.sum()),
        int((results.signs == 0).sum()),
    )


def _entities(table: pa.Table, schema: EntitySchema) -> Entities:
    """The corrected entities; the fields of an entity are from its latest correction."""
    described = dict(zip(table["entity_id"].to_pylist(), table["entity"].to_pylist(), strict=True))
    try:
        records = [json.loads(entity) | {"id": i} for i, entity in described.items()]
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            "the entity of a correction is not a JSON object: export the corrections again"
        ) from error
    return from_records(records, schema)


@dataclasses.dataclass(frozen=True)
class Votes:
    """Votes: three arrays with one element for each vote.

    `pairs` is the number of the pair of an entity and a label, `reviewers` the number of the
    reviewer. `signs` is 1 for a vote that the label is present, -1 for a vote that the label is
    absent. Each reviewer has at most one vote on a pair.
    """

    pairs: Numbers
    reviewers: Numbers
    signs: Numbers


@dataclasses.dataclass(frozen=True)
class SettledPairs:
    """The result of the vote on each pair: three arrays with one element for each pair.

    `signs` is 1 for present, -1 for absent and 0 for undecided. `contested` is True for pairs with
    votes on both sides.
    """

    pairs: Numbers
    signs: Numbers
    contested: npt.NDArray[np.bool_]


def settle(votes: Votes) -> SettledPairs:
    """Settle each pair by weighted votes; the module's docstring defines the weights."""
    pairs, of_pair = np.unique(votes.pairs, return_inverse=True)
    weights = _weights(votes, of_pair)[votes.reviewers]
    total = np.bincount(of_pair, weights * votes.signs, len(pairs))
    sides = [np.bincount(of_pair[votes.signs == sign], minlength=len(pairs)) for sign in (1, -1)]
    signs = np.where(np.abs(total) > EPSILON, np.sign(total), 0).astype(np.int64)
    return SettledPairs(pairs, signs, (sides[0] > 0) & (sides[1] > 0))


def _weights(votes: Votes, of_pair: Numbers) -> Floats:
    """The weight of each reviewer's votes."""
    others = np.bincount(of_pair, votes.signs)[of_pair] - votes.signs
    counted = others != 0  # False without other votes, or if the other votes are equally divided
    voted = votes.reviewers[counted]
    agreed = votes.signs[counted] * others[counted] > 0
    reviewers = int(votes.reviewers.max(initial=-1)) + 1
    agreeing = np.bincount(voted[agreed], minlength=reviewers) + PRIOR * PRIOR_VOTES
    share = agreeing / (np.bincount(voted, minlength=reviewers) + PRIOR_VOTES)
    share = np.maximum(share, MIN_AGREEMENT)
    weights: Floats = np.log(share / (1 - share))
    return weights


def _votes(
    table: pa.Table, names: pa.StringArray, redirects: Redirects
) -> tuple[pa.StringArray, Votes]:
    """The names of all labels with votes, and the latest vote of each reviewer on each pair."""
    entities = pc.index_in(table["entity_id"], value_set=names).to_numpy().astype(np.int64)
    reviewers = pc.index_in(table["reviewer"], value_set=pc.unique(table["reviewer"])).to_numpy()
    rows, labels, signs = [], [], []
    for column, sign in (("confirmed", 1), ("added", 1), ("denied", -1)):
        lists = redirects.rewrite(table[column].combine_chunks())
        rows.append(pc.list_parent_indices(lists).to_numpy().astype(np.int64))
        labels.append(lists.flatten())
        signs.append(np.full(len(labels[-1]), sign, np.int64))
    given, row, chosen = pa.concat_arrays(labels), np.concatenate(rows), np.concatenate(signs)
    distinct = pc.unique(given)
    label = pc.index_in(given, value_set=distinct).to_numpy().astype(np.int64)
    pairs = entities[row] * max(len(distinct), 1) + label
    ballots = pairs * len(table) + reviewers[row]
    newest_first = np.argsort(-row, kind="stable")
    _, last = np.unique(ballots[newest_first], return_index=True)
    kept = newest_first[last]
    return distinct, Votes(pairs[kept], reviewers[row][kept].astype(np.int64), chosen[kept])


def _lists(rows: Numbers, labels: pa.StringArray, count: int) -> pa.ListArray:
    """A list of labels for each of `count` rows; `rows` (ascending) is the row of each label."""
    offsets = np.searchsorted(rows, np.arange(count + 1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), labels)

"""Votes of reviewers: the latest vote counts, weighted by agreement with other reviewers."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.entities.corrections import CORRECTIONS
from labelwright.entities.errors import DataError
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import load_schema
from labelwright.training.feedback.votes import SettledCorrections, Votes, read_corrections, settle

VOTES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from([1, -1])),
    max_size=40,
    unique_by=lambda vote: vote[:2],
)


def votes(given_votes: Sequence[tuple[int, int, int]]) -> Votes:
    """Votes from tuples of a pair, a reviewer and a sign."""
    columns = np.array(given_votes, np.int64).reshape(-1, 3).T
    return Votes(*columns)


def settled(*given_votes: tuple[int, int, int]) -> dict[int, int]:
    verdicts = settle(votes(given_votes))
    return dict(zip(verdicts.pairs.tolist(), verdicts.signs.tolist(), strict=True))


def read(
    folder: Path,
    *corrections: dict[str, Any],
    name: str = "small",
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> SettledCorrections:
    """Export corrections and settle them; `renamed` maps old names of labels to new names."""
    rows = [
        {
            "key": str(n),
            "reviewer": "anna",
            "entity_id": "e",
            "entity": json.dumps({"name": "Joe's"}),
            "confirmed": [],
            "denied": [],
            "added": [],
            "model": {"name": "small", "version": "1", "content": "f00"},
            "said": [],
            **correction,
        }
        for n, correction in enumerate(corrections)
    ]
    file = folder / "corrections.parquet"
    pq.write_table(pa.Table.from_pylist(rows, CORRECTIONS), file)
    schema = dataclasses.replace(load_schema("places"), redirects=Redirects(renamed))
    return read_corrections(str(file), name, schema)


def lists(corrections: SettledCorrections) -> dict[str, tuple[set[str], set[str]]]:
    """The present and the absent labels of the entities, by id."""
    data = corrections.settled
    assert data.absent is not None
    return {
        i: (set(has), set(lacks))
        for i, has, lacks in zip(
            data.entities.ids.to_pylist(),
            data.labels.to_pylist(),
            data.absent.to_pylist(),
            strict=True,
        )
    }


@given(VOTES)
def test_a_unanimous_vote_settles_a_pair(given_votes: list[tuple[int, int, int]]) -> None:
    found = settled(*given_votes)
    for pair in {vote[0] for vote in given_votes}:
        signs = {sign for voted, _, sign in given_votes if voted == pair}
        if len(signs) == 1:
            assert found[pair] == signs.pop()
    assert set(found) == {vote[0] for vote in given_votes}


@given(VOTES)
def test_opposite_votes_have_the_opposite_result(given_votes: list[tuple[int, int, int]]) -> None:
    opposite = [(pair, reviewer, -sign) for pair, reviewer, sign in given_votes]
    found = settled(*given_votes)
    assert settled(*opposite) == {pair: -sign for pair, sign in found.items()}
    contested = settle(votes(given_votes)).contested
    assert all(sign or split for sign, split in zip(found.values(), contested, strict=True))


def test_the_majority_settles_a_pair_and_a_tie_is_undecided() -> None:
    assert settled((0, 0, 1), (0, 1, 1), (0, 2, -1)) == {0: 1}
    assert settled((0, 0, 1), (0, 1, -1)) == {0: 0}


def test_votes_of_reviewers_who_agree_with_others_have_more_weight() -> None:
    history = [(pair, reviewer, 1) for pair in range(1, 9) for reviewer in (0, 1, 2)]
    history += [(pair, 3, -1) for pair in range(1, 9)]
    assert settled(*history, (0, 0, 1), (0, 3, -1))[0] == 1
    assert settled(*history, (0, 0, -1), (0, 3, 1))[0] == -1


def test_the_latest_vote_and_the_latest_fields_count(tmp_path: Path) -> None:
    corrections = read(
        tmp_path,
        {"confirmed": ["a"], "denied": ["b"]},
        {"denied": ["a"], "added": ["c"], "entity": json.dumps({"name": "Joe's Pizza"})},
    )
    assert lists(corrections) == {"e": ({"c"}, {"a", "b"})}
    assert corrections.settled.entities.table["name"].to_pylist() == ["Joe's Pizza"]
    assert (corrections.corrections, corrections.reviewers, corrections.contested) == (2, 1, 0)


def test_votes_on_a_renamed_label_count_for_its_new_name(tmp_path: Path) -> None:
    corrections = read(
        tmp_path,
        {"confirmed": ["old", "gone"]},
        {"reviewer": "ben", "denied": ["new"]},
        {"reviewer": "eve", "confirmed": ["new"]},
        renamed={"old": "new", "gone": ""},
    )
    assert lists(corrections) == {"e": ({"new"}, set())}
    assert corrections.contested == 1


def test_contested_and_undecided_pairs_are_counted(tmp_path: Path) -> None:
    corrections = read(
        tmp_path,
        {"confirmed": ["a"], "reviewer": "anna"},
        {"denied": ["a"], "added": ["b"], "reviewer": "ben"},
        {"entity_id": "f", "denied": ["a"], "reviewer": "ben"},
    )
    assert lists(corrections) == {"e": ({"b"}, set()), "f": (set(), {"a"})}
    assert (corrections.reviewers, corrections.contested, corrections.undecided) == (2, 1, 1)


def test_corrections_of_other_models_and_rejected_entities_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    other = {"name": "other", "version": "1", "content": "f00"}
    nameless = {"name": None, "version": None, "content": "f00"}
    corrections = read(
        tmp_path,
        {"entity_id": "o", "confirmed": ["a"], "model": other},
        {"entity_id": "n", "confirmed": ["a"], "model": nameless},
        {"entity_id": "u", "confirmed": ["a"], "entity": json.dumps({"lat": 200, "lon": 1})},
    )
    assert lists(corrections) == {"n": ({"a"}, set())}
    assert corrections.settled.warnings == [
        "1 corrections left out: they belong to other models",
        "1 corrected entities left out: the schema rejects them",
    ]


def test_there_may_be_no_corrections(tmp_path: Path) -> None:
    corrections = read(tmp_path)
    assert len(corrections.settled) == 0
    assert (corrections.corrections, corrections.reviewers) == (0, 0)


def test_a_file_without_corrections_is_an_error(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["a"]}), other)
    for wrong in (other, tmp_path / "none.parquet"):
        with pytest.raises(DataError, match="holds no corrections"):
            read_corrections(str(wrong), "small", load_schema("places"))

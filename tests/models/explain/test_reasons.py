"""Reasons: they add up to the log-odds, and they do not change predictions."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import RequestError
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.explain.reasons import (
    ABOUT,
    LARGEST,
    NEGLIGIBLE,
    REASON,
    TEXT_LIMIT,
    all_reasons,
    explain,
)
from labelwright.models.labeler import CHUNK, Labeler
from tests import plain

some = settings(max_examples=30, deadline=None)

WORDS = st.lists(
    st.sampled_from(
        ["Pizza", "Caf\u00e9", "Bank", "Joe's", "\u5bff\u53f8", "\U0001f355", "\ufb01sh", "5\u338f"]
    ),
    max_size=4,
).map(" ".join)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "name": WORDS | st.text(max_size=9),
        "alternative_names": st.lists(WORDS, max_size=2),
        "country": st.sampled_from(["US", "DE;AT", "??"]),
        "website": st.sampled_from(["https://bank.example", "http://www.pizza.de/x", "-"]),
        "phone": st.sampled_from(["+49 30 12", "1"]),
        "brand": WORDS,
        "description": WORDS,
        "tags": st.dictionaries(st.sampled_from(["fee", "level"]), WORDS, max_size=2),
    },
)


def raw_log_odds(
    labeler: Labeler, entities: Entities, predictions: Predictions
) -> npt.NDArray[np.float64]:
    """For each label prediction, the raw score of the trees or the log-odds of the linear score."""
    rows = labeler.features.transform(entities)
    scores, chosen, _ = plain.stages(labeler, rows)
    trees = lightgbm.Booster(model_str=labeler.reranker.trees)
    pairs = labeler.pairs(rows, scores, chosen)
    raw = np.asarray(trees.predict(pairs, raw_score=True)).reshape(chosen.shape)
    decisions = labeler.decisions
    found = []
    for row in range(len(entities)):
        for label in predictions.ids[predictions.indptr[row] : predictions.indptr[row + 1]]:
            (place,) = np.nonzero(chosen[row] == label)
            tail = decisions.slope * float(scores[row, label]) + decisions.intercept
            found.append(float(raw[row, place[0]]) if len(place) else tail)
    return np.array(found)


def assert_sums(labeler: Labeler, entities: Entities, query: LabelQuery) -> None:
    """Check that all reasons add up to the raw log-odds.

    Listed reasons, together with the rest, may differ from the log-odds by at most NEGLIGIBLE.
    """
    predictions = labeler.label(entities, query)
    expected = raw_log_odds(labeler, entities, predictions)
    everything = np.concatenate(
        [reasons.log_odds for reasons in all_reasons(labeler, entities, predictions)]
    )
    assert everything == pytest.approx(expected, rel=1e-4, abs=1e-4)
    explanation = explain(labeler, entities, query)
    listed = [sum(reason["weight"] for reason in reasons) for reasons in explanation.to_records()]
    assert listed == pytest.approx(explanation.log_odds.tolist(), abs=NEGLIGIBLE)
    assert explanation.log_odds == pytest.approx(expected, rel=1e-4, abs=2e-4)


def reasons_for(labeler: Labeler, record: dict[str, Any], label: str) -> list[dict[str, Any]]:
    """The reasons of one label of one entity."""
    explanation = explain(
        labeler, from_records([record], labeler.schema), LabelQuery(only=(label,))
    )
    (reasons,) = explanation.to_records()
    return reasons


def spans_of(reasons: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(r["field"], r["text"]) for r in reasons if r["about"] == "field"]


# sums


@some
@given(st.lists(RECORDS, min_size=1, max_size=3), st.sampled_from([1, 5, 40]))
def test_reasons_add_up_to_the_log_odds(
    labeler: Labeler, records: list[dict[str, Any]], top_k: int
) -> None:
    assert_sums(labeler, from_records(records, labeler.schema), LabelQuery(top_k=top_k))


def test_reasons_of_real_entities_add_up_to_the_log_odds(
    labeler: Labeler, brands: Entities
) -> None:
    assert_sums(labeler, brands.slice(100, 30), LabelQuery(top_k=len(labeler.labels)))


@pytest.mark.parametrize("record", [{}, {"name": ""}, {"name": "\U0001f355"}])
def test_an_entity_without_features_has_no_reasons_from_fields(
    labeler: Labeler, record: dict[str, Any]
) -> None:
    entities = from_records([record], labeler.schema)
    assert_sums(labeler, entities, LabelQuery(top_k=40))
    explanation = explain(labeler, entities, LabelQuery(top_k=40))
    assert not any(spans_of(reasons) for reasons in explanation.to_records())


def test_without_entities_there_are_no_reasons(labeler: Labeler) -> None:
    explanation = explain(labeler, Entities.empty(labeler.schema, 0), LabelQuery())
    assert len(explanation.to_arrow()) == len(explanation.log_odds) == 0


# predictions


@pytest.mark.parametrize("query", [LabelQuery(), LabelQuery(top_k=1), LabelQuery(only=("shop=*",))])
def test_predictions_are_the_same_as_without_reasons(
    labeler: Labeler, brands: Entities, query: LabelQuery
) -> None:
    entities = brands.slice(0, 50)
    plain = labeler.label(entities, query).to_arrow().to_pylist()
    explained = explain(labeler, entities, query).to_arrow().to_pylist()
    for labels in explained:
        for label in labels:
            assert label.pop("reasons") is not None
            assert isinstance(label.pop("log_odds"), float)
    assert explained == plain


def test_reasons_do_not_depend_on_the_batch_or_on_other_threads(
    labeler: Labeler, brands: Entities
) -> None:
    parts = [brands.slice(start, 4) for start in range(0, 40, 4)]
    whole = explain(labeler, brands.slice(0, 40), LabelQuery()).to_arrow()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: explain(labeler, part, LabelQuery()).to_arrow(), parts))
    assert pa.concat_arrays(found).equals(whole)


def test_the_size_of_a_batch_does_not_change_reasons(labeler: Labeler, brands: Entities) -> None:
    names = brands.table.select(["id", "country"]).slice(0, CHUNK + 2)
    entities = Entities(labeler.schema, names)
    whole = explain(labeler, entities, LabelQuery(top_k=1, only=("amenity=bank",))).to_arrow()
    last = explain(labeler, entities.slice(CHUNK, 2), LabelQuery(1, only=("amenity=bank",)))
    assert whole.slice(CHUNK).to_pylist() == last.to_arrow().to_pylist()


def test_a_rejected_row_has_neither_labels_nor_reasons(labeler: Labeler) -> None:
    records = [{"name": "Shell"}, {"name": "Shell", "lat": 200, "lon": 0}, {"name": "Shell"}]
    entities = from_records(records, labeler.schema)
    first, bad, last = explain(labeler, entities, LabelQuery()).to_arrow([1]).to_pylist()
    assert first == last
    assert bad is None
    assert first[0]["reasons"]


def test_an_unsupported_query_is_an_error(labeler: Labeler, brands: Entities) -> None:
    with pytest.raises(RequestError):
        explain(labeler, brands.slice(0, 1), LabelQuery(only=("no such label",)))


# content of reasons


def test_the_label_pizza_is_explained_by_the_same_word_in_the_name(labeler: Labeler) -> None:
    record = {"name": "Joe's Pizza", "country": "US", "website": "https://pizza.example"}
    reasons = reasons_for(labeler, record, "cuisine=pizza")
    first = next(reason for reason in reasons if reason["about"] == "field")
    assert first["weight"] > 1
    assert {k: v for k, v in first.items() if k != "weight"} == {
        "about": "field",
        "field": "name",
        "text": "Pizza",
        "start": 6,
        "end": 11,
    }
    assert {"frequency", "competition"} <= {reason["about"] for reason in reasons}
    assert ("website", "https://pizza.example") in spans_of(reasons)


def test_positions_are_code_points_of_the_original_text(labeler: Labeler) -> None:
    name = "\U0001f355\u0130 \uff30\uff29\uff3a\uff3a\uff21"  # case folding makes the text longer
    found = next(
        reason
        for reason in reasons_for(labeler, {"name": name}, "cuisine=pizza")
        if reason.get("text") == name[3:]
    )
    assert (found["start"], found["end"]) == (3, 8)
    assert found["weight"] > 1


def test_tags_have_no_positions(labeler: Labeler) -> None:
    known = {"name": "Pizza", "tags": {"cuisine": "x"}}
    for reasons in explain(
        labeler, from_records([known], labeler.schema), LabelQuery(top_k=40)
    ).to_records():
        assert all(("start" in r) == (r["field"] != "tags") for r in reasons if "field" in r)


def test_the_number_of_reasons_is_limited_and_the_largest_come_first(
    labeler: Labeler, brands: Entities
) -> None:
    explanation = explain(labeler, brands.slice(0, 60), LabelQuery(top_k=40))
    assert explanation.reasons.type == pa.list_(REASON)
    rests = 0
    for reasons in explanation.to_records():
        listed = [reason for reason in reasons if reason["about"] != "rest"]
        sizes = [abs(reason["weight"]) for reason in listed]
        assert sizes == sorted(sizes, reverse=True)
        assert len(listed) <= LARGEST
        assert reasons[: len(listed)] == listed
        assert all(abs(reason["weight"]) >= NEGLIGIBLE for reason in reasons)
        assert {reason["about"] for reason in reasons} <= set(ABOUT)
        assert all(("field" in r) == ("text" in r) == (r["about"] == "field") for r in reasons)
        assert all("label" not in r or r["about"] == "company" for r in reasons)
        rests += len(reasons) - len(listed)
    assert rests


def test_a_long_text_is_shortened(labeler: Labeler) -> None:
    record = {"name": "Pizza", "website": f"https://pizza.example/{'x' * 500}"}
    (found,) = {
        (reason["text"], reason["start"], reason["end"])
        for reasons in explain(
            labeler, from_records([record], labeler.schema), LabelQuery(top_k=40)
        ).to_records()
        for reason in reasons
        if reason.get("field") == "website"
    }
    assert found == (record["website"][:TEXT_LIMIT], 0, len(record["website"]))


def test_the_reason_company_names_the_label_that_contributes_most(labeler: Labeler) -> None:
    entities = from_records([{"name": "Joe's Pizza", "country": "US"}], labeler.schema)
    predictions = labeler.label(entities, LabelQuery(top_k=5))
    (reasons,) = all_reasons(labeler, entities, predictions)
    scores, chosen, _ = plain.stages(labeler, labeler.features.transform(entities))
    lifts = labeler.reranker.lifts(scores[0], chosen[0], predictions.ids)
    named = 0
    for lift, co_occurrence, companion, label in zip(
        lifts, reasons.co_occurrence, reasons.co_occurring, predictions.ids, strict=True
    ):
        if companion >= 0:
            assert companion != label
            largest_lift = lift[chosen[0] == companion][0]
            assert largest_lift == (lift.max() if co_occurrence > 0 else lift.min())
            assert largest_lift * co_occurrence > 0
            named += 1
    assert named

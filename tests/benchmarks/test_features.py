"""Features of the peers, and samples of data sets."""

import numpy as np
import pyarrow as pa
import scipy.sparse

from benchmarks import features
from benchmarks.sets import sample, with_frequent_labels
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import from_table


def test_words_of_a_place_have_their_field_as_prefix(places: EntitySchema) -> None:
    row = {
        "name": "Joe's  Pizza",
        "address": "7 Carmine St",
        "city": "New York",
        "country": "US",
        "phone": "+1 212 366 1182",
        "website": "https://www.joes.example/menu",
    }
    texts = features.columns_of(from_table(pa.Table.from_pylist([row, {"name": "Two"}]), places))
    assert texts["name"] == ["Joe's Pizza", "Two"]
    assert texts["line"] == [
        "joe s pizza address=7 address=carmine address=st city=new city=york country=us "
        "phone=+12123 web=joes.example",
        "two",
    ]


def test_rows_have_unit_norm_and_unknown_words_no_features() -> None:
    blocks = features._blocks("text")
    train = {"text": ["red apple", "red apple", "red apple pie"]}
    rows = features._vectorized(blocks, train, fit=True)
    assert np.allclose(scipy.sparse.linalg.norm(rows, axis=1), 1)
    other = features._vectorized(blocks, {"text": ["zzz", "red"]}, fit=False)
    assert other.shape[1] == rows.shape[1]
    assert other[0].nnz == 0
    assert other[1].nnz > 1


def test_a_sample_keeps_the_order_and_is_reproducible() -> None:
    table = pa.table({"id": list(range(100))})
    some = sample(table, 10)["id"].to_pylist()
    assert some == sorted(set(some))
    assert len(some) == 10
    assert some == sample(table, 10)["id"].to_pylist()
    assert sample(table, 1_000) is table


def test_only_the_most_frequent_labels_are_kept() -> None:
    table = pa.table({"labels": [["a", "b"], ["c"], ["b", "c"], ["b"], []], "id": list("vwxyz")})
    kept = with_frequent_labels(table, 2)
    assert kept["labels"].to_pylist() == [["b"], ["c"], ["b", "c"], ["b"], []]
    assert kept["id"].to_pylist() == list("vwxyz")

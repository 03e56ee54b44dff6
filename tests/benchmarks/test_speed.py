"""What the benchmark of speed compares does the same work, and what it labels is not real."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.perturbed import altered, perturbed, write_perturbed
from benchmarks.speed import (
    Labelled,
    Timed,
    as_matrix,
    as_weights,
    document,
    slope,
    stages,
    weight_bytes,
)
from entities.tables import Entities, conform
from models.labeler import Labeler

COLUMNS = ("name", "address", "city", "region", "postcode", "country", "phone", "website")


@pytest.fixture
def real() -> pa.Table:
    rows = 50
    texts = {name: [f"{name} {n} Café" for n in range(rows)] for name in COLUMNS}
    places = pa.table({**texts, "lat": np.arange(rows) / 2, "lon": np.arange(rows) / 1})
    return places.set_column(6, "phone", pa.array([None, "", *("+1 207 555",) * (rows - 2)]))


def test_one_letter_of_a_text_is_another() -> None:
    texts = pa.array(["Joe's Pizza", None, "", "12", "éé", "a"] * 50, pa.large_string())
    changed = altered(texts, np.random.default_rng(0)).to_pylist()
    differing = 0
    for before, after in zip(texts.to_pylist(), changed, strict=True):
        if not before:
            assert after == before
            continue
        places = [n for n, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1]
        assert len(places) <= 1
        for n in places:
            assert before[n].isdigit() == after[n].isdigit()
            assert before[n].isupper() == after[n].isupper()
        differing += bool(places)
    assert 100 < differing < 200  # of 200; a place in between the letters stays what it was


def test_made_places_are_none_of_the_real_ones(real: pa.Table) -> None:
    made = perturbed(real, 1_000, 400, np.random.default_rng(0))
    assert made["id"].to_pylist() == [str(n) for n in range(1_000, 1_400)]
    rows = {tuple(row.values()) for row in real.select(COLUMNS).to_pylist()}
    assert not rows & {tuple(row.values()) for row in made.select(COLUMNS).to_pylist()}
    assert len({tuple(row.values()) for row in made.select(COLUMNS).to_pylist()}) == 400
    assert made["phone"].null_count > 0


def test_files_have_as_many_rows_as_asked_for(real: pa.Table, tmp_path: Path) -> None:
    pq.write_table(real, tmp_path / "real.parquet")
    write_perturbed(tmp_path / "real.parquet", tmp_path / "made.parquet", 1_234)
    assert pq.read_metadata(tmp_path / "made.parquet").num_rows == 1_234


def test_what_is_compared_gives_the_same_scores(labeler: Labeler, brands: Entities) -> None:
    rows = labeler.features.transform(brands.slice(0, 100))
    product = as_matrix(rows, len(labeler.features.keys)) @ as_weights(labeler.linear)
    expected = labeler.linear.scores(rows)
    assert product.toarray() + labeler.linear.bias == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert 0 < weight_bytes(labeler, brands.slice(0, 100)) < labeler.linear.dense.nbytes


def test_each_stage_is_timed(labeler: Labeler, real: pa.Table) -> None:
    made = perturbed(real, 0, 40, np.random.default_rng(0))
    timed = list(stages(labeler, conform(made, labeler.schema)))
    assert all(line.microseconds > 0 for line in timed)
    assert {line.what for line in timed if line.way == "labelwright"} == {
        line.what for line in timed
    }


def test_the_page_tells_ratios_and_the_rate_between_two_files() -> None:
    labelled = [Labelled(2_000, 3.0, 5 * 10**8), Labelled(6_000, 5.0, 6 * 10**8)]
    assert slope(labelled) == 2_000
    timed = [Timed("features", "labelwright", 2.0), Timed("features", "another", 9.0)]
    page = document(timed, labelled, {"date": "today"}, "- more\n")
    assert "| features | labelwright | **2.00** | 1.0 |" in page
    assert "| features | another | 9.00 | 4.5 |" in page
    assert "| file | 6,000 rows | 5.0 | 600 |" in page
    assert page.endswith("- 2,000 rows a second, from the difference of the two files\n- more\n")

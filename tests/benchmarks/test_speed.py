"""What the benchmark of speed compares does the same work, and what it labels is not real."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import over_http
from benchmarks.exactness import EXACT, Quality
from benchmarks.growth import Grown, exponent, grown, with_features, with_labels
from benchmarks.kernels import Timed, as_matrix, one_record, stages, through_mlflow
from benchmarks.over_http import WAYS, Paced, Served, Taken, served, worker_bytes
from benchmarks.perturbed import altered, perturbed, write_perturbed
from benchmarks.pipeline import as_weights
from benchmarks.speed import of_rows, weight_bytes
from benchmarks.speed_page import Labelled, Measured, Start, document, slope
from labelwright.entities.tables import Entities, from_table
from labelwright.models.labeler import Labeler
from tests import plain
from tests.conftest import World

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
    within = 1e-4 + plain.rounding(labeler.linear, rows)
    differences = np.abs(product.toarray() + labeler.linear.bias - expected)
    assert (differences <= within[:, None]).all()
    assert 0 < weight_bytes(labeler, brands.slice(0, 100)) < labeler.linear.dense.nbytes


def test_each_stage_is_timed(labeler: Labeler, real: pa.Table) -> None:
    made = perturbed(real, 0, 40, np.random.default_rng(0))
    timed = list(stages(labeler, from_table(made, labeler.schema)))
    assert all(line.microseconds > 0 for line in timed)
    assert {line.what for line in timed if line.way == "labelwright"} == {
        line.what for line in timed
    }


def test_the_page_tells_ratios_and_the_rate_between_two_files() -> None:
    labelled = [
        Labelled(2_000, 3.0, 5 * 10**8, threads=2),
        Labelled(6_000, 5.0, 6 * 10**8, threads=2),
        Labelled(10, 3.0, 10**8, "another"),
        Labelled(50, 5.0, 10**8, "another"),
    ]
    assert slope(labelled) == 2_000
    what = "scores of all labels"
    page = document(
        Measured(
            facts={"date": "today"},
            timed=[Timed(what, "labelwright", 2.0), Timed(what, "another", 9.0)],
            labelled=labelled,
            qualities=[
                Quality("test", "labelwright", 80.0, 55.0),
                Quality("test", EXACT, 80.05, 54.98),
            ],
            over_http=[
                Served(way, n, 90 * n / k)
                for k, way in enumerate(WAY_NAMES, 1)
                for n in (1, 32, 1_000)
            ],
            paced=[Paced(way, 1.0, 2.0) for way in WAY_NAMES],
            taken=[Taken(way, 1.5, 3e8) for way in WAY_NAMES],
            grown=[
                *of_rows(labelled),
                *(Grown("scores", number, "labels", 2 * number) for number in (100, 400)),
            ],
            bundle_bytes=200 * 10**6,
            start=Start(0.4, 0.2, 0.3),
            bandwidth=3e10,
            weight_bytes=3e4,
            worker_bytes=120e6,
            streamed=1_500.0,
            notes=["omikuji: not installed"],
        )
    )
    assert f"| {what} | labelwright | **2.00** | 1.0 |" in page
    assert f"| {what} | another | 9.00 | 4.5 |" in page
    assert "| 6,000 rows | labelwright, 2 threads | 5.0 | 600 | 2,000 |" in page
    assert "| 50 rows | another, 1 thread | 5.0 | 100 | 20 |" in page
    assert "| test | the exact model | 80.05 | 54.98 |" in page
    assert "Given up: +0.05 of P@1 and -0.02 of P@5 on test.\n" in page
    assert "| one worker | mlflow models serve | **1.5** | **300** |" in page
    assert "| whole files | rows | 6,000 | 833.33 |" in page
    assert "grow with the rows" not in page
    assert "- 2,000 rows a second, from the difference of the two files\n" in page
    assert "1,500 rows a second, 75% of the rate of whole files." in page
    assert "which are read at 15.0 GB a second (50%)" in page
    assert "a new process answers in 0.90 s: it imports in 0.40 s, " in page
    assert "a third worker of the service takes 120 MB more" in page
    assert "| 32 | mlflow models serve | 1,440 | 2.0 |" in page
    assert "grow with the labels to the power of 1.00" in page
    assert page.endswith("## Not measured\n\n- omikuji: not installed\n")


WAY_NAMES = [way.name for way in WAYS]


def test_fewer_labels_and_features_score_as_in_the_whole(
    labeler: Labeler, brands: Entities
) -> None:
    rows = labeler.features.transform(brands.slice(0, 50))
    whole = labeler.linear.scores(rows)
    for labels in (1, 64, 100):
        fewer = with_labels(labeler.linear, labels)
        np.testing.assert_array_equal(fewer.scores(rows), whole[:, :labels])
    half = with_features(rows, 0.5)
    assert np.array_equal(with_features(rows, 1.0).indices, rows.indices)
    assert len(half.indices) == np.ceil(np.diff(rows.indptr) / 2).sum()
    assert half.indices[half.indptr[3]] == rows.indices[rows.indptr[3]]


def once(work: Callable[[], object], count: int) -> float:
    """Do it, and tell something."""
    work()
    return float(count)


def test_growth_is_measured_and_its_exponent_told(labeler: Labeler, brands: Entities) -> None:
    lines = list(grown(labeler, brands.slice(0, 20), once))
    assert {line.of for line in lines} == {"labels", "features an entity", "candidates"}
    squares = [Grown("scores", n, "labels", 3.0 * n * n) for n in (10, 20, 40)]
    assert exponent(squares) == pytest.approx(2)


@pytest.mark.integration
def test_both_servers_are_measured_and_give_the_same_labels(
    world: World, brands: Entities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT_HOME", str(world.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(over_http, "SECONDS", 0.2)
    monkeypatch.setattr(over_http, "BATCHES", (1, 5))
    monkeypatch.setattr(over_http, "STARTS", 1)
    records = [one_record(brands.slice(row, 1)) for row in range(40)]
    found = list(served(world.uri, records, tmp_path))
    rates = [line for line in found if isinstance(line, Served)]
    assert [(line.way, line.batch) for line in rates] == [(n, b) for b in (1, 5) for n in WAY_NAMES]
    assert all(line.entities > 0 for line in rates)
    monkeypatch.setattr(over_http, "SETTLING", 3.0)
    assert 10e6 < worker_bytes(world.uri, records, tmp_path) < 1e9
    assert all(0 < line.half <= line.most for line in found if isinstance(line, Paced))
    taken = [line for line in found if isinstance(line, Taken)]
    assert [line.way for line in taken] == WAY_NAMES
    assert all(0 < line.seconds < 100 and 10e6 < line.memory_bytes < 4e9 for line in taken)
    assert through_mlflow(world.uri, records[0]).microseconds > 0

"""The speed benchmark: synthetic places, compared implementations, the page, and two servers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import over_http
from benchmarks.exact_model import EXACT, Quality
from benchmarks.growth import GrowthPoint, exponent, growth, with_features, with_labels
from benchmarks.over_http import SERVERS, Cost, Latency, Throughput, measured, worker_bytes
from benchmarks.perturbed import altered, perturbed, write_perturbed
from benchmarks.pipeline import as_weights
from benchmarks.speed import growth_with_rows, weight_bytes
from benchmarks.speed_page import FileRun, Measurements, Start, document, rate
from benchmarks.stage_times import StageTime, as_matrix, first_record, stages, through_mlflow
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


def test_one_character_of_a_text_is_replaced() -> None:
    texts = pa.array(["Joe's Pizza", None, "", "12", "éé", "a"] * 50, pa.large_string())
    changed = altered(texts, np.random.default_rng(0)).to_pylist()
    differing = 0
    for before, after in zip(texts.to_pylist(), changed, strict=True):
        if not before:
            assert after == before
            continue
        changes = [n for n, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1]
        assert len(changes) <= 1
        for n in changes:
            assert before[n].isdigit() == after[n].isdigit()
            assert before[n].isupper() == after[n].isupper()
        differing += bool(changes)
    assert 100 < differing < 200  # of 200 texts; a character without a class is not replaced


def test_synthetic_places_differ_from_real_places(real: pa.Table) -> None:
    made = perturbed(real, 1_000, 400, np.random.default_rng(0))
    assert made["id"].to_pylist() == [str(n) for n in range(1_000, 1_400)]
    rows = {tuple(row.values()) for row in real.select(COLUMNS).to_pylist()}
    assert not rows & {tuple(row.values()) for row in made.select(COLUMNS).to_pylist()}
    assert len({tuple(row.values()) for row in made.select(COLUMNS).to_pylist()}) == 400
    assert made["phone"].null_count > 0


def test_files_have_the_requested_number_of_rows(real: pa.Table, tmp_path: Path) -> None:
    pq.write_table(real, tmp_path / "real.parquet")
    write_perturbed(tmp_path / "real.parquet", tmp_path / "made.parquet", 1_234)
    assert pq.read_metadata(tmp_path / "made.parquet").num_rows == 1_234


def test_compared_implementations_give_the_same_scores(labeler: Labeler, brands: Entities) -> None:
    rows = labeler.features.transform(brands.slice(0, 100))
    product = as_matrix(rows, len(labeler.features.keys)) @ as_weights(labeler.linear)
    expected = labeler.linear.scores(rows)
    within = 1e-4 + plain.rounding(labeler.linear, rows)
    differences = np.abs(product.toarray() + labeler.linear.bias - expected)
    assert (differences <= within[:, None]).all()
    assert 0 < weight_bytes(labeler, brands.slice(0, 100)) < labeler.linear.dense.nbytes


def test_each_stage_is_timed(labeler: Labeler, real: pa.Table) -> None:
    made = perturbed(real, 0, 40, np.random.default_rng(0))
    times = list(stages(labeler, from_table(made, labeler.schema)))
    assert all(one.microseconds > 0 for one in times)
    own = {one.task for one in times if one.method == "labelwright"}
    assert own == {one.task for one in times}


def test_the_page_has_ratios_and_the_rate_from_two_files() -> None:
    runs = [
        FileRun(2_000, 3.0, 5 * 10**8, threads=2),
        FileRun(6_000, 5.0, 6 * 10**8, threads=2),
        FileRun(10, 3.0, 10**8, "another"),
        FileRun(50, 5.0, 10**8, "another"),
    ]
    assert rate(runs) == 2_000
    task = "scores of all labels"
    page = document(
        Measurements(
            facts={"date": "today"},
            times=[StageTime(task, "labelwright", 2.0), StageTime(task, "another", 9.0)],
            file_runs=runs,
            qualities=[
                Quality("test", "labelwright", 80.0, 55.0),
                Quality("test", EXACT, 80.05, 54.98),
            ],
            throughput=[
                Throughput(server, n, 90 * n / k)
                for k, server in enumerate(SERVER_NAMES, 1)
                for n in (1, 32, 1_000)
            ],
            latency=[Latency(server, 1.0, 2.0) for server in SERVER_NAMES],
            costs=[Cost(server, 1.5, 3e8) for server in SERVER_NAMES],
            growth=[
                *growth_with_rows(runs),
                *(GrowthPoint("scores", number, "labels", 2 * number) for number in (100, 400)),
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
    assert f"| {task} | labelwright | **2.00** | 1.0 |" in page
    assert f"| {task} | another | 9.00 | 4.5 |" in page
    assert "| 6,000 rows | labelwright, 2 threads | 5.0 | 600 | 2,000 |" in page
    assert "| 50 rows | another, 1 thread | 5.0 | 100 | 20 |" in page
    assert "| test | the exact model | 80.05 | 54.98 |" in page
    assert "Lost: +0.05 of P@1 and -0.02 of P@5 on test.\n" in page
    assert "| one worker | mlflow models serve | **1.5** | **300** |" in page
    assert "| whole files | rows | 6,000 | 833.33 |" in page
    assert "grows with the rows" not in page
    assert "- 2,000 rows a second, from the difference of the two files\n" in page
    assert "1,500 rows a second, 75% of the rate of whole files." in page
    assert "which are read at 15.0 GB a second (50%)" in page
    assert "a new process labels its first entity after 0.90 s: 0.40 s for imports, " in page
    assert "a third worker of the service needs 120 MB more" in page
    assert "| 32 | mlflow models serve | 1,440 | 2.0 |" in page
    assert "grows with the labels to the power of 1.00" in page
    assert page.endswith("## Not measured\n\n- omikuji: not installed\n")


SERVER_NAMES = [server.name for server in SERVERS]


def test_scores_with_fewer_labels_and_features_agree_with_the_complete_model(
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


def run_once(task: Callable[[], object], count: int) -> float:
    """Run a task, and return its number of entities instead of a time."""
    task()
    return float(count)


def test_growth_is_measured_in_three_sizes(labeler: Labeler, brands: Entities) -> None:
    points = list(growth(labeler, brands.slice(0, 20), run_once))
    assert {point.unit for point in points} == {"labels", "features an entity", "candidates"}


def test_the_exponent_of_a_power_function_is_fitted() -> None:
    assert exponent([10, 100, 1_000], [3 * n**1.5 for n in (10, 100, 1_000)]) == pytest.approx(1.5)
    assert exponent([10, 10], [1, 2]) is None
    assert exponent([10, 100], [0, 2]) is None


@pytest.mark.integration
def test_both_servers_are_measured_and_give_the_same_labels(
    world: World, brands: Entities, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT_HOME", str(world.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(over_http, "SECONDS", 0.2)
    monkeypatch.setattr(over_http, "BATCHES", (1, 5))
    monkeypatch.setattr(over_http, "STARTS", 1)
    records = [first_record(brands.slice(row, 1)) for row in range(40)]
    found = list(measured(world.uri, records, tmp_path))
    rates = [one for one in found if isinstance(one, Throughput)]
    expected = [(name, batch) for batch in (1, 5) for name in SERVER_NAMES]
    assert [(one.server, one.batch) for one in rates] == expected
    assert all(one.entities > 0 for one in rates)
    monkeypatch.setattr(over_http, "SETTLING_SECONDS", 3.0)
    assert 10e6 < worker_bytes(world.uri, records, tmp_path) < 1e9
    assert all(0 < one.median <= one.p99 for one in found if isinstance(one, Latency))
    costs = [one for one in found if isinstance(one, Cost)]
    assert [one.server for one in costs] == SERVER_NAMES
    assert all(0 < one.seconds < 100 and 10e6 < one.memory_bytes < 4e9 for one in costs)
    assert through_mlflow(world.uri, records[0]).microseconds > 0

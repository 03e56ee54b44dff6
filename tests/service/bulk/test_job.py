"""Bulk jobs: each row is labelled once and in order, also after interruptions."""

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError, RequestError, StorageError
from labelwright.entities.io import readers
from labelwright.entities.io.locations import locate
from labelwright.entities.tables import from_table
from labelwright.models.bundle.format import Bundle
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import load_model
from labelwright.service.bulk.job import BulkJob, BulkReport, journal_folder, label_file
from tests.conftest import World
from tests.repeats import repeats


@pytest.fixture(scope="session")
def bundle(world: World) -> Bundle:
    """The bundle of the trained model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(world.home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return load_model(world.uri).bundle


@pytest.fixture
def source(world: World, tmp_path: Path) -> Path:
    """A file of 2,000 rows to label, in row groups of 130; the eighth row is rejected."""
    table = pq.read_table(world.data).slice(0, 2_000).drop_columns(["labels"])
    at = np.zeros(len(table))
    at[7] = 200
    table = table.append_column("lat", pa.array(at)).append_column("lon", pa.array(at / 2))
    pq.write_table(table, tmp_path / "source.parquet", row_group_size=130)
    return tmp_path / "source.parquet"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a hundred rows."""
    monkeypatch.setattr(readers, "BATCH_ROWS", 100)


def job_of(source: Path, target: Path, previous: Path | None = None) -> BulkJob:
    earlier = locate(previous) if previous else None
    return BulkJob(locate(source), locate(target), threads=2, previous=earlier)


def label(bundle: Bundle, source: Path, target: Path, previous: Path | None = None) -> BulkReport:
    return label_file(bundle, job_of(source, target, previous))


class Stop:
    """An `Advance` that interrupts a job after a number of rows."""

    def __init__(self, rows: int) -> None:
        self.remaining = rows

    def __call__(self, rows: int, share: float | None) -> None:
        self.remaining -= rows
        if self.remaining <= 0:
            raise KeyboardInterrupt


# Resuming


@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_job_is_resumed(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    uninterrupted, target = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    assert label(bundle, source, uninterrupted) == BulkReport(2_000, rejected=1)
    job = dataclasses.replace(job_of(source, target), resume=True)
    for rows in (1, 450, 1_200):
        with pytest.raises(KeyboardInterrupt):
            label_file(bundle, job, Stop(rows))
        assert not target.exists()
    report = label_file(bundle, job)
    assert report.rows == 2_000
    assert report.rejected == 1
    assert 1_200 <= report.resumed < 2_000
    assert target.read_bytes() == uninterrupted.read_bytes()
    (reject,) = Path(f"{target}.rejects.jsonl").read_text().splitlines()
    assert json.loads(reject)["row"] == 7
    assert not journal_folder(locate(target)).exists()


@pytest.mark.usefixtures("small_batches")
def test_a_malformed_line_is_a_rejected_row_also_of_a_resumed_job(
    bundle: Bundle, tmp_path: Path
) -> None:
    bad = {7: b'{"name": "x"', 150: b"\xff", 151: b'{"name": "a\0"}', 399: b'{"name": "x"},'}
    content = [bad.get(row, b'{"name": "Bar %d"}' % row) for row in range(400)]
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\n\n".join(content))
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert label(bundle, source, whole).rejected == len(bad)
    job = dataclasses.replace(job_of(source, target), resume=True)
    for rows in (1, 150, 250):
        with pytest.raises(KeyboardInterrupt):
            label_file(bundle, job, Stop(rows))
    report = label_file(bundle, job)
    assert (report.rows, report.rejected) == (400, len(bad))
    assert report.resumed
    assert target.read_bytes() == whole.read_bytes()
    rejects = [*map(json.loads, Path(f"{target}.rejects.jsonl").read_text().splitlines())]
    assert [reject["row"] for reject in rejects] == list(bad)
    for reject, row in zip(rejects, bad, strict=True):
        assert reject["reason"].startswith(f"line {2 * row + 1} is not valid ")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("change", ["input", "model", "query"])
def test_another_job_is_not_resumed(
    bundle: Bundle, source: Path, tmp_path: Path, change: str
) -> None:
    job = job_of(source, tmp_path / "out.parquet")
    with pytest.raises(KeyboardInterrupt):
        label_file(bundle, job, Stop(500))
    if change == "input":
        os.utime(source, (1, 1))
    elif change == "model":
        manifest = dataclasses.replace(bundle.manifest, content="of another")
        bundle = dataclasses.replace(bundle, manifest=manifest)
    else:
        job = dataclasses.replace(job, query=LabelQuery(top_k=2))
    with pytest.raises(RequestError, match=f"cannot resume: another {change} than before"):
        label_file(bundle, dataclasses.replace(job, resume=True))
    assert label_file(bundle, job).resumed == 0


def test_a_failed_job_on_standard_input_leaves_no_files(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = BulkJob(locate("-", "csv"), locate(tmp_path / "out.jsonl"))
    rows = b"name,city\nBar,Bonn\nBar"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(rows)))
    with pytest.raises(DataError, match="line 3 has 1 cells"):
        label_file(bundle, job)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(rows[:18])))
    assert label_file(bundle, job).rows == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_standard_stream_cannot_be_resumed(bundle: Bundle, source: Path) -> None:
    job = BulkJob(locate(source), locate("-"), resume=True)
    with pytest.raises(RequestError, match="a standard stream cannot be resumed"):
        label_file(bundle, job)


@pytest.mark.parametrize("rows", [0, 1, 299, 300, 301, 1_999, 2_000, 5_000])
@pytest.mark.parametrize("ending", ["parquet", "folder", "csv", "jsonl.gz"])
@pytest.mark.usefixtures("small_batches")
def test_skipped_rows_are_not_read_again(
    bundle: Bundle, source: Path, tmp_path: Path, ending: str, rows: int
) -> None:
    schema, file = bundle.labeler.schema, tmp_path / f"in.{ending}"
    table = pq.read_table(source).drop_columns(
        ["tags"] if "tags" in pq.read_schema(source).names else []
    )
    if ending == "parquet":
        file = source
    elif ending == "folder":
        file.mkdir()
        for part in range(4):
            pq.write_table(table.slice(part * 500, 500), file / f"{part}.parquet")
    else:
        write_text(table, file)
    all_ids = [
        row
        for batch in readers.read_batches(file, schema)
        for row in batch.entities.ids.to_pylist()
    ]
    remaining_batches = list(readers.read_batches(file, schema, skip=rows))
    assert [
        row for batch in remaining_batches for row in batch.entities.ids.to_pylist()
    ] == all_ids[rows:]
    assert len(all_ids) == 2_000
    if remaining_batches:
        assert remaining_batches[-1].share == pytest.approx(1)


def write_text(table: pa.Table, file: Path) -> None:
    """A table as CSV or JSON Lines."""
    rows = table.select(["id", "name", "lat", "lon"])
    with pa.output_stream(str(file), compression="detect") as stream:
        if ".csv" in file.name:
            pyarrow.csv.write_csv(rows, stream)
        else:
            stream.write("".join(json.dumps(row) + "\n" for row in rows.to_pylist()).encode())


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from labelwright.entities.io import readers
from labelwright.entities.io.locations import locate
from labelwright.models.bundle.format import read_bundle
from labelwright.service.bulk.job import BulkJob, label_file

bundle, source, target = read_bundle(Path(sys.argv[1])), locate(sys.argv[2]), locate(sys.argv[3])
kills, chance, written = int(sys.argv[4]), random.Random(sys.argv[5]), Path(sys.argv[3])
readers.BATCH_ROWS = 50

def child():
    process = os.fork()  # this process has no threads, kernels or open files
    if not process:
        label_file(bundle, BulkJob(source, target, threads=2, resume=True))
        os._exit(0)
    return process

def outputs():
    both = written, Path(f"{written}.rejects.jsonl")
    found = [path.read_bytes() for path in both]
    for path in both:
        path.unlink()
    return found

assert os.waitpid(child(), 0)[1] == 0
whole, longest, finished = outputs(), 0.5, 0
while kills or not finished:
    process = child()
    if kills:
        time.sleep(chance.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    if status == signal.SIGKILL:
        kills -= 1
        longest *= 1.05
        continue
    assert status == 0, status
    finished += 1
    longest = 0.5
    assert outputs() == whole, "the output differs from that of an uninterrupted job"
assert not any(path.name.endswith(".part") for path in written.parent.iterdir())
print(finished)
"""
KILLS = repeats(6, 60)


@pytest.mark.repeated
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("input_format", "output_format"),
    [("parquet", "parquet"), ("csv", "csv.gz"), ("jsonl.gz", "jsonl")],
)
def test_a_job_killed_at_random_moments_is_resumed(
    world: World, source: Path, tmp_path: Path, input_format: str, output_format: str
) -> None:
    file, folder = tmp_path / f"in.{input_format}", tmp_path / "out"
    folder.mkdir()
    if input_format == "parquet":
        file = source
    else:
        write_text(pq.read_table(source), file)
    arguments = (world.bundle, file, folder / f"out.{output_format}", KILLS, 0)
    completed = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert int(completed.stdout) >= 1


# Reuse of an earlier output


@pytest.mark.usefixtures("small_batches")
def test_predictions_of_unchanged_rows_are_reused(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    label(bundle, source, first)
    report = label(bundle, source, second, previous=first)
    assert report == BulkReport(2_000, rejected=1, reused=1_999)
    assert second.read_bytes() == first.read_bytes()
    assert label(bundle, source, first, previous=second).reused == 1_999


@pytest.mark.usefixtures("small_batches")
def test_reuse_does_not_change_the_output_for_changed_moved_and_removed_rows(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "before.parquet"
    label(bundle, source, earlier)
    table = pq.read_table(source)
    rows = np.concatenate([np.arange(1_500, 1_900), np.arange(1_300), [5, 5]])
    names = table["name"].take(rows).to_pylist()
    names[3], names[600] = "Pizzeria Napoli", None
    changed = table.take(rows).set_column(1, "name", pa.array(names))
    assert table.column_names[1] == "name"
    pq.write_table(changed, tmp_path / "changed.parquet")
    report = label(bundle, tmp_path / "changed.parquet", tmp_path / "a.parquet", previous=earlier)
    label(bundle, tmp_path / "changed.parquet", tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert report.reused == len(rows) - 5  # changed: 2, rejected: 1, too few in the last batch: 2


@pytest.mark.usefixtures("small_batches")
def test_a_row_group_with_few_wanted_rows_is_not_read(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "before.parquet"
    label(bundle, source, earlier)
    pq.write_table(pq.read_table(source).take(np.arange(0, 2_000, 40)), tmp_path / "few.parquet")
    report = label(bundle, tmp_path / "few.parquet", tmp_path / "a.parquet", previous=earlier)
    assert report == BulkReport(50, reused=0)


def test_predictions_of_another_model_are_not_reused(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    label(bundle, source, tmp_path / "before.parquet")
    manifest = dataclasses.replace(bundle.manifest, content="of another")
    other = dataclasses.replace(bundle, manifest=manifest)
    report = label(other, source, tmp_path / "a.parquet", previous=tmp_path / "before.parquet")
    assert report.reused == 0
    (warning,) = report.warnings
    assert "all rows are labelled" in warning
    assert warning.endswith("another model")


def test_only_an_output_of_a_bulk_job_can_be_reused(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.parquet").write_text("text")
    for earlier in (source, tmp_path / "text.parquet", tmp_path / "nothing.parquet"):
        with pytest.raises(DataError, match="must be Parquet as `label` writes it"):
            label(bundle, source, tmp_path / "a.parquet", previous=earlier)


@pytest.mark.parametrize("offsets", [[-8], [10**30], [1 << 40], ["x"], [], None])
def test_forged_fingerprints_are_refused(
    bundle: Bundle, source: Path, tmp_path: Path, offsets: object
) -> None:
    pq.write_table(pq.read_table(source).slice(0, 9), tmp_path / "few.parquet")
    label(bundle, tmp_path / "few.parquet", tmp_path / "before.parquet")
    predictions = pq.read_table(tmp_path / "before.parquet")
    metadata = pq.read_metadata(tmp_path / "before.parquet").metadata
    provenance = json.loads(metadata[b"labelwright"])
    with pq.ParquetWriter(tmp_path / "forged.parquet", predictions.schema) as writer:
        writer.write_table(predictions)
        forged = {**provenance, "fingerprints": offsets}
        writer.add_key_value_metadata({"labelwright": json.dumps(forged)})
    with pytest.raises(DataError, match="cannot be reused"):
        label(bundle, source, tmp_path / "a.parquet", previous=tmp_path / "forged.parquet")


# Outputs that are refused


def test_the_input_is_never_overwritten(bundle: Bundle, source: Path) -> None:
    content = source.read_bytes()
    for file, target in (
        (source, source),
        (source.parent, source.parent / "out.parquet"),
        (source.parent, source.parent / "in" / ".." / "out.parquet"),
    ):
        with pytest.raises(RequestError, match="is the input, or lies in it"):
            label(bundle, file, target)
    assert source.read_bytes() == content
    assert list(source.parent.iterdir()) == [source]


def test_the_output_cannot_be_a_folder(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        label(bundle, source, tmp_path / "out.parquet")


def test_an_empty_output_can_be_reused(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(source).slice(0, 0), tmp_path / "nobody.parquet")
    label(bundle, tmp_path / "nobody.parquet", tmp_path / "before.parquet")
    report = label(bundle, source, tmp_path / "a.parquet", previous=tmp_path / "before.parquet")
    assert report == BulkReport(2_000, rejected=1)


def test_the_output_has_no_column_of_fingerprints(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    label(bundle, source, tmp_path / "a.parquet")
    predictions = pq.read_table(tmp_path / "a.parquet")
    expected = bundle.labeler.label(
        from_table(pq.read_table(source), bundle.labeler.schema), LabelQuery()
    )
    assert predictions.column_names == ["id", "labels", "primary"]
    assert predictions["labels"].combine_chunks().to_pylist() == expected.to_arrow([7]).to_pylist()


def test_a_linked_output_is_written_to_its_target_also_by_a_resumed_job(
    bundle: Bundle, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 100)
    target, link = tmp_path / "disk" / "data.parquet", tmp_path / "out.jsonl"
    target.parent.mkdir()
    link.symlink_to(target)
    job = dataclasses.replace(job_of(source, link), resume=True)
    with pytest.raises(KeyboardInterrupt):
        label_file(bundle, job, Stop(400))
    assert journal_folder(locate(link)).parent == target.parent
    assert label_file(bundle, job).resumed
    assert link.is_symlink()
    assert len(target.read_bytes().splitlines()) == 2_000
    assert Path(f"{link}.rejects.jsonl").exists()
    assert [path.name for path in target.parent.iterdir()] == ["data.parquet"]

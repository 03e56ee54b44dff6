"""Writers of predictions: complete files can be read, and failed writes leave no files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from labelwright.entities.errors import DataError, StorageError
from labelwright.entities.io.writers import PREDICTIONS, WriteTable, predictions_file

Rows = list[dict[str, Any]]
ROWS: Rows = [
    {
        "id": 'a,"b"\nc 寿司 🍣',
        "labels": [
            {"label": "amenity=café", "probability": 0.75, "asserted": True},
            {"label": 'x;y|z"', "probability": 0.1, "asserted": False},
        ],
        "primary": {"label": "amenity=café", "probability": 0.7, "asserted": True},
    },
    {"id": "no labels", "labels": [], "primary": None},
    {"id": "rejected", "labels": None, "primary": None},
]
for row in ROWS:
    for label in [*(row["labels"] or []), *([row["primary"]] if row["primary"] else [])]:
        label["probability"] = pa.scalar(label["probability"], pa.float32()).as_py()


def read_parquet(path: Path) -> Rows:
    table = pq.read_table(path)
    assert table.schema.equals(PREDICTIONS)
    rows: Rows = table.to_pylist()
    return rows


def read_csv(path: Path) -> Rows:
    with pa.input_stream(path, compression="detect") as stream:
        table = pyarrow.csv.read_csv(
            stream,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
        )
    rows: Rows = table.to_pylist()
    parsed = ("labels", "primary")
    return [row | {name: row[name] and json.loads(row[name]) for name in parsed} for row in rows]


def read_json_lines(path: Path) -> Rows:
    with pa.input_stream(path, compression="detect") as stream:
        content = stream.read().decode("utf-8")
    return [json.loads(line) for line in content.split("\n")[:-1]]


READERS: dict[str, Callable[[Path], Rows]] = {
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".csv.zst": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".jsonl.gz": read_json_lines,
    ".jsonl.bz2": read_json_lines,
    ".jsonl.lz4": read_json_lines,
}


def fails_after(table: pa.Table, write: WriteTable, error: type[BaseException]) -> pa.Table:
    """Write a table, and then raise an error instead of returning a second table."""
    write(table)
    raise error


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def as_written(rows: Rows) -> Rows:
    """Rows to compare with, whose probabilities are approximate because JSON rounds them."""
    return [
        {
            "id": row["id"],
            "labels": row["labels"]
            and [{**a, "probability": pytest.approx(a["probability"])} for a in row["labels"]],
            "primary": row["primary"]
            and row["primary"] | {"probability": pytest.approx(row["primary"]["probability"])},
        }
        for row in rows
    ]


@pytest.mark.parametrize("suffix", READERS)
def test_written_predictions_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions{suffix}"
    table = pa.Table.from_pylist(ROWS, PREDICTIONS)
    with predictions_file(path) as write:
        write(table.slice(0, 1))
        write(table.slice(1))
        write(table.slice(3))
    assert READERS[suffix](path) == as_written(ROWS)
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_without_predictions_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions{suffix}"
    with predictions_file(path):
        pass
    assert READERS[suffix](path) == []


@pytest.mark.parametrize("suffix", READERS)
def test_an_existing_file_is_replaced(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions{suffix}"
    path.write_text("something old")
    with predictions_file(path) as write:
        write(pa.Table.from_pylist(ROWS[1:], PREDICTIONS))
        assert path.read_text() == "something old"
    assert READERS[suffix](path) == as_written(ROWS[1:])


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, DataError])
def test_an_existing_file_is_unchanged_if_the_block_fails(
    tmp_path: Path, suffix: str, error: type[BaseException]
) -> None:
    path = tmp_path / f"predictions{suffix}"
    path.write_text("something old")
    with pytest.raises(error), predictions_file(path) as write:
        write(fails_after(pa.Table.from_pylist(ROWS, PREDICTIONS), write, error))
    assert path.read_text() == "something old"
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", READERS)
def test_a_missing_folder_is_a_storage_error(tmp_path: Path, suffix: str) -> None:
    with (
        pytest.raises(StorageError, match="was not written: No such file or directory"),
        predictions_file(tmp_path / "missing" / f"predictions{suffix}"),
    ):
        pass
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("suffix", READERS)
def test_a_folder_with_the_name_of_the_output_is_a_storage_error(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"predictions{suffix}"
    path.mkdir()
    with pytest.raises(StorageError, match="Is a directory"), predictions_file(path) as write:
        write(pa.Table.from_pylist(ROWS, PREDICTIONS))
    assert names_in(tmp_path) == [path.name]


def test_a_name_that_is_too_long_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), predictions_file(tmp_path / ("x" * 252 + ".csv")):
        pass


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="must end in"),
        predictions_file(tmp_path / "predictions.txt"),
    ):
        pass
    assert names_in(tmp_path) == []


def test_compressed_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError), predictions_file(tmp_path / "predictions.parquet.gz"):
        pass


ON_A_FULL_DISK = """
import json, random, resource, sys
from pathlib import Path
import pyarrow as pa
from labelwright.entities.io.writers import PREDICTIONS, predictions_file

folder = Path(sys.argv[1])
source = random.Random(0)
texts = [source.randbytes(20).hex() for _ in range(20_000)]
labels = [[{"label": text, "probability": 0.5, "asserted": True}] for text in texts]
primary = [given[0] for given in labels]
table = pa.table({"id": texts, "labels": labels, "primary": primary}, schema=PREDICTIONS)
outcomes = {}
for limit, rows in (100, 100), (100_000, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for suffix in sys.argv[2:]:
        message = "no error"
        try:
            with predictions_file(folder / f"predictions{suffix}") as write:
                for start in range(0, rows, 2_500):
                    write(table.slice(start, min(rows, 2_500)))
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        outcomes[f"{suffix} {limit}"] = message, [path.name for path in folder.iterdir()]
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str]]]:
    """The error and the names of the remaining files, by suffix and limit on file sizes."""
    folder = tmp_path_factory.mktemp("full")
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(folder), *READERS]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120)
    found: dict[str, tuple[str, list[str]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("suffix", "limit"),
    [(suffix, limit) for suffix in READERS for limit in (100, 100_000)],
)
def test_a_full_disk_is_a_storage_error_and_leaves_no_file(
    outcomes: dict[str, tuple[str, list[str]]], suffix: str, limit: int
) -> None:
    message, left = outcomes[f"{suffix} {limit}"]
    assert message.startswith("StorageError: ")
    # A bz2 stream fails when it is closed, and Arrow's error does not contain the cause.
    reasons = ("no space is left", "is the disk full?")
    assert message.endswith(tuple(f"predictions{suffix} was not written: {why}" for why in reasons))
    assert left == []


# Links, pipes and devices.


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed_and_stays(tmp_path: Path, exists: bool) -> None:
    target, link = tmp_path / "disk" / "data", tmp_path / "out.jsonl"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    work = tmp_path / "work"
    work.mkdir()
    with predictions_file(link, work_folder=work) as write:
        write(PREDICTIONS.empty_table())
    assert link.is_symlink()
    assert target.read_bytes() == b""
    assert [path.name for path in target.parent.iterdir()] == ["data"]


def test_a_pipe_is_refused_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    with (
        pytest.raises(StorageError, match=r"is a pipe or a device.* redirect standard output"),
        predictions_file(pipe),
    ):
        pass
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]

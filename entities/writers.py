"""Files of answers: `id` and `labels`, as Parquet, CSV or JSON Lines, whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from entities.errors import StorageError, reason
from entities.readers import COMPRESSIONS, format_of

LABELS = pa.list_(
    pa.struct(
        [
            pa.field("label", pa.string()),
            pa.field("probability", pa.float32()),
            pa.field("asserted", pa.bool_()),
        ]
    )
)
ANSWERS = pa.schema([pa.field("id", pa.string()), pa.field("labels", LABELS)])
"""What every file of answers holds; in CSV `labels` is JSON."""

_REPEATED = ["labels.list.element.label"]
"""The only column in Parquet whose values repeat."""

Write = Callable[[pa.Table], None]


@contextlib.contextmanager
def answer_file(path: Path) -> Iterator[Write]:
    """A function that appends tables of the ANSWERS schema to a file, by the end of its name.

    The file appears under its name when all is written. Raises StorageError for a full disk, and
    DataError for a name that tells no format.
    """
    kind = format_of(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _WRITERS[kind](draft, COMPRESSIONS.get(path.suffix.lower())) as write:
            yield write
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} was not written: {reason(error)}") from error
    except pa.ArrowException as error:
        raise StorageError(f"{path} was not written: is the disk full?") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _parquet(path: Path, compression: str | None) -> Iterator[Write]:
    with pq.ParquetWriter(
        path, ANSWERS, compression="zstd", compression_level=1, use_dictionary=_REPEATED
    ) as writer:
        yield writer.write_table


@contextlib.contextmanager
def _csv(path: Path, compression: str | None) -> Iterator[Write]:
    schema = pa.schema([pa.field("id", pa.string()), pa.field("labels", pa.string())])
    with (
        pa.output_stream(str(path), compression=compression) as stream,
        pyarrow.csv.CSVWriter(stream, schema) as writer,
    ):

        def write(answers: pa.Table) -> None:
            texts = [_json(labels) for labels in answers["labels"].to_pylist()]
            writer.write_table(pa.table([answers["id"], pa.array(texts)], schema=schema))

        yield write


@contextlib.contextmanager
def _jsonl(path: Path, compression: str | None) -> Iterator[Write]:
    with pa.output_stream(str(path), compression=compression) as stream:

        def write(answers: pa.Table) -> None:
            stream.write(b"".join(orjson.dumps(row) + b"\n" for row in answers.to_pylist()))

        yield write


def _json(labels: list[dict[str, object]] | None) -> str | None:
    return None if labels is None else orjson.dumps(labels).decode()


_WRITERS = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}

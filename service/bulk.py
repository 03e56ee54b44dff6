"""Labelling whole files: batches are read, labelled by several threads, and written in order."""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import orjson
import pyarrow as pa

from entities.errors import StorageError
from entities.readers import Batch, read_batches
from entities.tables import Entities
from entities.writers import ANSWERS, answer_file
from models.decisions import Question
from models.labeler import Labeler

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class BulkReport:
    """How many rows were labelled, how many of them rejected, and what there is to warn about."""

    rows: int
    rejected: int
    warnings: list[str]


def label_file(
    labeler: Labeler,
    source: Path,
    target: Path,
    question: Question,
    threads: int,
    advance: Callable[[int], object] = lambda rows: None,
) -> BulkReport:
    """Label every row of `source` into `target`, in order.

    A row that the schema rejects has null labels, and its reason goes to `TARGET.rejects.jsonl`.
    `advance` is told of rows as they are written. Raises DataError, RequestError, StorageError.
    """
    labeler.check(question)
    rows = 0
    warnings: set[str] = set()
    rejects: list[dict[str, object]] = []
    with ThreadPoolExecutor(threads) as pool, answer_file(target) as write:

        def label(batch: Batch) -> tuple[Entities, pa.Table]:
            entities = batch.entities
            answers = labeler.label(entities, question).to_arrow(list(entities.rejected))
            return entities, pa.table([entities.ids, answers], schema=ANSWERS)

        batches = read_batches(source, labeler.schema, labelled=False)
        for entities, answers in _in_order(pool, label, batches, ahead=2 * threads):
            write(answers)
            for row, reason in entities.rejected.items():
                rejects.append(
                    {"row": rows + row, "id": entities.ids[row].as_py(), "reason": reason}
                )
            warnings.update(entities.warnings)
            rows += len(entities)
            advance(len(entities))
    _write_rejects(target.with_name(f"{target.name}.rejects.jsonl"), rejects)
    return BulkReport(rows, len(rejects), sorted(warnings))


def _write_rejects(path: Path, rejects: list[dict[str, object]]) -> None:
    """Replace what an earlier run left; without rejects there is no file."""
    try:
        path.unlink(missing_ok=True)
        if rejects:
            path.write_bytes(b"".join(orjson.dumps(reject) + b"\n" for reject in rejects))
    except OSError as error:
        raise StorageError(f"{path} was not written: {error.strerror}") from error


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterator[Item],
    ahead: int,
) -> Iterator[Result]:
    """Results in the order of the items, with at most `ahead` items under way."""
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()

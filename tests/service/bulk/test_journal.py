"""Journals: only the same job reads the complete records of an earlier process."""

import contextlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import RequestError, StorageError
from labelwright.service.bulk.journal import Journal, open_journal

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("text", pa.string())])
Opened = contextlib.AbstractContextManager[Journal]
JOB: dict[str, object] = {"input": [["a.csv", 3, 4]], "model": "m"}


def open_for(folder: Path, job: dict[str, object], resume: bool, keep: bool = True) -> Opened:
    return open_journal(folder, job, resume, keep)


def record(n: int) -> pa.Table:
    return pa.table({"n": [n, n], "text": ["x" * n, None]}, schema=SCHEMA)


def interrupt(folder: Path, numbers: range, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Resume the job, add records, and raise an error."""
    with open_for(folder, JOB, resume=True) as journal:
        list(journal.finished())
        for n in numbers:
            journal.add(record(n))
        raise error


def numbers_in(folder: Path) -> list[int]:
    """Resume the job, read the finished records and end the job; returns the numbers of records."""
    with open_for(folder, JOB, resume=True) as journal:
        return [number for table in journal.finished() for number in table["n"].to_pylist()[::2]]


def test_several_processes_continue_one_journal(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    for numbers in (range(3), range(3, 3), range(3, 5)):
        with pytest.raises(KeyboardInterrupt):
            interrupt(folder, numbers)
    assert numbers_in(folder) == list(range(5))
    assert not folder.exists()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_part_is_read_up_to_its_last_complete_record(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "journal"
    with pytest.raises(KeyboardInterrupt):
        interrupt(folder, range(4))
    (part,) = folder.glob("*.records")
    content = part.read_bytes()
    part.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    read_numbers = numbers_in(folder)
    assert read_numbers == list(range(len(read_numbers)))


def test_parts_left_by_an_interrupted_removal_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    for numbers in (range(2), range(2, 3)):
        with pytest.raises(KeyboardInterrupt):
            interrupt(folder, numbers)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: (folder / f"{0:015}.records").unlink())
    assert numbers_in(folder) == [0, 1, 2]
    monkeypatch.undo()
    assert list(folder.glob("*.records"))
    assert numbers_in(folder) == []


def test_records_with_a_truncated_description_are_ignored(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "journal", range(2))
    (tmp_path / "journal" / "job.json").write_text('{"input"')
    assert numbers_in(tmp_path / "journal") == []


def test_without_resume_earlier_records_are_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "journal", range(3))
    with open_for(tmp_path / "journal", {"model": "other"}, resume=False) as journal:
        assert list(journal.finished()) == []


def test_the_error_for_another_job_names_the_difference(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt(tmp_path / "journal", range(3))
    changed = {**JOB, "model": "other"}
    with (
        pytest.raises(RequestError, match="cannot resume: another model than before"),
        open_for(tmp_path / "journal", changed, resume=True),
    ):
        pass
    assert numbers_in(tmp_path / "journal") == [0, 1, 2]


def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    with (
        open_for(tmp_path / "journal", JOB, resume=False),
        pytest.raises(RequestError, match="another process works on"),
        open_for(tmp_path / "journal", JOB, resume=True),
    ):
        pass


def test_a_journal_without_records_or_without_keep_is_removed(tmp_path: Path) -> None:
    for keep, records in ((False, 3), (True, 0)):
        with (
            pytest.raises(KeyboardInterrupt),
            open_for(tmp_path / "journal", JOB, resume=False, keep=keep) as journal,
        ):
            add_and_stop(journal, records)
        assert list(tmp_path.iterdir()) == []


def add_and_stop(journal: Journal, records: int) -> None:
    for n in range(records):
        journal.add(record(n))
    raise KeyboardInterrupt


def test_a_refused_process_does_not_change_the_journal(tmp_path: Path) -> None:
    with open_for(tmp_path / "journal", JOB, resume=False) as journal:
        journal.add(record(1))
        with (
            pytest.raises(RequestError),
            open_for(tmp_path / "journal", {}, resume=False, keep=False),
        ):
            pass
        assert journal.has_records


def test_parts_after_an_incomplete_part_are_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    for numbers in (range(3), range(3, 5)):
        with pytest.raises(KeyboardInterrupt):
            interrupt(folder, numbers)
    first, second = sorted(folder.glob("*.records"))
    assert second.name == "000000000000006.records"  # each record has two rows
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    read_numbers = numbers_in(folder)
    assert read_numbers == list(range(len(read_numbers)))
    assert len(read_numbers) < 3


def test_a_journal_that_cannot_be_created_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="Not a directory"),
        open_for(tmp_path / "file" / "journal", JOB, resume=False),
    ):
        pass

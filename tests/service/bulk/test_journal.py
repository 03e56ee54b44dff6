"""Journals: what was recorded whole is there again, of the same job only."""

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


def opened_for(folder: Path, job: dict[str, object], resume: bool, keep: bool = True) -> Opened:
    return open_journal(folder, job, SCHEMA, resume, keep)


def record(n: int) -> pa.Table:
    return pa.table({"n": [n, n], "text": ["x" * n, None]}, schema=SCHEMA)


def stopped(folder: Path, numbers: range, error: type[BaseException] = KeyboardInterrupt) -> None:
    """A process that records some and is then stopped."""
    with opened_for(folder, JOB, resume=True) as opened:
        list(opened.finished())
        for n in numbers:
            opened.add(record(n))
        raise error


def numbers_in(folder: Path) -> list[int]:
    """What a process that goes on finds, which then is done."""
    with opened_for(folder, JOB, resume=True) as opened:
        return [number for table in opened.finished() for number in table["n"].to_pylist()[::2]]


def test_several_processes_go_on_with_one_journal(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    for numbers in (range(3), range(3, 3), range(3, 5)):
        with pytest.raises(KeyboardInterrupt):
            stopped(folder, numbers)
    assert numbers_in(folder) == list(range(5))
    assert not folder.exists()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_part_that_was_cut_short_counts_up_to_its_last_whole_record(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut") / "journal"
    with pytest.raises(KeyboardInterrupt):
        stopped(folder, range(4))
    (part,) = folder.glob("*.arrow")
    content = part.read_bytes()
    part.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = numbers_in(folder)
    assert found == list(range(len(found)))


def test_parts_that_removal_left_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    for numbers in (range(2), range(2, 3)):
        with pytest.raises(KeyboardInterrupt):
            stopped(folder, numbers)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: (folder / f"{0:015}.arrow").unlink())
    assert numbers_in(folder) == [0, 1, 2]
    monkeypatch.undo()
    assert list(folder.glob("*.arrow"))
    assert numbers_in(folder) == []


def test_an_unfinished_description_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "journal", range(2))
    (tmp_path / "journal" / "job.json").write_text('{"input"')
    assert numbers_in(tmp_path / "journal") == []


def test_without_resuming_all_is_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "journal", range(3))
    with opened_for(tmp_path / "journal", {"model": "other"}, resume=False) as opened:
        assert list(opened.finished()) == []


def test_another_job_is_refused_and_told_what_differs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "journal", range(3))
    changed = {**JOB, "model": "other"}
    with (
        pytest.raises(RequestError, match="cannot resume: another model than before"),
        opened_for(tmp_path / "journal", changed, resume=True),
    ):
        pass
    assert numbers_in(tmp_path / "journal") == [0, 1, 2]


def test_two_processes_do_not_work_on_one_journal(tmp_path: Path) -> None:
    with (
        opened_for(tmp_path / "journal", JOB, resume=False),
        pytest.raises(RequestError, match="another process works on"),
        opened_for(tmp_path / "journal", JOB, resume=True),
    ):
        pass


def test_a_journal_that_is_not_to_be_kept_or_holds_nothing_leaves_nothing(tmp_path: Path) -> None:
    for keep, records in ((False, 3), (True, 0)):
        with (
            pytest.raises(KeyboardInterrupt),
            opened_for(tmp_path / "journal", JOB, resume=False, keep=keep) as opened,
        ):
            add_and_stop(opened, records)
        assert list(tmp_path.iterdir()) == []


def add_and_stop(opened: Journal, records: int) -> None:
    for n in range(records):
        opened.add(record(n))
    raise KeyboardInterrupt


def test_a_refused_process_leaves_the_journal_of_the_other_alone(tmp_path: Path) -> None:
    with opened_for(tmp_path / "journal", JOB, resume=False) as opened:
        opened.add(record(1))
        with (
            pytest.raises(RequestError),
            opened_for(tmp_path / "journal", {}, resume=False, keep=False),
        ):
            pass
        assert opened.has_records


def test_what_comes_after_a_part_that_was_lost_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    for numbers in (range(3), range(3, 5)):
        with pytest.raises(KeyboardInterrupt):
            stopped(folder, numbers)
    first, second = sorted(folder.glob("*.arrow"))
    assert second.name == "000000000000006.arrow"  # each record has two rows
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    found = numbers_in(folder)
    assert found == list(range(len(found)))
    assert len(found) < 3


def test_a_journal_that_finds_no_room_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="Not a directory"),
        opened_for(tmp_path / "file" / "journal", JOB, resume=False),
    ):
        pass

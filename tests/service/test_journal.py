"""Journals: what was recorded whole is there again, of the same job only."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entities.errors import DataError, RequestError, StorageError
from service.journal import journal

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("text", pa.string())])
JOB = {"input": [["a.csv", 3, 4]], "model": "m"}


def record(n: int) -> pa.Table:
    return pa.table({"n": [n, n], "text": ["x" * n, None]}, schema=SCHEMA)


def stopped(folder: Path, numbers: range, error: type[BaseException] = KeyboardInterrupt) -> None:
    """A process that records some and is then stopped."""
    with journal(folder, JOB, SCHEMA, resume=True) as opened:
        list(opened.before())
        for n in numbers:
            opened.add(record(n))
        raise error


def numbers_in(folder: Path) -> list[int]:
    """What a process that goes on finds, which then is done."""
    with journal(folder, JOB, SCHEMA, resume=True) as opened:
        return [number for table in opened.before() for number in table["n"].to_pylist()[::2]]


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
    with pytest.raises(KeyboardInterrupt):
        stopped(folder, range(3))
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: (folder / "000000.arrow").unlink())
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
    with journal(tmp_path / "journal", {"model": "other"}, SCHEMA, resume=False) as opened:
        assert list(opened.before()) == []


def test_another_job_is_refused_and_told_what_differs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "journal", range(3))
    changed = {**JOB, "model": "other"}
    with (
        pytest.raises(RequestError, match="cannot resume: another model than before"),
        journal(tmp_path / "journal", changed, SCHEMA, resume=True),
    ):
        pass
    assert numbers_in(tmp_path / "journal") == [0, 1, 2]


def test_two_processes_do_not_work_on_one_journal(tmp_path: Path) -> None:
    with (
        journal(tmp_path / "journal", JOB, SCHEMA, resume=False),
        pytest.raises(StorageError, match="another process works on"),
        journal(tmp_path / "journal", JOB, SCHEMA, resume=True),
    ):
        pass


@pytest.mark.parametrize("error", [DataError, RequestError])
def test_a_job_that_can_never_be_done_leaves_nothing(
    tmp_path: Path, error: type[Exception]
) -> None:
    with pytest.raises(error):
        stopped(tmp_path / "journal", range(3), error)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_finds_no_room_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="Not a directory"),
        journal(tmp_path / "file" / "journal", JOB, SCHEMA, resume=False),
    ):
        pass

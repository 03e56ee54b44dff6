"""Store of corrections: durability, idempotency and deletion."""

import contextlib
import dataclasses
import datetime
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwright.entities.corrections import (
    CORRECTIONS,
    Correction,
    CorrectionStore,
    parse_age,
)
from labelwright.entities.errors import (
    ConflictError,
    DataError,
    StorageError,
    UnconfirmedError,
    UnreachableError,
)
from tests.writers import acknowledged, kills

MICROSECOND = datetime.timedelta(microseconds=1)
LABEL = st.text(min_size=1, max_size=20)
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


def correction(key: str = "k", entity_id: str = "e", reviewer: str = "anna") -> Correction:
    return Correction(
        key=key,
        request="0" * 64,
        reviewer=reviewer,
        entity_id=entity_id,
        entity='{"name": "Joe\'s Pizza"}',
        confirmed=["a"],
        denied=["b"],
        added=["c"],
        model={"name": "small", "version": "1", "content": "f00"},
        said=[{"label": "b", "probability": 0.5, "asserted": True}],
    )


def stored(store: CorrectionStore) -> pa.Table:
    return pa.concat_tables([CORRECTIONS.empty_table(), *store.batches()])


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "corrections.db"


@pytest.fixture
def store(database: Path) -> Iterator[CorrectionStore]:
    with CorrectionStore(f"sqlite:///{database}") as store:
        yield store


def test_corrections_are_stored_in_order_and_readable_by_the_owner_only(
    store: CorrectionStore, database: Path
) -> None:
    taken = [store.add(correction(f"k{n}")) for n in range(3)]
    with CorrectionStore(f"sqlite:///{database}") as other:
        rows = stored(other).to_pylist()
    assert [row["key"] for row in rows] == ["k0", "k1", "k2"]
    assert [row["received"] for row in rows] == [each.received for each in taken]
    expected = dataclasses.asdict(taken[0])
    del expected["request"]
    assert rows[0] == expected
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_a_repeated_correction_is_returned_and_another_one_is_a_conflict(
    store: CorrectionStore,
) -> None:
    first = store.add(correction())
    assert store.add(correction()) == first
    with pytest.raises(ConflictError, match="key was used before"):
        store.add(dataclasses.replace(correction(), request="1" * 64))
    assert store.count() == 1


def test_concurrent_repetitions_are_stored_once(store: CorrectionStore) -> None:
    keys = [f"k{n % 10}" for n in range(80)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: store.add(correction(key)), keys))
    assert store.count() == 10
    assert len({(each.key, each.received) for each in found}) == 10


TEXTS = st.lists(TEXT, max_size=3)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TEXT, TEXT, TEXTS, TEXTS, st.floats(0, 1, width=32))
def test_any_text_is_read_back_from_the_database_and_from_parquet(
    store: CorrectionStore,
    reviewer: str,
    name: str,
    confirmed: list[str],
    added: list[str],
    probability: float,
) -> None:
    given_one = dataclasses.replace(
        correction(reviewer=reviewer),
        entity=name,
        confirmed=confirmed,
        added=added,
        said=[{"label": name, "probability": probability, "asserted": False}],
    )
    store.delete("e")
    taken = store.add(given_one)
    assert store.add(given_one) == taken
    sink = pa.BufferOutputStream()
    assert sum(store.export(sink)) == 1
    exported = pq.read_table(pa.BufferReader(sink.getvalue()))
    assert exported.equals(stored(store))
    (row,) = exported.to_pylist()
    assert row | {"request": taken.request} == dataclasses.asdict(taken)


def test_no_file_of_the_database_contains_a_deleted_correction(
    store: CorrectionStore, database: Path
) -> None:
    store.add(correction("gone", "canary-entity"))
    store.add(correction("stays", "another"))
    assert store.delete("canary-entity") == 1
    assert store.delete("canary-entity") == 0
    assert stored(store)["key"].to_pylist() == ["stays"]
    files = {path.name: path.read_bytes() for path in database.parent.iterdir()}
    assert "corrections.db" in files
    assert not [name for name, content in files.items() if b"canary-entity" in content]


DAY = datetime.timedelta(days=1)


def make_older(database: Path, age: datetime.timedelta, key: str = "%") -> None:
    """Move the time at which corrections were received into the past."""
    change = "UPDATE labelwright_corrections SET received = received - ? WHERE key LIKE ?"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(change, (age // MICROSECOND, key)).rowcount


def move_clock(database: Path, by: datetime.timedelta) -> None:
    """Move all times in a database, as if the clock of the machine had moved."""
    make_older(database, by)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        change = "UPDATE labelwright_expiry SET noticed = noticed - ?"
        connection.execute(change, (by // MICROSECOND,))


def test_purge_deletes_old_corrections(store: CorrectionStore, database: Path) -> None:
    for key in ("oldest", "old", "new"):
        store.add(correction(key))
    make_older(database, 20 * DAY, "oldest")
    make_older(database, 10 * DAY, "old")
    assert store.purge(36_500 * DAY) == 0
    assert store.purge(15 * DAY) == 1
    assert stored(store)["key"].to_pylist() == ["old", "new"]


def test_corrections_are_deleted_a_day_after_they_have_expired(
    store: CorrectionStore, database: Path
) -> None:
    expired: list[int] = []
    store.add(correction("old"))
    make_older(database, 9.5 * DAY)
    with CorrectionStore(f"sqlite:///{database}", "10d", expired.append) as kept:
        kept.add(correction("new"))  # notices that nothing has expired
        move_clock(database, 0.9 * DAY)
        assert kept.count() == 2
        move_clock(database, 0.2 * DAY)
        assert kept.count() == 2  # notices that "old" has expired
        move_clock(database, 0.9 * DAY)
        assert kept.count() == 2
        move_clock(database, 0.2 * DAY)
        assert stored(kept)["key"].to_pylist() == ["new"]
    assert expired == [1]
    with CorrectionStore(f"sqlite:///{database}", "0h") as kept:
        kept.count()
        assert kept.count() == 0


@pytest.mark.parametrize("uses", [1, 3])
@pytest.mark.parametrize("days", [2, 30, 400, 40_000])
def test_a_clock_that_jumps_ahead_deletes_no_corrections(
    database: Path, days: int, uses: int
) -> None:
    url, jump = f"sqlite:///{database}", days * DAY
    with CorrectionStore(url, "365d") as store:
        store.add(correction("before"))
    move_clock(database, jump)
    for use in range(uses):
        with CorrectionStore(url, "365d") as store:
            store.add(correction(f"after {use}"))
            assert store.count() == 2 + use
        move_clock(database, DAY / 4)
    move_clock(database, -jump)  # the clock is set right
    for _ in range(3):
        with CorrectionStore(url, "365d") as store:
            assert store.count() == 1 + uses
        move_clock(database, DAY)


FIRST_USES = """
import sys, threading
from labelwright.entities.corrections import Correction, CorrectionStore

def use(n):
    try:
        together.wait()
        if n % 2:
            store.add(Correction(str(n), "r", "anna", "e", "{}", ["a"], [], [], {}, []))
        else:
            store.count()
    except BaseException as error:
        errors.append(repr(error))

sys.setswitchinterval(0.0005)
store, together, errors = CorrectionStore(sys.argv[1]), threading.Barrier(16), []
threads = [threading.Thread(target=use, args=(n,)) for n in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(store.count(), errors)
"""


def test_the_first_uses_of_a_store_may_be_at_the_same_time(database: Path) -> None:
    for number in range(3):
        command = [sys.executable, "-c", FIRST_USES, f"sqlite:///{database}{number}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout == "8 []\n"


def test_a_correction_is_stored_only_if_it_may_be_committed(store: CorrectionStore) -> None:
    with pytest.raises(UnconfirmedError):
        store.add(correction(), lambda: False)
    assert store.count() == 0
    store.add(correction())
    assert store.add(correction(), lambda: False).key == "k"  # it is stored already


def test_the_number_of_executions_before_a_statement_is_prepared_must_be_a_number() -> None:
    with pytest.raises(DataError, match="prepare_threshold"):
        CorrectionStore("postgresql://h/d?prepare_threshold=x").count()


def test_a_duration_is_a_number_of_days_or_hours() -> None:
    assert (parse_age("365d"), parse_age("12h")) == (
        datetime.timedelta(days=365),
        datetime.timedelta(hours=12),
    )
    for wrong in ("", "d", "365", "-1d", "1w", "1.5d", "9" * 7 + "d"):
        with pytest.raises(DataError, match="365d"):
            parse_age(wrong)


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "mysql://h/d", "http://h", "sqlite://", "sqlite:///", "sqlite:x"),
        *("sqlite:///:memory:", "postgresql://h", "postgresql://h/", "postgresql:///?host=h"),
    ],
)
def test_an_invalid_url_is_refused_before_the_first_use(url: str) -> None:
    with pytest.raises(DataError, match="corrections"):
        CorrectionStore(url)


def test_a_file_that_is_not_a_database_and_a_folder_that_cannot_be_made_are_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "text").write_text("this is not a database\n" * 100)
    with pytest.raises(StorageError, match="not a database"):
        CorrectionStore(f"sqlite:///{tmp_path}/text").count()
    with pytest.raises(StorageError, match=r"File exists|Not a directory"):
        CorrectionStore(f"sqlite:///{tmp_path}/text/corrections.db").count()


def test_the_error_of_an_unreachable_server_does_not_contain_the_password() -> None:
    with pytest.raises(UnreachableError) as caught:
        CorrectionStore("postgresql://anna:hunter2@127.0.0.1:1/none").add(correction())
    assert "127.0.0.1:1/none" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_acknowledged_correction_is_lost_when_the_writer_is_killed(database: Path) -> None:
    url = f"sqlite:///{database}"
    keys = acknowledged(url, kills(10, seed=0))
    with CorrectionStore(url) as store:
        assert keys <= set(stored(store)["key"].to_pylist())
    assert len(keys) > 10

"""Locations of paths and URIs, and output files that appear when they are complete."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs
import pytest

from labelwright.entities.errors import DataError, StorageError
from labelwright.entities.io.locations import Location, locate, open_output


@pytest.mark.parametrize(
    ("given", "name", "beside"),
    [
        ("places.csv", "places.csv", "x"),
        ("a/places.csv", "places.csv", "a/x"),
        ("/places.csv", "places.csv", "/x"),
        ("/a/b/places.parquet", "places.parquet", "/a/b/x"),
        ("s3://bucket/a b/places.parquet?region=nowhere", "places.parquet", "bucket/a b/x"),
    ],
)
def test_a_location_has_a_name_and_siblings(given: str, name: str, beside: str) -> None:
    location = locate(given)
    assert location.name == name
    assert location.sibling("x").path == beside
    assert str(location) == given


def test_a_local_path_is_a_local_location(tmp_path: Path) -> None:
    assert locate(tmp_path).local == tmp_path
    assert locate(tmp_path.as_uri()).local == tmp_path
    assert locate("s3://bucket/key?region=nowhere").local is None
    assert locate("-").local is None


def test_locate_returns_a_location_unchanged(tmp_path: Path) -> None:
    location = locate(tmp_path)
    assert locate(location) is location


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(DataError, match="must not hold credentials") as caught:
        locate("s3://ALADDIN:sesame@bucket/key")
    assert "sesame" not in str(caught.value)


def test_a_path_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(DataError, match="must be valid UTF-8"):
        locate(os.fsdecode(b"caf\xe9.csv"))


def test_a_location_contains_itself_and_its_files(tmp_path: Path) -> None:
    folder = locate(tmp_path / "a")
    assert folder.contains(folder)
    assert folder.contains(locate(tmp_path / "a" / "b" / "c.csv"))
    assert not folder.contains(locate(tmp_path / "ab"))
    assert not folder.contains(locate("-"))
    assert locate("s3://b/k?region=x").contains(locate("s3://b/k/in.csv?region=y"))


@pytest.mark.parametrize("given", ["ftp://host/file.csv", "s4://bucket/key", "https://host/a.csv"])
def test_an_unknown_scheme_is_refused(given: str) -> None:
    with pytest.raises(DataError, match="is not a URI that can be used"):
        locate(given)


def test_a_standard_stream_has_the_given_format() -> None:
    assert locate("-").name == "-.jsonl"
    assert locate("-", "csv").name == "-.csv"
    assert locate("-").info() is None
    assert locate("-").files() == []


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"some text")))
    with locate("-").open() as stream:
        assert stream.read() == b"some text"


def test_files_of_a_folder_are_listed_in_order_of_their_paths(tmp_path: Path) -> None:
    names = ("b", "a/z", "a.b", "c/d/e")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    files = locate(f"{tmp_path}/").files()
    assert [file.local for file in files] == sorted(
        tmp_path / n for n in ("b", "a/z", "a.b", "c/d/e")
    )
    assert [file.text for file in files] == [str(file.local) for file in files]


def test_an_output_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with open_output(locate(path)) as stream:
        stream.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [path]


def fail_after(written: int, error: type[BaseException]) -> None:
    """Raise an error after some bytes were written."""
    assert written
    raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_unfinished_output_file_is_removed(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), open_output(locate(tmp_path / "out")) as stream:
        fail_after(stream.write(b"abc"), error)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_refuses_the_file_is_a_storage_error(tmp_path: Path) -> None:
    filesystem = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())
    location = Location("there", "missing/there", filesystem)
    match = "there was not written: No such file"
    with pytest.raises(StorageError, match=match), open_output(location):
        pass


class UnbufferedStream(io.BytesIO):
    """A stream that writes at most three bytes for each call, as an unbuffered pipe can."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data)[:3])


def test_all_bytes_are_written_to_an_unbuffered_standard_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = UnbufferedStream()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    with open_output(locate("-")) as stream:
        stream.write(b"abcdefgh")
    assert out.getvalue() == b"abcdefgh"


def test_closed_standard_streams_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(DataError, match="standard input is closed"):
        locate("-").open()
    with pytest.raises(StorageError, match="stdout is closed"), open_output(locate("-")) as stream:
        stream.write(b"abc")


def test_standard_output_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    with open_output(locate("-")) as stream:
        stream.write(b"abc")
    assert out.getvalue() == b"abc"

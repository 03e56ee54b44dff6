"""Arrow streams: they are split into pieces in constant memory, for any input."""

import io
import itertools
import tracemalloc
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.entities.errors import DataError
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import Model
from labelwright.service.http.streaming import PIECE_ROWS, Piece
from labelwright.service.protocols.arrow import BATCH_ROWS_LIMIT, ArrowStream
from labelwright.service.protocols.arrow_frames import DICTIONARY, MESSAGE_LIMIT, Frames

BATCHES = st.lists(st.lists(st.text(max_size=3), max_size=5), min_size=1, max_size=8)


def stream_of(batches: Sequence[pa.RecordBatch]) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def encoded(names: Sequence[str]) -> pa.RecordBatch:
    """Names with a dictionary of their own."""
    return pa.record_batch({"name": pa.array(names, pa.string()).dictionary_encode()})


def messages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of a stream, each with its kind."""
    frames = Frames()
    frames.feed(content)
    while frame := frames.take():
        yield frame.kind, frame.content


def read(pieces: Sequence[Piece], model: Model) -> list[tuple[str, str]]:
    """The id and the name of each row."""
    found = [piece.parse(model).entities for piece in pieces]
    assert [len(entities) for entities in found] == [piece.rows for piece in pieces]
    return list(itertools.chain.from_iterable(map(rows_of, found)))


def rows_of(entities: Entities) -> list[tuple[str, str]]:
    return [(row["id"], row["name"]) for row in entities.table.to_pylist()]


@settings(max_examples=50, deadline=None)
@given(batches=BATCHES, cuts=st.lists(st.integers(0, 4_000), max_size=4), large=st.booleans())
def test_rows_keep_their_order_and_numbers_however_they_come(
    model: Model, batches: list[list[str]], cuts: list[int], large: bool
) -> None:
    if large:
        batches = [*batches, ["x", "y"] * PIECE_ROWS, *batches]
    content = stream_of([encoded(names) for names in batches])
    form = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    ends = [0, *sorted(min(split, len(content)) for split in cuts), len(content)]
    pieces: list[Piece] = []
    for begin, end in itertools.pairwise(ends):
        pieces += form.split([content[begin:end]], end == len(content))
    assert max((piece.rows for piece in pieces), default=0) <= PIECE_ROWS
    names = pa.array([name for batch in batches for name in batch], pa.string())
    whole = from_table(pa.table({"name": names}), model.bundle.labeler.schema)
    assert read(pieces, model) == rows_of(whole)


def test_small_batches_are_labelled_together(model: Model) -> None:
    content = stream_of([encoded(["x"] * 10)] * 100)
    form = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    assert [piece.rows for piece in form.split([content], True)] == [1_000]


def test_pieces_are_made_as_they_are_asked_for(model: Model) -> None:
    """Each of the batches has 300 bytes and stands for a million rows; the last is broken."""
    batch = pa.record_batch({"name": pa.nulls(BATCH_ROWS_LIMIT)})
    form = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    content = stream_of([batch] * 3)[:-8] + b"x" * 8
    pieces = form.split([content], True)
    of_two = 2 * BATCH_ROWS_LIMIT // PIECE_ROWS
    assert {piece.rows for piece in itertools.islice(pieces, of_two)} == {PIECE_ROWS}
    with pytest.raises(DataError, match="not an Arrow IPC stream"):
        list(pieces)


def test_a_dictionary_takes_the_place_of_the_one_before(model: Model) -> None:
    large = ["x" * 1_000 + str(number) for number in range(100)]
    first, second = (list(messages(stream_of([encoded(names)]))) for names in (large, ["a", "b"]))
    (dictionary,) = (content for kind, content in first if kind == DICTIONARY)
    form = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    tracemalloc.start()
    try:
        assert not list(form.split([first[0][1]], False))
        for _ in range(3 * MESSAGE_LIMIT // len(dictionary)):
            assert not list(form.split([dictionary], False))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 10 * len(dictionary)
    rest = b"".join(content for _, content in second[1:])
    assert read(list(form.split([rest], False)), model) == [("0", "a"), ("1", "b")]


def test_dictionaries_have_a_limit_together(model: Model) -> None:
    names = ["x" * 1_000_000 + str(number) for number in range(MESSAGE_LIMIT // 3_000_000)]
    columns = {name: encoded(names)["name"] for name in ("name", "u", "v", "w")}
    form = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    with pytest.raises(DataError, match="dictionaries together may have at most 16,777,216 bytes"):
        list(form.split([stream_of([pa.record_batch(columns)])], True))

"""Arrow streams: any stream is split into pieces in constant memory."""

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
    """A batch of names that has its own dictionary."""
    return pa.record_batch({"name": pa.array(names, pa.string()).dictionary_encode()})


def messages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the content of each message of a stream."""
    frames = Frames()
    frames.feed(content)
    while frame := frames.take():
        yield frame.kind, frame.content


def read(pieces: Sequence[Piece], model: Model) -> list[tuple[str, str]]:
    """The id and the name of each row."""
    parsed = [piece.parse(model).entities for piece in pieces]
    assert [len(entities) for entities in parsed] == [piece.rows for piece in pieces]
    return list(itertools.chain.from_iterable(map(rows_of, parsed)))


def rows_of(entities: Entities) -> list[tuple[str, str]]:
    return [(row["id"], row["name"]) for row in entities.table.to_pylist()]


@settings(max_examples=50, deadline=None)
@given(batches=BATCHES, cuts=st.lists(st.integers(0, 4_000), max_size=4), large=st.booleans())
def test_order_and_numbers_of_rows_do_not_depend_on_how_the_stream_is_received(
    model: Model, batches: list[list[str]], cuts: list[int], large: bool
) -> None:
    if large:
        batches = [*batches, ["x", "y"] * PIECE_ROWS, *batches]
    content = stream_of([encoded(names) for names in batches])
    stream_format = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    bounds = [0, *sorted(min(split, len(content)) for split in cuts), len(content)]
    pieces: list[Piece] = []
    for begin, end in itertools.pairwise(bounds):
        pieces += stream_format.split([content[begin:end]], end == len(content))
    assert max((piece.rows for piece in pieces), default=0) <= PIECE_ROWS
    names = pa.array([name for batch in batches for name in batch], pa.string())
    all_rows = from_table(pa.table({"name": names}), model.bundle.labeler.schema)
    assert read(pieces, model) == rows_of(all_rows)


def test_small_batches_are_labelled_together(model: Model) -> None:
    content = stream_of([encoded(["x"] * 10)] * 100)
    stream_format = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    assert [piece.rows for piece in stream_format.split([content], True)] == [1_000]


def test_pieces_are_made_one_at_a_time(model: Model) -> None:
    """Each batch has a million rows in 300 bytes. The stream is invalid after the last batch."""
    batch = pa.record_batch({"name": pa.nulls(BATCH_ROWS_LIMIT)})
    stream_format = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    content = stream_of([batch] * 3)[:-8] + b"x" * 8
    pieces = stream_format.split([content], True)
    of_two = 2 * BATCH_ROWS_LIMIT // PIECE_ROWS
    assert {piece.rows for piece in itertools.islice(pieces, of_two)} == {PIECE_ROWS}
    with pytest.raises(DataError, match="not an Arrow IPC stream"):
        list(pieces)


def test_a_dictionary_replaces_the_previous_dictionary_with_its_id(model: Model) -> None:
    large = ["x" * 1_000 + str(number) for number in range(100)]
    first, second = (list(messages(stream_of([encoded(names)]))) for names in (large, ["a", "b"]))
    (dictionary,) = (content for kind, content in first if kind == DICTIONARY)
    stream_format = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    tracemalloc.start()
    try:
        assert not list(stream_format.split([first[0][1]], False))
        for _ in range(3 * MESSAGE_LIMIT // len(dictionary)):
            assert not list(stream_format.split([dictionary], False))
        used_memory, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used_memory < 10 * len(dictionary)
    remaining = b"".join(content for _, content in second[1:])
    assert read(list(stream_format.split([remaining], False)), model) == [("0", "a"), ("1", "b")]


def test_all_dictionaries_together_have_a_size_limit(model: Model) -> None:
    names = ["x" * 1_000_000 + str(number) for number in range(MESSAGE_LIMIT // 3_000_000)]
    columns = {name: encoded(names)["name"] for name in ("name", "u", "v", "w")}
    stream_format = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    with pytest.raises(DataError, match="dictionaries together may have at most 16,777,216 bytes"):
        list(stream_format.split([stream_of([pa.record_batch(columns)])], True))


def test_a_member_of_a_struct_whose_name_is_not_utf8_is_a_data_error(model: Model) -> None:
    tags = pa.array([{"QQQQ": "x"}])
    stream = stream_of([pa.record_batch({"name": ["Bar"], "tags": tags})])
    broken = stream.replace(b"QQQQ", b"QQ\xffQ")
    form = ArrowStream(LabelQuery(), model.bundle.labeler.schema)
    (piece,) = form.split([broken], True)
    with pytest.raises(DataError, match="a member whose name is not valid UTF-8"):
        piece.parse(model)

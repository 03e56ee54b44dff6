"""A mixture of requests as a service gets them, and the right answer of each version to each."""

import dataclasses
import gzip
import random
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from benchmarks.connections import Answer
from benchmarks.over_http import HOST, Record
from benchmarks.versions import VERSIONS
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import Model
from labelwright.service.protocols.label_messages import answer, lines
from labelwright.service.protocols.ndjson import NDJSON

STREAM, LEAVES = "stream of 200 lines", "client that leaves"
SHARES: Mapping[str, int] = {
    "1 entity": 50,
    "32 entities": 20,
    "100 entities": 8,
    "3 entities, explained": 4,
    "32 entities, compressed": 7,
    "8 entities, half of them bad": 5,
    STREAM: 3,
    LEAVES: 3,
}
"""Of all requests, in percent."""
BAD: Sequence[Any] = ("no object", {"name": 7}, {"lat": 100.0, "lon": 0.0}, [])


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as it is sent, and its right answer by each of VERSIONS."""

    kind: str
    sent: bytes
    known: tuple[bytes, ...]

    def version(self, answer: Answer) -> str | None:
        """The version that has given the right answer and is named by it, None for a wrong one."""
        if answer.body not in self.known:
            return None
        version = VERSIONS[self.known.index(answer.body)]
        named = f"\r\nx-model-version: {version}\r\n".encode() in answer.head
        return version if named or self.kind != STREAM else None  # others name it in the body


def mixture(models: Sequence[Model], records: Sequence[Record], scale: int = 4) -> list[Request]:
    """So many requests for each percent of its kind, shuffled; always the same for a seed.

    Raises ValueError where the models give the same answer: nobody could tell who has answered.
    """
    draw = random.Random(0)  # noqa: S311
    requests = [
        _request(kind, models, records, draw)
        for kind, share in SHARES.items()
        for _ in range(share * scale)
    ]
    if any(len(set(request.known)) < len(models) for request in requests):
        raise ValueError("two versions give the same answer")
    draw.shuffle(requests)
    return requests


def _request(
    kind: str, models: Sequence[Model], records: Sequence[Record], draw: random.Random
) -> Request:
    count = int(kind.split()[0]) if kind[0].isdigit() else 32
    some: list[Any] = draw.sample(records, count)
    if kind == STREAM:
        return _stream(models, draw.sample(records, 200))
    if kind.endswith("bad"):
        some = [*some[: count // 2], *BAD]
        draw.shuffle(some)
    query = {"explain": True, "top_k": 3} if kind.endswith("explained") else {}
    body = orjson.dumps({"entities": some, **query})
    known = tuple(answer(body, model) for model in models)
    if kind.endswith("compressed"):
        return Request(kind, _post(gzip.compress(body), "Content-Encoding: gzip\r\n"), known)
    return Request(kind, _post(body), known)


def _stream(models: Sequence[Model], some: Sequence[Record]) -> Request:
    known = []
    for model in models:
        labeler = model.bundle.labeler
        entities = from_records(list(some), labeler.schema)
        predictions = labeler.label(entities, LabelQuery())
        known.append(b"\n".join((*lines(entities, predictions), b"")))
    body = b"\n".join(map(orjson.dumps, some))
    return Request(STREAM, _post(body, f"Content-Type: {NDJSON}\r\n"), tuple(known))


def _post(body: bytes, headers: str = "Content-Type: application/json\r\n") -> bytes:
    head = f"POST /v1/labels HTTP/1.1\r\nHost: {HOST}\r\n{headers}Content-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body

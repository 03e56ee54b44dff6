"""A mixture of different requests, with the right response of each version of a model."""

import dataclasses
import gzip
import random
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from benchmarks.connections import Response
from benchmarks.over_http import OWN, Record, post
from benchmarks.two_versions import VERSIONS
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.registry import Model
from labelwright.service.protocols.label_messages import respond
from labelwright.service.protocols.ndjson import NDJSON
from labelwright.service.protocols.results import lines

STREAM, DISCONNECTS = "stream of 200 lines", "client that disconnects"
SHARES: Mapping[str, int] = {
    "1 entity": 50,
    "32 entities": 20,
    "100 entities": 8,
    "3 entities, explained": 4,
    "32 entities, compressed": 7,
    "8 entities, half of them invalid": 5,
    STREAM: 3,
    DISCONNECTS: 3,
}
"""Share of each kind of request, in percent."""
INVALID: Sequence[Any] = ("no object", {"name": 7}, {"lat": 100.0, "lon": 0.0}, [])


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as bytes, and the right response body of each of VERSIONS."""

    kind: str
    content: bytes
    expected: tuple[bytes, ...]

    def version(self, response: Response) -> str | None:
        """The version that sent the response; None if the response is wrong.

        A response is also wrong if it names another version than the version of its labels. A
        stream names the version in a header, other responses in the body.
        """
        if response.body not in self.expected:
            return None
        version = VERSIONS[self.expected.index(response.body)]
        header = f"\r\nx-model-version: {version}\r\n".encode() in response.head
        return version if header or self.kind != STREAM else None


def mixture(models: Sequence[Model], records: Sequence[Record], scale: int = 4) -> list[Request]:
    """`scale` requests for each percent of SHARES, in a random order with a fixed seed.

    Raises ValueError if two models give the same response, because the response would not show its
    version.
    """
    draw = random.Random(0)  # noqa: S311
    requests = [
        _request(kind, models, records, draw)
        for kind, share in SHARES.items()
        for _ in range(share * scale)
    ]
    if any(len(set(request.expected)) < len(models) for request in requests):
        raise ValueError("two versions give the same response: expected all to differ")
    draw.shuffle(requests)
    return requests


def _request(
    kind: str, models: Sequence[Model], records: Sequence[Record], draw: random.Random
) -> Request:
    count = int(kind.split()[0]) if kind[0].isdigit() else 32
    some: list[Any] = draw.sample(records, count)
    if kind == STREAM:
        return _stream(models, draw.sample(records, 200))
    if kind.endswith("invalid"):
        some = [*some[: count // 2], *INVALID]
        draw.shuffle(some)
    query = {"explain": True, "top_k": 3} if kind.endswith("explained") else {}
    body = orjson.dumps({"entities": some, **query})
    expected = tuple(respond(body, model) for model in models)
    if kind.endswith("compressed"):
        content = post(OWN.path, gzip.compress(body), "Content-Encoding: gzip")
        return Request(kind, content, expected)
    return Request(kind, post(OWN.path, body), expected)


def _stream(models: Sequence[Model], some: Sequence[Record]) -> Request:
    expected = []
    for model in models:
        labeler = model.bundle.labeler
        entities = from_records(list(some), labeler.schema)
        predictions = labeler.label(entities, LabelQuery())
        expected.append(b"\n".join((*lines(entities, predictions), b"")))
    body = b"\n".join(map(orjson.dumps, some))
    return Request(STREAM, post(OWN.path, body, content_type=NDJSON), tuple(expected))

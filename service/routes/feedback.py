"""Routes under `/v1/feedback`. A correction is stored before the response is sent."""

import asyncio
import io
import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, NotRequired, cast

import anyio
import anyio.to_thread
import fastapi
import pydantic
from fastapi import Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, StringConstraints
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.entities.corrections import Correction, CorrectionStore
from labelwright.entities.errors import DataError, RequestError, UnconfirmedError
from labelwright.entities.tables import Entities, from_records
from labelwright.entities.text import label_form
from labelwright.models.audit import EXPORT, audit, deleted
from labelwright.models.decisions import TOP_K_LIMIT, LabelQuery
from labelwright.models.features.fingerprints import content_ids
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.engine.parts import decoding_cost
from labelwright.service.http.body import request_body
from labelwright.service.http.errors import validation_problem
from labelwright.service.http.request_form import RequestForm
from labelwright.service.openapi.native import entity_schema, example_entity
from labelwright.service.openapi.operations import Part, content, json_schema, operation
from labelwright.service.protocols.label_messages import parse_json
from labelwright.service.protocols.results import ModelIdentity, results
from labelwright.service.telemetry.request_record import current_record

LABELS_LIMIT, LABEL_LIMIT = 200, 200
"""Maximum labels in each list of a correction, and maximum characters of a label."""
ENTITY_LIMIT = 256 << 10
"""Maximum bytes of the JSON with the fields of a correction's entity."""
ID_LIMIT = 500
"""Maximum bytes of the id of an entity in a correction."""

PREFIX = "/v1/feedback"
WRITERS = 4
"""Maximum threads that wait for the database. If the database hangs, all others stay free."""

COMMIT_SECONDS = 30.0
"""Maximum seconds to wait, after the deadline, for the database to commit a correction."""
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_TRIMMED = r"^\S([^\x00-\x1f\x7f]*\S)?$"
Key = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PLAIN)]
Plain = Annotated[str, StringConstraints(max_length=200, pattern=_PLAIN)]
LabelName = Annotated[
    str, StringConstraints(min_length=1, max_length=LABEL_LIMIT, pattern=_TRIMMED)
]
LabelNames = Annotated[list[LabelName], Field(max_length=LABELS_LIMIT)]


class ShownLabel(RequestForm):
    """A label that the reviewer was shown; further members of a result's label are ignored."""

    label: LabelName
    probability: float = Field(ge=0, le=1)
    asserted: bool


class ShownModel(RequestForm):
    """The model whose labels the reviewer was shown."""

    name: Plain | None = None
    version: Plain | None = None
    content: Plain | None = None


class Shown(RequestForm):
    """The labels that the reviewer was shown: `model` of a response, and `labels` of one result."""

    model: ShownModel
    labels: list[ShownLabel] = Field(max_length=TOP_K_LIMIT)


class FeedbackRequest(RequestForm):
    """A reviewer's correction of the labels of one entity.

    Labels in `confirmed` and `denied` must be labels of the model or of `shown`. Labels in `added`
    may be new.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    entity: dict[str, Any]
    confirmed: LabelNames = Field(default=[])
    denied: LabelNames = Field(default=[])
    added: LabelNames = Field(default=[])
    reviewer: Plain = Field(
        "", description="The reviewer's name. A reviewer has one vote on each label of an entity."
    )
    key: Key | None = Field(
        None, description="The idempotency key, if the header Idempotency-Key is not sent."
    )
    shown: Shown | None = Field(
        None,
        description="The labels that the reviewer was shown. By default, the labels that the model "
        "in service gives the entity.",
    )


class FeedbackResponse(TypedDict):
    """A correction that was stored."""

    key: str
    entity_id: str
    received: datetime
    model: ModelIdentity
    warnings: NotRequired[list[str]]


def feedback_routes(engine: Engine, store: CorrectionStore) -> fastapi.APIRouter:
    """Router of `POST` and `DELETE /v1/feedback`, and of `GET /v1/feedback/export`."""
    # the routers that are included have the prefix: metrics and logs show their paths
    router = fastapi.APIRouter(tags=["feedback"])
    router.include_router(_reviewer_routes(engine, store))
    router.include_router(_admin_routes(store))
    return router


def _reviewer_routes(engine: Engine, store: CorrectionStore) -> fastapi.APIRouter:
    router, writers = fastapi.APIRouter(prefix=PREFIX), anyio.CapacityLimiter(WRITERS)

    @router.post("", status_code=201, response_model=None)
    async def correct(
        request: Request,
        idempotency_key: Annotated[Key | None, Header()] = None,
    ) -> Response | FeedbackResponse:
        """Store a correction. After the response, the correction survives a crash of the machine.

        If a correction is sent again with its key, the response is the same. A different
        correction with this key gets status 409.
        """
        async with request_body(request, engine) as body:
            try:
                correction, warnings = await engine.compute(
                    lambda model: read_correction(body.content, idempotency_key, model),
                    decoding_cost(1, body.content),
                    body.deadline,
                )
            except pydantic.ValidationError as error:
                return validation_problem(error)
        stored = await _store(store, correction, body.deadline, writers)
        return _response(stored, warnings)

    return router


def _response(stored: Correction, warnings: list[str]) -> FeedbackResponse:
    response: FeedbackResponse = {
        "key": stored.key,
        "entity_id": stored.entity_id,
        "received": cast(datetime, stored.received),  # set by the store
        "model": cast(ModelIdentity, stored.model),
    }
    if warnings:
        response["warnings"] = warnings
    return response


async def _store(
    store: CorrectionStore,
    correction: Correction,
    deadline: float,
    threads: anyio.CapacityLimiter,
) -> Correction:
    """Store a correction on another thread, and return it as it is stored.

    Raises UnconfirmedError at the deadline, which is a time of `time.monotonic`, unless the
    database commits the correction at that time.
    """
    decision = threading.Lock()  # the first one who acquires it decides about the commit
    writer = asyncio.create_task(
        anyio.to_thread.run_sync(
            lambda: store.add(correction, lambda: decision.acquire(blocking=False)),
            limiter=threads,
            abandon_on_cancel=True,
        )
    )
    done, _ = await asyncio.wait([writer], timeout=deadline - time.monotonic())
    if not done and decision.acquire(blocking=False):
        writer.cancel()
        raise UnconfirmedError(
            "the database did not store the correction in time: send it again with the same key"
        )
    try:
        return await asyncio.wait_for(writer, COMMIT_SECONDS)
    except TimeoutError:
        raise UnconfirmedError(
            "the database did not confirm the correction in time, and may have stored it or not: "
            "send it again with the same key"
        ) from None


def _admin_routes(store: CorrectionStore) -> fastapi.APIRouter:
    router = fastapi.APIRouter(prefix=PREFIX)

    @router.get("/export", response_class=Response)
    def export() -> Response:
        """All corrections as a Parquet file."""
        chunks = _parquet(store)
        first = next(chunks)  # raises an error of the database before the response begins
        audit(EXPORT, _author())
        return StreamingResponse(
            itertools.chain([first], chunks),
            media_type="application/vnd.apache.parquet",
            headers={"Content-Disposition": 'attachment; filename="corrections.parquet"'},
        )

    @router.delete("")
    def delete(
        entity_id: Annotated[str, Query(min_length=1, max_length=ID_LIMIT)],
    ) -> dict[str, int]:
        """Delete all corrections of an entity."""
        number = store.delete(entity_id)
        deleted(number, entity_id, _author())
        return {"deleted": number}

    return router


def _author() -> str:
    """The author of the current request, for the audit log."""
    key = current_record().client.key
    return f"key {key}" if key else "request without key"


def read_correction(body: bytes, key: str | None, model: Model) -> tuple[Correction, list[str]]:
    """The correction in the body of a request, and warnings about its entity.

    `key` is the header Idempotency-Key; the body may have the key too. If neither has a key, a
    random key is generated.
    Raises MalformedError for a body that is not JSON, pydantic.ValidationError for JSON that is not
    a FeedbackRequest, DataError for an entity that cannot be stored, and RequestError for labels or
    keys that contradict each other.
    """
    request = FeedbackRequest.model_validate(parse_json(body))
    if key and request.key and key != request.key:
        raise RequestError(
            "the header Idempotency-Key and the member key differ: send only one of them"
        )
    labeler = model.bundle.labeler
    entities = from_records([request.entity], labeler.schema)
    entity_id, entity = _id_and_fields(request, entities)
    request.added = [label_form(label) for label in request.added]
    shown = request.shown or _current_labels(model, entities)
    known = {*labeler.labels.names, *labeler.schema.redirects.targets}
    _check_labels(request, known | {label.label for label in shown.labels})
    members = request.model_dump(exclude={"key", "entity"})
    identified = json.dumps([entity_id, entity, members], sort_keys=True)
    return Correction(
        key=key or request.key or uuid.uuid4().hex,
        request=sha256(identified.encode()).hexdigest(),
        reviewer=request.reviewer,
        entity_id=entity_id,
        entity=entity,
        confirmed=sorted(set(request.confirmed)),
        denied=sorted(set(request.denied)),
        added=sorted(set(request.added)),
        model=shown.model.model_dump(),
        said=[label.model_dump() for label in shown.labels],
    ), list(entities.warnings)


def _id_and_fields(request: FeedbackRequest, entities: Entities) -> tuple[str, str]:
    """The id of the entity, and its filled fields as JSON.

    The id of an entity without an id is computed from its fields. Raises DataError for an entity
    that is invalid, too large or has no filled field, and for an id that cannot be stored.
    """
    if entities.rejected:
        raise DataError(f"entity: {entities.rejected[0]}")
    (row,) = entities.table.to_pylist()
    filled = [name for name in entities.schema.fields if row.get(name) not in (None, "")]
    fields = {name: request.entity[name] for name in filled}
    if not fields:
        raise DataError(f"entity: at least one of {', '.join(entities.schema.fields)} is needed")
    (entity_id,) = content_ids(entities).to_pylist() if entities.anonymous else [row["id"]]
    if len(entity_id.encode()) > ID_LIMIT or not (entity_id and entity_id.isprintable()):
        raise DataError(f"entity: an id must be printable text of up to {ID_LIMIT} bytes")
    try:
        encoded = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise DataError("entity: numbers must be finite") from error
    if (size := len(encoded.encode())) > ENTITY_LIMIT:
        raise DataError(f"entity: its fields have {size:,} bytes, more than {ENTITY_LIMIT:,} bytes")
    return entity_id, encoded


def _current_labels(model: Model, entities: Entities) -> Shown:
    """The model and the labels that it gives the entity now."""
    (result,) = results(entities, model.bundle.labeler.label(entities, LabelQuery()))
    labels = [{**label, "probability": float(label["probability"])} for label in result["labels"]]
    return Shown.model_validate({"model": model.identity, "labels": labels})


def _check_labels(request: FeedbackRequest, known: set[str]) -> None:
    """Raise RequestError if a correction has no labels, or labels that contradict each other.

    Confirmed and denied labels must be `known`.
    """
    confirmed, denied, added = ({*request.confirmed}, {*request.denied}, {*request.added})
    if not confirmed | denied | added:
        raise RequestError("a correction must confirm, deny or add at least one label")
    if confirmed & denied or (confirmed | denied) & added:
        raise RequestError("a label must be either confirmed, denied or added, not several of them")
    if not confirmed | denied <= known:
        raise RequestError(
            "each confirmed or denied label must be a label of the model or of what was shown: "
            "GET /v1/labels lists them; send new labels as added"
        )


def _parquet(store: CorrectionStore) -> Iterator[bytes]:
    """All corrections as the chunks of a Parquet file."""
    stream = _Chunk()
    for _ in store.export(stream):
        yield stream.take()


class _Chunk(io.RawIOBase):
    """Binary stream that keeps the bytes that were written since the last call of `take`."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        """Whether the stream can be written."""
        return True

    def write(self, content: Any) -> int:
        """Append bytes to the stream."""
        self._content += content
        return len(content)

    def tell(self) -> int:
        """The number of bytes that were written."""
        return self._taken + len(self._content)

    def take(self) -> bytes:
        """Remove and return the bytes that the stream keeps."""
        taken, self._content = bytes(self._content), bytearray()
        self._taken += len(taken)
        return taken


def describe_feedback(model: Model) -> Part:
    """Request and response of `POST /v1/feedback`: parts of its OpenAPI operation."""
    labeler = model.bundle.labeler
    schema = json_schema(FeedbackRequest)
    schema["properties"]["entity"] = entity_schema(labeler.schema)
    example = {
        "entity": example_entity(labeler.schema),
        "denied": list(labeler.labels.names[:1]),
        "reviewer": "anna",
    }
    return operation(
        {"application/json": content(schema, denied=example)},
        {"application/json": content(json_schema(FeedbackResponse))},
        "The correction is stored.",
        status="201",
    )

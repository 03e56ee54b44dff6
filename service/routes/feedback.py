"""`/v1/feedback`: what people say about labels, kept before it is acknowledged."""

import contextlib
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Annotated, Any, BinaryIO, TypeVar

import anyio
import anyio.to_thread
import fastapi
import pydantic
from fastapi import Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field, StringConstraints
from starlette.background import BackgroundTask

from labelwright.entities.corrections import Correction, CorrectionStore
from labelwright.entities.errors import DataError, RequestError, UnreachableError
from labelwright.entities.tables import Entities, from_records
from labelwright.models.decisions import TOP_K_LIMIT, LabelQuery
from labelwright.models.features.fingerprints import content_ids
from labelwright.models.registry import Model
from labelwright.service.engine.engine import Engine
from labelwright.service.http.body import request_body
from labelwright.service.http.errors import validation_problem
from labelwright.service.openapi.native import entity_schema, example_entity
from labelwright.service.protocols.label_messages import parsed, results

LABELS_LIMIT, LABEL_LIMIT = 200, 200
"""Labels that a correction may confirm, deny or add, and the characters of each."""
ENTITY_LIMIT = 256 << 10
"""Bytes of JSON that may describe the entity of a correction."""
ID_LIMIT = 500
"""Bytes of the id of an entity that can be corrected."""

WRITERS = 4
"""Threads that wait for the database: while it is away, all others go on."""

T = TypeVar("T")
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_TRIMMED = r"^\S([^\x00-\x1f\x7f]*\S)?$"
Key = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PLAIN)]
Plain = Annotated[str, StringConstraints(max_length=200, pattern=_PLAIN)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=LABEL_LIMIT, pattern=_TRIMMED)]
Labels = Annotated[list[Label], Field(max_length=LABELS_LIMIT)]


class SaidLabel(pydantic.BaseModel):
    """A label as an answer has it; what else it has there is passed over."""

    label: Label
    probability: float = Field(ge=0, le=1)
    asserted: bool


class SaidBy(pydantic.BaseModel):
    """The model of an answer."""

    name: Plain | None = None
    version: Plain | None = None
    content: Plain | None = None


class Shown(pydantic.BaseModel):
    """What the reviewer was shown: the `model` of an answer, and the `labels` of one result."""

    model: SaidBy
    labels: list[SaidLabel] = Field(max_length=TOP_K_LIMIT)


class FeedbackRequest(pydantic.BaseModel):
    """What one reviewer says about labels of one entity.

    `confirmed` and `denied` are labels of the model or of what was shown; `added` may be new.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    entity: dict[str, Any]
    confirmed: Labels = []
    denied: Labels = []
    added: Labels = []
    reviewer: Plain = Field("", description="Who says so: one vote on each label of an entity.")
    key: Key | None = Field(None, description="The same as the header Idempotency-Key.")
    shown: Shown | None = Field(
        None, description="Where it is not given, the model that serves now is asked."
    )


def feedback(engine: Engine, store: CorrectionStore) -> fastapi.APIRouter:
    """All that concerns corrections: giving them, and what is for those who look after them."""
    both = fastapi.APIRouter(prefix="/v1", tags=["feedback"])
    both.include_router(_giving(engine, store))
    both.include_router(_keeping(store))
    return both


def _giving(engine: Engine, store: CorrectionStore) -> fastapi.APIRouter:
    router, writers = fastapi.APIRouter(), anyio.CapacityLimiter(WRITERS)

    @router.post("/feedback", status_code=201, response_model=None)
    async def correct(
        request: Request,
        idempotency_key: Annotated[Key | None, Header()] = None,
    ) -> Response | dict[str, Any]:
        """Keep a correction: when this answers, it outlives the service and the machine.

        The same again under the same key gets the same answer, something else gets 409.
        """
        async with request_body(request, engine) as body:
            try:
                correction, warnings = await engine.compute(
                    lambda model: read_correction(body.content, idempotency_key, model),
                    1,
                    body.deadline,
                )
            except pydantic.ValidationError as error:
                return validation_problem(error)
        kept = await _within(body.deadline, lambda: store.add(correction), writers)
        return {
            "key": kept.key,
            "entity_id": kept.entity_id,
            "received": kept.received,
            "model": kept.model,
        } | ({"warnings": warnings} if warnings else {})

    return router


async def _within(deadline: float, work: Callable[[], T], threads: anyio.CapacityLimiter) -> T:
    """What a database says, on a thread of its own; raises UnreachableError at the deadline."""
    try:
        with anyio.fail_after(deadline - time.monotonic()):
            return await anyio.to_thread.run_sync(work, limiter=threads, abandon_on_cancel=True)
    except TimeoutError:
        raise UnreachableError("corrections were not kept in time") from None


def _keeping(store: CorrectionStore) -> fastapi.APIRouter:
    router = fastapi.APIRouter()

    @router.get("/feedback/export", response_class=Response)
    def export() -> Response:
        """All corrections as a Parquet file."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile())
            store.export(file)
            file.seek(0)
            open_until_sent = stack.pop_all()
        return StreamingResponse(
            _chunks(file),
            media_type="application/vnd.apache.parquet",
            headers={"Content-Disposition": 'attachment; filename="corrections.parquet"'},
            background=BackgroundTask(open_until_sent.close),
        )

    @router.delete("/feedback")
    def delete(
        entity_id: Annotated[str, Query(min_length=1, max_length=ID_LIMIT)],
    ) -> dict[str, int]:
        """Delete all corrections of an entity."""
        return {"deleted": store.delete(entity_id)}

    return router


def read_correction(body: bytes, key: str | None, model: Model) -> tuple[Correction, list[str]]:
    """The correction in the body of a request, and warnings about it.

    `key` is that of the header, which the body may name as well; without either one is made.
    Raises MalformedError for a body that is not JSON, pydantic.ValidationError for one that is no
    such request, DataError for an entity that cannot be used, and RequestError for labels or keys
    that contradict each other.
    """
    request = FeedbackRequest.model_validate(parsed(body))
    if key and request.key and key != request.key:
        raise RequestError("the header Idempotency-Key and the member key differ")
    labeler = model.bundle.labeler
    entities = from_records([request.entity], labeler.schema)
    identifier, entity = _entity(request, entities)
    shown = request.shown or _now_shown(model, entities)
    known = {*labeler.labels.names, *labeler.schema.redirects.targets}
    _check_labels(request, known | {given.label for given in shown.labels})
    said = request.model_dump(exclude={"key", "entity"})
    content = json.dumps([identifier, entity, said], sort_keys=True)
    return Correction(
        key=key or request.key or uuid.uuid4().hex,
        request=sha256(content.encode()).hexdigest(),
        reviewer=request.reviewer,
        entity_id=identifier,
        entity=entity,
        confirmed=sorted(set(request.confirmed)),
        denied=sorted(set(request.denied)),
        added=sorted(set(request.added)),
        model=shown.model.model_dump(),
        said=[given.model_dump() for given in shown.labels],
    ), list(entities.warnings)


def _entity(request: FeedbackRequest, entities: Entities) -> tuple[str, str]:
    """The id of the entity, made of its content where it has none, and its fields as JSON."""
    if entities.rejected:
        raise DataError(f"entity: {entities.rejected[0]}")
    (row,) = entities.table.to_pylist()
    given = [name for name in entities.schema.fields if row.get(name) not in (None, "")]
    fields = {name: request.entity[name] for name in given}
    if not fields:
        raise DataError(f"entity: at least one of {', '.join(entities.schema.fields)} is needed")
    (identifier,) = content_ids(entities).to_pylist() if entities.anonymous else [row["id"]]
    if len(identifier.encode()) > ID_LIMIT or not (identifier and identifier.isprintable()):
        raise DataError(f"entity: an id is printable text of up to {ID_LIMIT} bytes")
    try:
        written = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise DataError("entity: numbers must be finite") from error
    if len(written.encode()) > ENTITY_LIMIT:
        raise DataError(f"entity: more than {ENTITY_LIMIT:,} bytes describe it")
    return identifier, written


def _now_shown(model: Model, entities: Entities) -> Shown:
    """What the model that serves says of the entity."""
    (found,) = results(entities, model.bundle.labeler.label(entities, LabelQuery()))
    labels = [{**given, "probability": float(given["probability"])} for given in found["labels"]]
    return Shown.model_validate({"model": model.identity, "labels": labels})


def _check_labels(request: FeedbackRequest, known: set[str]) -> None:
    """Raise RequestError where labels are unknown, contradict each other, or there are none."""
    named = [{*request.confirmed}, {*request.denied}, {*request.added}]
    if not any(named):
        raise RequestError("a correction confirms, denies or adds at least one label")
    if sum(map(len, named)) > len(set.union(*named)):
        raise RequestError("a label is either confirmed, denied or added")
    if not named[0] | named[1] <= known:
        raise RequestError(
            "what is confirmed or denied must be a label of the model or of what was shown"
        )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(1 << 20):
        yield chunk


def describe_feedback(model: Model) -> dict[str, Any]:
    """What `POST /v1/feedback` takes: a part of its OpenAPI operation."""
    labeler = model.bundle.labeler
    schema = _inlined(FeedbackRequest.model_json_schema())
    schema["properties"]["entity"] = entity_schema(labeler.schema)
    entity = example_entity(labeler.schema)
    some = {"entity": entity, "denied": list(labeler.labels.names[:1]), "reviewer": "anna"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": {"denied": {"value": some}}}
            },
        }
    }


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with its definitions where they are referred to."""

    def inline(part: Any) -> Any:
        if isinstance(part, list):
            return [inline(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inline(schema["$defs"][part["$ref"].rsplit("/", 1)[-1]])
        return {name: inline(value) for name, value in part.items() if name != "$defs"}

    found: dict[str, Any] = inline(dict(schema))
    return found

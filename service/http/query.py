"""Validation of label queries and of the size of requests, for all protocols."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import pydantic
from pydantic import Field
from starlette.datastructures import QueryParams

from labelwright.entities.errors import RequestError, TooLargeError
from labelwright.models.decisions import BALANCED, PRECISIONS, TOP_K_LIMIT, LabelQuery
from labelwright.service.http.request_form import RequestForm

PATTERNS_LIMIT = 100
ROWS_LIMIT = 16_384
"""Maximum number of rows of a request in the protocols whose requests hold tables."""
LISTED_LIMIT = 1_000_000
"""Maximum of rows times `top_k` for one request, which limits the labels in the response."""
CONTAINERS_LIMIT = 1 << 18
"""Maximum number of lists and objects in the JSON of a body."""
VALUES_LIMIT = 1 << 21
"""Maximum number of commas in the JSON of a body."""
ROW_BYTES = 128
"""Estimated size of a row in a request body, in bytes."""
Pattern = Annotated[str, Field(min_length=1, max_length=200)]


class LabelQueryForm(RequestForm):
    """Fields of a request that select which labels are listed and which are asserted."""

    model_config = pydantic.ConfigDict(extra="forbid")

    top_k: int = Field(5, ge=1, le=TOP_K_LIMIT)
    min_probability: float = Field(0.0, ge=0, le=1)
    only: list[Pattern] = Field(default=[], max_length=PATTERNS_LIMIT)
    policy: str = Field(BALANCED, max_length=100)
    min_precision: float = Field(0.0, ge=0, le=PRECISIONS[-1])

    @classmethod
    def from_query_params(cls, params: QueryParams) -> Self:
        """The fields from the query string of a URL; raises pydantic.ValidationError."""
        return cls.model_validate(
            {name: params.getlist(name) if name == "only" else params[name] for name in params}
        )

    @classmethod
    def openapi_parameters(cls) -> dict[str, Any]:
        """The fields as the query parameters of an OpenAPI operation (its member `parameters`)."""
        fields: Mapping[str, Any] = cls.model_json_schema()["properties"]
        return {
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in fields.items()
            ]
        }

    @property
    def query(self) -> LabelQuery:
        """The query for a labeler; raises RequestError if fields contradict each other."""
        return LabelQuery(
            self.top_k, self.policy, self.min_probability, tuple(self.only), self.min_precision
        )


def check_size(rows: int, query: LabelQuery) -> None:
    """Raise RequestError if a request has more rows than ROWS_LIMIT or lists too many labels."""
    if rows > ROWS_LIMIT:
        raise RequestError(
            f"the request has more than {ROWS_LIMIT:,} rows; split it into several requests"
        )
    if rows * query.top_k > LISTED_LIMIT:
        raise RequestError(
            f"the request lists more than {LISTED_LIMIT:,} labels (rows times top_k); lower top_k, "
            "or split it into several requests"
        )


def estimated_rows(body: bytes) -> int:
    """Estimated number of rows in a body that holds a table; at least 1, at most ROWS_LIMIT."""
    return min(len(body) // ROW_BYTES + 1, ROWS_LIMIT)


def check_json(body: bytes) -> None:
    """Raise TooLargeError for JSON that would become too many Python objects.

    Few bytes may encode millions of objects, and while they are created, no other thread can run.
    """
    if body.count(b"[") + body.count(b"{") > CONTAINERS_LIMIT or body.count(b",") > VALUES_LIMIT:
        raise TooLargeError(
            f"the JSON of a body may have up to {CONTAINERS_LIMIT:,} lists and objects, and "
            f"{VALUES_LIMIT:,} commas; split it into several requests"
        )

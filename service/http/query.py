"""What is asked about entities, as callers of any protocol say it."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import pydantic
from pydantic import Field
from starlette.datastructures import QueryParams

from labelwright.entities.errors import RequestError
from labelwright.models.decisions import BALANCED, PRECISIONS, TOP_K_LIMIT, LabelQuery

PATTERNS_LIMIT = 100
ROWS_LIMIT = 16_384
"""Rows of one table in protocols that send tables."""
LISTED_LIMIT = 1_000_000
"""Labels that one answer lists: rows times `top_k`."""
ROW_BYTES = 128
"""What a row takes in a body, about."""
Pattern = Annotated[str, Field(min_length=1, max_length=200)]


class LabelQueryForm(pydantic.BaseModel):
    """Which labels are listed and which of them are asserted."""

    model_config = pydantic.ConfigDict(extra="forbid")

    top_k: int = Field(5, ge=1, le=TOP_K_LIMIT)
    min_probability: float = Field(0.0, ge=0, le=1)
    only: list[Pattern] = Field(default=[], max_length=PATTERNS_LIMIT)
    policy: str = Field(BALANCED, max_length=100)
    min_precision: float = Field(0.0, ge=0, le=PRECISIONS[-1])

    @classmethod
    def from_query_params(cls, query: QueryParams) -> Self:
        """The form that a query fills in; raises pydantic.ValidationError."""
        return cls.model_validate(
            {name: query.getlist(name) if name == "only" else query[name] for name in query}
        )

    @classmethod
    def openapi_parameters(cls) -> dict[str, Any]:
        """Its members as parameters of a query: a part of an OpenAPI operation."""
        members: Mapping[str, Any] = cls.model_json_schema()["properties"]
        return {
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in members.items()
            ]
        }

    @property
    def query(self) -> LabelQuery:
        """What a labeler is asked; raises RequestError where parts contradict each other."""
        return LabelQuery(
            self.top_k, self.policy, self.min_probability, tuple(self.only), self.min_precision
        )


def check_size(rows: int, query: LabelQuery) -> None:
    """Raise RequestError for more rows or labels than one answer holds."""
    if rows > ROWS_LIMIT:
        raise RequestError(f"a request may have {ROWS_LIMIT:,} rows")
    if rows * query.top_k > LISTED_LIMIT:
        raise RequestError(f"rows times top_k may be {LISTED_LIMIT:,}")


def estimated_rows(body: bytes) -> int:
    """About how many rows a table has that takes so many bytes."""
    return min(len(body) // ROW_BYTES + 1, ROWS_LIMIT)

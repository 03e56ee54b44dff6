"""Base class of the JSON objects in requests."""

from typing import Any

import pydantic


class RequestForm(pydantic.BaseModel):
    """A JSON object of a request. A member that is null has its default.

    Many clients write null for a member that is not set.
    """

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, members: Any) -> Any:
        if isinstance(members, dict) and None in members.values():
            return {name: value for name, value in members.items() if value is not None}
        return members

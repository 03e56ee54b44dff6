"""What a service is told when it starts; workers are given the same."""

import dataclasses

import pydantic

from labelwright.service.middleware.access import Access
from labelwright.service.telemetry.logs import LogFormat


@dataclasses.dataclass(frozen=True)
class Settings:
    """Who may come in, and how the log looks."""

    access: Access = dataclasses.field(default_factory=Access)
    logs: LogFormat = LogFormat.JSON

    def to_json(self) -> str:
        """For the environment of a worker."""
        return _JSON.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """What `to_json` has written."""
        return _JSON.validate_json(text)


_JSON = pydantic.TypeAdapter(Settings)

"""Settings of a service. All of its worker processes have the same settings."""

import dataclasses

import pydantic

from labelwright.service.middleware.access import Access
from labelwright.service.telemetry.logs import LogFormat


@dataclasses.dataclass(frozen=True)
class Settings:
    """Access rules and log format."""

    access: Access = dataclasses.field(default_factory=Access)
    logs: LogFormat = LogFormat.JSON

    def to_json(self) -> str:
        """The settings as JSON, which a worker process gets in an environment variable."""
        return _JSON.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings from the output of `to_json`."""
        return _JSON.validate_json(text)


_JSON = pydantic.TypeAdapter(Settings)

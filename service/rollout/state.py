"""Files with the state of a service: the models for its workers, and the last good models.

The follower writes the state file, and the workers read it. A worker saves the champion that it has
in service as the last good model. A service that starts while the registry is down uses the last
good model. All files are JSON and are replaced atomically.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelwright.entities.errors import StorageError, reason
from labelwright.entities.io.files import write_json
from labelwright.models.paths import home, tracking_uri
from labelwright.models.registry import Resolved, Source

STATE = "state.json"
CHAMPION, CHALLENGER = "champion", "challenger"
"""The roles of models in a service; the alias of a champion may have another name."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A model that was not put in service: the step that failed, the reason, and the time."""

    version: str | None
    step: str
    detail: str
    at: str


@dataclasses.dataclass(frozen=True)
class Routing:
    """The use of a challenger: it responds to a share of the requests, or to none (`shadow`)."""

    share: float = 0.0
    shadow: bool = False

    @property
    def has_challenger(self) -> bool:
        """Whether a challenger is used."""
        return self.shadow or self.share > 0


@dataclasses.dataclass(frozen=True)
class State:
    """The models that should be in service, and the last contact with the registry.

    `registry` is the error of the last request to the registry, None if it succeeded. `checked` is
    the time of that request, None if no alias is followed.
    """

    models: Mapping[str, Resolved]
    refusals: Mapping[str, Refusal] = dataclasses.field(default_factory=dict)
    routing: Routing = Routing()
    registry: str | None = None
    checked: str | None = None

    def write(self, folder: Path) -> None:
        """Replace the state file in a folder; raises StorageError."""
        try:
            write_json(folder / STATE, dataclasses.asdict(self))
        except OSError as error:
            raise StorageError(f"{folder} cannot be written: {reason(error)}") from error

    @classmethod
    def read(cls, folder: Path) -> "State":
        """Read the state file in a folder; raises OSError if there is none."""
        content = json.loads((folder / STATE).read_bytes())
        return cls(
            {role: _resolved(members) for role, members in content["models"].items()},
            {role: Refusal(**members) for role, members in content["refusals"].items()},
            Routing(**content["routing"]),
            content["registry"],
            content["checked"],
        )


def now() -> str:
    """The current time in UTC as ISO 8601 text, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def save_last_good(resolved: Resolved) -> None:
    """Save the model in service as the last good model of its URI; disk errors are ignored."""
    with contextlib.suppress(OSError):
        path = _last_good_file(resolved.source.uri)
        if last_good(resolved.source.uri) != resolved:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, dataclasses.asdict(resolved))


def last_good(uri: str) -> Resolved | None:
    """The model that was last in service under a URI, None if its bundle was removed."""
    return _read_last_good(_last_good_file(uri))


def last_good_uris() -> list[str]:
    """The URIs under which models of this registry have been in service."""
    models = (_read_last_good(path) for path in sorted(_last_good_folder().glob("*.json")))
    return [resolved.source.uri for resolved in models if resolved]


def _read_last_good(path: Path) -> Resolved | None:
    try:
        resolved = _resolved(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return resolved if resolved.folder.is_dir() else None


def _last_good_folder() -> Path:
    registry = hashlib.sha256(tracking_uri().encode()).hexdigest()[:16]
    return home() / "serving" / registry


def _last_good_file(uri: str) -> Path:
    return _last_good_folder() / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.json"


def _resolved(members: Mapping[str, Any]) -> Resolved:
    return Resolved(Source(**members["source"]), Path(members["folder"]))

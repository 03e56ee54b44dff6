"""What a service knows of its models and writes to disk: for its workers, and for a later start.

The follower tells the workers by a file which models are to serve; a worker that serves a model
notes it as the last good one, from which a service starts while the registry is down. All files are
JSON and are replaced whole.
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
"""The roles a model can have in a service, whatever the alias is called that names it."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A model that was not taken into service: the step that it failed, why, and when."""

    version: str | None
    step: str
    detail: str
    at: str


@dataclasses.dataclass(frozen=True)
class Routing:
    """What a challenger is for: the share of requests that it answers, or all in its shadow."""

    share: float = 0.0
    shadow: bool = False

    @property
    def challenged(self) -> bool:
        """Whether there is a challenger at all."""
        return self.shadow or self.share > 0


@dataclasses.dataclass(frozen=True)
class State:
    """What the follower has found out.

    `registry` is why the registry did not answer when it was last asked, None if it did; `checked`
    is when that was, None where there is nothing to follow.
    """

    models: Mapping[str, Resolved]
    refusals: Mapping[str, Refusal] = dataclasses.field(default_factory=dict)
    routing: Routing = Routing()
    registry: str | None = None
    checked: str | None = None

    def write(self, folder: Path) -> None:
        """Replace the state in a folder; raises StorageError."""
        try:
            write_json(folder / STATE, dataclasses.asdict(self))
        except OSError as error:
            raise StorageError(f"{folder} cannot be written: {reason(error)}") from error

    @classmethod
    def read(cls, folder: Path) -> "State":
        """The state in a folder; raises OSError where there is none."""
        content = json.loads((folder / STATE).read_bytes())
        return cls(
            {role: _resolved(given) for role, given in content["models"].items()},
            {role: Refusal(**given) for role, given in content["refusals"].items()},
            Routing(**content["routing"]),
            content["registry"],
            content["checked"],
        )


def now() -> str:
    """The time as it is told: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def remember(resolved: Resolved) -> None:
    """Note that a model serves; where that cannot be written, the next start has to do without."""
    with contextlib.suppress(OSError):
        path = _last_good(resolved.source.uri)
        if recall(resolved.source.uri) != resolved:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, dataclasses.asdict(resolved))


def recall(uri: str) -> Resolved | None:
    """The model that last served under a URI, if its bundle is still there."""
    return _recalled(_last_good(uri))


def recalled_uris() -> list[str]:
    """The URIs under which models of this registry have served."""
    found = (_recalled(path) for path in sorted(_memory().glob("*.json")))
    return [resolved.source.uri for resolved in found if resolved]


def _recalled(path: Path) -> Resolved | None:
    try:
        resolved = _resolved(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return resolved if resolved.folder.is_dir() else None


def _memory() -> Path:
    registry = hashlib.sha256(tracking_uri().encode()).hexdigest()[:16]
    return home() / "serving" / registry


def _last_good(uri: str) -> Path:
    return _memory() / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.json"


def _resolved(given: Mapping[str, Any]) -> Resolved:
    return Resolved(Source(**given["source"]), Path(given["folder"]))

"""Follower of the registry: fetches the models that aliases name, and writes the state file.

The follower is the only thread of a service that sends requests to MLflow. When an alias moves, it
fetches the bundle and writes the state file, which the workers read. Each worker loads the model
and puts it in service if the model passes its checks.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from pathlib import Path

from labelwright.entities.errors import LabelwrightError, ModelNotFoundError
from labelwright.models.registry import Resolved, Source, fetch, forget, is_alias, locate
from labelwright.service.rollout.state import (
    CHALLENGER,
    CHAMPION,
    Refusal,
    Routing,
    State,
    last_good,
    now,
)

RETRY_SECONDS = 60.0
"""Seconds until a model that could not be fetched is fetched again."""
SPARE_BUNDLES = 2
"""Number of unused bundles that stay in the cache folder for a rollback; others are removed."""

_log = logging.getLogger("labelwright.following")


@dataclasses.dataclass
class _Role:
    """The URI of a role, the model that it names, and the last refusal."""

    uri: str
    source: Source | None = None
    resolved: Resolved | None = None
    refusal: Refusal | None = None
    retry_at: float = 0.0


@dataclasses.dataclass(frozen=True)
class FollowerSettings:
    """The URI of the champion, the routing to a challenger, and the seconds between two polls."""

    uri: str
    routing: Routing = dataclasses.field(default_factory=Routing)
    seconds: float = 5.0


class Follower:
    """Keeps the state file in `folder` up to date with the registry.

    The alias of a challenger is followed if the routing uses a challenger. A URI that is not an
    alias is resolved once.
    """

    def __init__(self, settings: FollowerSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self._roles = {CHAMPION: _Role(settings.uri)}
        if settings.routing.has_challenger:
            name = settings.uri.partition("@")[0]
            self._roles[CHALLENGER] = _Role(f"{name}@{CHALLENGER}")
        self._fetched: dict[Path, Resolved] = {}  # by folder; two roles may use the same folder
        self._registry_error: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def begin(self) -> State:
        """Fetch the models for the first time, and write the state file.

        If the registry is down or the champion cannot be fetched, the last good model is used;
        raises LabelwrightError if there is none.
        """
        champion = self._roles[CHAMPION]
        try:
            self._fetch(champion, locate(champion.uri))
        except LabelwrightError as error:
            wrong_name = isinstance(error, ModelNotFoundError) and champion.source is None
            champion.resolved = None if wrong_name else last_good(champion.uri)
            if champion.resolved is None:
                raise
            _log.warning("%s; starting with the last good bundle on disk", error)
        # MLflow logs a traceback for each failed request, and the registry may be down for hours
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        return self.poll()

    def start(self) -> None:
        """Poll the registry in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current poll, without waiting for it."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self.settings.seconds):
            try:
                self.poll()
            except Exception:  # noqa: BLE001 - the next poll tries again; the state has the time of the last success
                _log.exception("the registry could not be followed")

    def poll(self) -> State:
        """Request the model of each role from the registry, and write the state file."""
        followed = [name for name, role in self._roles.items() if is_alias(role.uri)]
        errors = [self._update(name) for name in followed]
        self._set_registry_error(next(filter(None, errors), None))
        state = State(
            {name: role.resolved for name, role in self._roles.items() if role.resolved},
            {name: role.refusal for name, role in self._roles.items() if role.refusal},
            self.settings.routing,
            self._registry_error,
            now() if followed else None,
        )
        state.write(self.folder)
        return state

    def _update(self, name: str) -> str | None:
        """Request the model of one role from the registry; returns the error or None."""
        role = self._roles[name]
        try:
            source = locate(role.uri)
        except ModelNotFoundError as error:
            if name != CHALLENGER:
                return str(error)
            role.source = role.resolved = role.refusal = None  # a challenger is optional
            return None
        except LabelwrightError as error:
            return str(error)
        if source != role.source or (role.refusal and time.monotonic() > role.retry_at):
            with contextlib.suppress(LabelwrightError):  # `_fetch` keeps the error as a refusal
                self._fetch(role, source)
        return None

    def _set_registry_error(self, error: str | None) -> None:
        """Set the error of the registry (None: no error), and log a change."""
        if error != self._registry_error:
            message = "the registry can be reached again"
            _log.warning("%s", f"{error}; the model in service stays" if error else message)
        self._registry_error = error

    def _fetch(self, role: _Role, source: Source) -> None:
        """Fetch a bundle and check its hashes; an error is raised and kept as a refusal."""
        role.source, role.retry_at = source, time.monotonic() + RETRY_SECONDS
        try:
            resolved = fetch(source, copy_local=True)
        except LabelwrightError as error:
            role.refusal = Refusal(source.version, "fetch", str(error), now())
            _log.warning("version %s is refused: %s", source.version, error)
            raise
        role.resolved, role.refusal = resolved, None
        self._fetched.pop(resolved.folder, None)
        self._fetched[resolved.folder] = resolved
        self._remove_unused()

    def _remove_unused(self) -> None:
        """Remove all unused bundles except the latest SPARE_BUNDLES.

        A bundle is in use if it is the current model or the last good model of a role.
        """
        used = {
            resolved.folder
            for role in self._roles.values()
            for resolved in (role.resolved, last_good(role.uri))
            if resolved
        }
        unused = [folder for folder in self._fetched if folder not in used]
        for folder in unused[:-SPARE_BUNDLES]:
            forget(self._fetched.pop(folder))

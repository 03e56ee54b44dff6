"""Who may ask what: names of the service, keys, roles and rates, decided before a body is read."""

import dataclasses
import ipaddress
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from labelwright.entities.errors import (
    AccessError,
    HostError,
    KeyUnknownError,
    OriginError,
    RoleError,
)
from labelwright.models.paths import home
from labelwright.service.http.errors import error_response
from labelwright.service.middleware.keys import Keyring, KeyVerifier, Role
from labelwright.service.middleware.rate_limit import RateLimiter
from labelwright.service.routes.ui import FILES
from labelwright.service.telemetry.request_record import current_record

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
OPEN = frozenset(("/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready"))
"""Paths that answer everybody, at any rate and by any name: who watches a service has no key."""
UNLIMITED = frozenset(("/metrics",))
CORRECTING = ("POST", "/v1/feedback")
"""What the role `feedback` may do that `label` may not."""
KEPT = ("/v1/feedback",)
"""Paths at and below which all else needs the role `admin`: corrections are read and deleted."""
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_READ = frozenset((b"host", b"authorization", b"x-api-key", b"origin", b"sec-fetch-site"))


@dataclasses.dataclass(frozen=True)
class Access:
    """Whether keys are asked for, the names the service goes by (none: any), and its processes."""

    keys: bool = False
    names: tuple[str, ...] = ()
    workers: int = 1


def access_for(address: str, keys: bool | None, names: tuple[str, ...], workers: int) -> Access:
    """What holds for a service on an address unless told otherwise.

    A loopback address needs no keys, but without them goes by local names only: else a page in a
    browser on this machine could give its own name that address, and ask.
    """
    loopback = _is_loopback(address)
    asked_for = not loopback if keys is None else keys
    if loopback and not asked_for and not names:
        names = (*LOCAL_NAMES, f"[{address}]" if ":" in address else address)
    return Access(asked_for, names, workers)


def keyring() -> Keyring:
    """The keys in the state folder."""
    return Keyring(home() / "keys.json")


class AccessMiddleware:
    """ASGI middleware that lets only those in who may come; without a doorkeeper, without keys."""

    def __init__(self, app: ASGIApp, access: Access, key_verifier: KeyVerifier | None) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in access.names)
        self._doorkeeper = key_verifier
        self._rates = RateLimiter(access.workers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or say why not."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                self._admit(scope)
            except AccessError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Raise AccessError if the request may not come in."""
        headers = {
            name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ
        }
        host = headers.get(b"host", "").lower()
        if self._names and not _goes_by(host, self._names):
            raise HostError("the service does not go by that name; --allowed-host can add it")
        if scope["method"] not in _SAFE and _is_foreign(headers, host):
            raise OriginError("pages of other sites may not ask")
        if self._doorkeeper is None or scope["path"] in FILES:
            return
        key = self._doorkeeper.find(_shown(headers))
        if key is None:
            raise KeyUnknownError("show a key: Authorization: Bearer KEY, or X-API-Key: KEY")
        current_record().key = key.id
        needed = required_role(scope["method"], scope["path"])
        if not key.role.includes(needed):
            raise RoleError(f"this needs a key of the role {needed}")
        if scope["path"] not in UNLIMITED:
            self._rates.take(key)


def required_role(method: str, path: str) -> Role:
    """The least role that may ask for a path that is not open to all."""
    if (method, path) == CORRECTING:
        return Role.FEEDBACK
    if any(path == kept or path.startswith(f"{kept}/") for kept in KEPT):
        return Role.ADMIN
    return Role.LABEL


def _shown(headers: Mapping[bytes, str]) -> str:
    """The key that a request shows; empty if it shows none."""
    scheme, _, credentials = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get(b"x-api-key", "")


def _goes_by(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header is one of the names, with any port; `*.` stands for what is below."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    return name in names or any(name.endswith(n[1:]) for n in names if n.startswith("*."))


def _is_foreign(headers: Mapping[bytes, str], host: str) -> bool:
    """Whether a browser says that a page of another site asks (as Go's CrossOriginProtection)."""
    if site := headers.get(b"sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get(b"origin")
    return origin is not None and origin.lower().rpartition("//")[2] != host


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"

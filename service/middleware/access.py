"""Access control: hosts, origins, API keys, roles and rates, checked before the body is read."""

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Mapping

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
from labelwright.service.middleware.rate_limit import NO_LIMIT, Rate, RateLimiter
from labelwright.service.routes.ui import FILES
from labelwright.service.telemetry.request_record import Client, current_record, network_of

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
OPEN_PATHS = frozenset(
    ("/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
)
"""Paths whose requests are not checked, because monitoring has no key."""
UNLIMITED_PATHS = frozenset(("/metrics",))
"""Paths whose requests need a key but do not count towards the rate limit of the key."""
FEEDBACK_OPERATION = ("POST", "/v1/feedback")
"""The method and path that the role `feedback` may use and the role `label` may not."""
ADMIN_PATHS = ("/v1/feedback",)
"""All other operations on these paths and on the paths below them need the role `admin`, because
they read or delete corrections."""
Headers = Iterable[tuple[bytes, bytes]]
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_HEADERS = frozenset((b"host", b"authorization", b"x-api-key", b"origin", b"sec-fetch-site"))


@dataclasses.dataclass(frozen=True)
class Access:
    """The access rules of a service.

    Attributes:
        keys: whether requests need an API key.
        admin: whether requests without an API key may read and delete corrections.
        hosts: allowed values of the Host header; if there are none, any host is allowed.
        workers: number of worker processes, among which all rates are divided.
        address_rate: the rate of each client address.
    """

    keys: bool = False
    admin: bool = False
    hosts: tuple[str, ...] = ()
    workers: int = 1
    address_rate: Rate = NO_LIMIT


def access_for(
    address: str,
    keys: bool | None,
    hosts: tuple[str, ...],
    workers: int,
    address_rate: Rate = NO_LIMIT,
) -> Access:
    """The access rules of a service that listens on an address.

    If `keys` is None, keys are needed unless the address is a loopback address. Without keys,
    corrections can be read and deleted only on a loopback address. By default, a service without
    keys on a loopback address allows only local hosts. With any host allowed, a web
    page in a browser on this machine could use the service, because the owner of the page can point
    the page's host name to the loopback address (DNS rebinding).
    """
    loopback = _is_loopback(address)
    need_keys = not loopback if keys is None else keys
    if loopback and not need_keys and not hosts:
        hosts = (*LOCAL_HOSTS, f"[{address}]" if ":" in address else address)
    return Access(need_keys, loopback and not need_keys, hosts, workers, address_rate)


def keyring() -> Keyring:
    """The API keys in the state folder."""
    return Keyring(home() / "keys.json")


def client_finder(key_verifier: KeyVerifier | None) -> Callable[[str, Headers], Client | None]:
    """A function that identifies the client of a request by its address and headers.

    The function returns None if a key is needed and the request has no valid key.
    """

    def identify(address: str, headers: Headers) -> Client | None:
        network = network_of(address)
        if key_verifier is None:
            return Client(network)
        key = key_verifier.verify(_sent_key(_relevant(headers)))
        return Client(network, key.id) if key else None

    return identify


class AccessMiddleware:
    """ASGI middleware that refuses requests that the access rules do not allow.

    Without a key verifier, no keys are needed.
    """

    def __init__(self, app: ASGIApp, access: Access, key_verifier: KeyVerifier | None) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in access.hosts)
        self._admin = access.admin
        self._key_verifier = key_verifier
        self._address_rate = access.address_rate
        self._rate_limiter = RateLimiter(access.workers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an allowed request on, or send the error response of a refused one."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                self._check(scope)
            except AccessError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise AccessError if a request is not allowed."""
        headers = _relevant(scope["headers"])
        record, limited = current_record(), scope["path"] not in UNLIMITED_PATHS
        if limited:
            self._rate_limiter.acquire("address", record.client.address, self._address_rate)
        host = headers.get(b"host", "").lower()
        if self._hosts and not _is_allowed(host, self._hosts):
            raise HostError(
                "the Host header is not an allowed name of this service; start it with "
                "--allowed-host NAME to allow a name"
            )
        if scope["method"] not in _SAFE_METHODS and _is_cross_origin(headers, host):
            raise OriginError(
                "a page of another site sent this request (header Origin or Sec-Fetch-Site); send "
                "it from a page of this service or from a program"
            )
        needed = required_role(scope["method"], scope["path"])
        if self._key_verifier is None and needed is Role.ADMIN and not self._admin:
            raise RoleError(
                "over a network, corrections can be read and deleted only with an API key; start "
                "the service with --keys, or use `labelwright corrections` on its machine"
            )
        if self._key_verifier is None or scope["path"] in FILES:
            return
        key = self._key_verifier.verify(_sent_key(headers))
        if key is None:
            raise KeyUnknownError(
                "the request has no valid API key; send one as 'Authorization: Bearer KEY' or "
                "'X-API-Key: KEY' (`labelwright keys create NAME` creates one)"
            )
        record.client = record.client._replace(key=key.id)
        if not key.role.includes(needed):
            raise RoleError(
                f"the API key has the role {key.role}, and this request needs the role {needed}; "
                f"use another key (`labelwright keys create NAME --role {needed}` creates one)"
            )
        if limited:
            self._rate_limiter.acquire("API key", key.id, Rate(key.rate, key.burst))


def required_role(method: str, path: str) -> Role:
    """The lowest role that may send a request with this method and path."""
    if (method, path) == FEEDBACK_OPERATION:
        return Role.FEEDBACK
    if any(path == admin or path.startswith(f"{admin}/") for admin in ADMIN_PATHS):
        return Role.ADMIN
    return Role.LABEL


def _relevant(headers: Headers) -> Mapping[bytes, str]:
    """The headers that access control needs."""
    return {name: value.decode("latin-1") for name, value in headers if name in _HEADERS}


def _sent_key(headers: Mapping[bytes, str]) -> str:
    """The API key in the headers of a request, or an empty string."""
    scheme, _, credentials = headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get(b"x-api-key", "")


def _is_allowed(host: str, allowed: frozenset[str]) -> bool:
    """Whether the name in a Host header is allowed, with any port.

    An allowed name that starts with `*.` matches all subdomains.
    """
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    return name in allowed or any(name.endswith(a[1:]) for a in allowed if a.startswith("*."))


def _is_cross_origin(headers: Mapping[bytes, str], host: str) -> bool:
    """Whether a browser sent the request for a page of another origin.

    The rules are those of CrossOriginProtection in Go's standard library.
    """
    if site := headers.get(b"sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get(b"origin")
    return origin is not None and origin.lower().rpartition("//")[2] != host


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"

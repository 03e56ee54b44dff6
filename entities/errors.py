"""Errors that a user can act on, in one hierarchy.

LabelwrightError
├── DataError                input cannot be used: a missing column, a wrong type, a bad file
│   └── SchemaError              an entity schema is not valid, or is not known
├── AccessError              the caller may not do this, or not so often
│   ├── HostError                the Host header names another host than the service
│   ├── OriginError              the request comes from a page of another site
│   ├── KeyUnknownError          the request has no key, or one that is not in use
│   ├── RoleError                the role of the key does not allow this
│   └── RateError                the key or the address has used up its rate for the moment
├── RequestError             the request contradicts itself, or the model cannot answer it
│   ├── ConflictError            the idempotency key was used before, for another request
│   ├── MalformedError           the content does not have the declared format (JSON, gzip)
│   ├── TransferCodingError      the transfer coding of the request is not supported
│   ├── TooLargeError            the request exceeds a limit on its size
│   │   └── HeadTooLargeError        the head of the request exceeds a limit on its size
│   ├── TooSlowError             the request did not arrive in time
│   └── EncodingError            the encoding of the content is not supported
├── ModelError               a model cannot be used
│   ├── ModelNotFoundError       no model exists at this URI
│   └── BundleError              a bundle is corrupt, truncated, or of a newer or unknown format
│       └── OutdatedBundleError      a bundle has a format that is no longer read
├── RegistryError            the tracking server or the model registry failed
├── EngineError              a cluster cannot be reached, or failed to do its work
├── StorageError             a disk or a store is full or missing, or refuses access
│   └── UnreachableError         a database does not respond in time
│       └── UnconfirmedError         a database did not confirm a change in time
├── OverloadedError          the service has more work than it can do in time
└── ServiceError             a service that was called over HTTP refused, or did not respond

Messages name columns, files and limits. They never repeat a value of the caller's data.
"""

import errno
import os
import re


class LabelwrightError(Exception):
    """Base of all errors that are shown to the user as a message instead of a traceback."""


class DataError(LabelwrightError):
    """Input that cannot be used: a missing column, a wrong type, an unreadable file."""


class SchemaError(DataError):
    """An entity schema that is not valid or not known."""


class AccessError(LabelwrightError):
    """The caller may not do this, or not so often."""


class HostError(AccessError):
    """The Host header of the request names another host than the service."""


class OriginError(AccessError):
    """The request comes from a page of another site."""


class KeyUnknownError(AccessError):
    """The request has no key, or a key that is not in use."""


class RoleError(AccessError):
    """The role of the key does not allow this."""


class RateError(AccessError):
    """An API key or a client address has used up its rate.

    It may send again in `retry_after` seconds. `kind` is "API key" or "address".
    """

    def __init__(self, kind: str, rate: float, retry_after: int) -> None:
        super().__init__(
            f"the {kind} exceeds its rate of {rate:g} requests a second; retry in {retry_after} "
            "seconds"
        )
        self.retry_after = retry_after


class RequestError(LabelwrightError):
    """A request that contradicts itself, or that this model cannot answer."""


class ConflictError(RequestError):
    """An idempotency key that was used before, for another request."""


class MalformedError(RequestError):
    """Content that does not have the format it declares."""


class TransferCodingError(RequestError):
    """A request with a transfer coding that is not supported."""


class TooLargeError(RequestError):
    """A request that exceeds a limit on its size."""


class HeadTooLargeError(TooLargeError):
    """A request whose head exceeds a limit on its size."""


class TooSlowError(RequestError):
    """A request that did not arrive in time."""


class EncodingError(RequestError):
    """Content in an encoding that is not supported; `understood` lists the supported encodings."""

    def __init__(self, message: str, understood: str) -> None:
        super().__init__(message)
        self.understood = understood


class ModelError(LabelwrightError):
    """A model that cannot be used."""


class ModelNotFoundError(ModelError):
    """No model exists at this URI."""


class BundleError(ModelError):
    """A bundle that is corrupt or truncated, or that has a newer or unknown format."""


class OutdatedBundleError(BundleError):
    """A bundle of a format that is no longer read."""


class RegistryError(LabelwrightError):
    """The tracking server or the model registry failed."""


class EngineError(LabelwrightError):
    """A cluster that cannot be reached, or that failed to do its work."""


class StorageError(LabelwrightError):
    """A disk or a store that is full or missing, or that refuses access."""


class UnreachableError(StorageError):
    """A database that does not respond in time."""


class UnconfirmedError(UnreachableError):
    """A change that a database did not confirm in time."""


class OverloadedError(LabelwrightError):
    """The service has more work than it can do in time; retry in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"the service has more work than it can do in time; retry in {retry_after} seconds"
        )
        self.retry_after = retry_after


class ServiceError(LabelwrightError):
    """A service that was called over HTTP refused the request, or did not respond."""


def reason(error: BaseException) -> str:
    """The reason why a file system or a store failed, as a message for the user."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no space is left"
    if number:
        return os.strerror(number)
    if isinstance(error, OSError) and re.search(r"requested and \d+ written", str(error)):
        return "no space is left"  # NumPy's error for an incomplete write has no errno
    if isinstance(error.__context__, OSError) and error.__context__.errno:
        return reason(error.__context__)  # cleaning up after the first error raised another one
    return first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, cut to 200 characters."""
    return str(error).split("\n", 1)[0][:200]


def without_credentials(text: str) -> str:
    """Remove user names and passwords from the URLs in a text."""
    return re.sub(r"//[^/\s@]*@", "//", text)

"""Everything that can go wrong for a reason a user can act on.

LabelwrightError
├── DataError            what was given to be labelled or learned from cannot be used
│   └── SchemaError      an entity schema is not valid, or is not known
├── AccessError          who asks may not do that, or not so often
│   ├── HostError            the service does not go by the name it was called by
│   ├── OriginError          a page of another site asks in the name of its visitor
│   ├── KeyUnknownError      no key was shown that is in use
│   ├── RoleError            the key is of a role that may not do that
│   └── RateError            the key has used up its share for the moment
├── RequestError         a question the model cannot answer as asked (a policy it does not have)
│   ├── ConflictError        what was asked contradicts what was asked before under the same key
│   ├── MalformedError       what was sent is not what it says it is (JSON, gzip)
│   ├── TooLargeError        more was sent than an answer can need
│   │   └── HeadTooLargeError    the head of a request is longer than any has to be
│   ├── TooSlowError         it did not arrive in time
│   └── EncodingError        it is encoded in a way that is not understood
├── ModelError           a model cannot be used
│   ├── ModelNotFoundError   nothing is there under that name
│   └── BundleError      a bundle is corrupt, truncated, foreign, or of a newer format
│       └── OutdatedBundleError  a bundle of a format that is read no more
├── RegistryError        the tracking server or registry does not answer as it should
├── EngineError          a cluster does not do the work it was given
├── StorageError         a disk or a store refused to take or give what was asked of it
│   └── UnreachableError     a database does not answer, or not in time
├── OverloadedError      there is more work than can be done in time
└── ServiceError         a service that was asked over HTTP refused, or did not answer

Messages name columns, files and limits. They never repeat a value of the caller's data.
"""

import errno
import os
import re


class LabelwrightError(Exception):
    """Base of all errors that are explained to the user instead of shown as a traceback."""


class DataError(LabelwrightError):
    """Input that cannot be used: a missing column, a wrong type, an unreadable file."""


class SchemaError(DataError):
    """An entity schema that is not valid or not known."""


class AccessError(LabelwrightError):
    """Who asks may not do that, or not so often."""


class HostError(AccessError):
    """The service does not go by the name it was called by."""


class OriginError(AccessError):
    """A page of another site asks in the name of its visitor."""


class KeyUnknownError(AccessError):
    """No key was shown, or none that is in use."""


class RoleError(AccessError):
    """A key of a role that may not do that."""


class RateError(AccessError):
    """A key that has used up its share; in `retry_after` seconds it has some again."""

    def __init__(self, rate: float, retry_after: int) -> None:
        super().__init__(
            f"the API key exceeds its rate of {rate:g} requests a second; retry in {retry_after} "
            "seconds"
        )
        self.retry_after = retry_after


class RequestError(LabelwrightError):
    """A question that this model cannot answer as asked."""


class ConflictError(RequestError):
    """A key that was used before, for something else."""


class MalformedError(RequestError):
    """What was sent is not what it says it is."""


class TooLargeError(RequestError):
    """More was sent than an answer can need."""


class HeadTooLargeError(TooLargeError):
    """A head of a request that is longer than any has to be."""


class TooSlowError(RequestError):
    """What was sent did not arrive in time."""


class EncodingError(RequestError):
    """What was sent is encoded in a way that is not understood; `understood` are those that are."""

    def __init__(self, message: str, understood: str) -> None:
        super().__init__(message)
        self.understood = understood


class ModelError(LabelwrightError):
    """A model that cannot be used."""


class ModelNotFoundError(ModelError):
    """No model under that URI."""


class BundleError(ModelError):
    """A bundle that is corrupt, truncated, foreign or of a newer format."""


class OutdatedBundleError(BundleError):
    """A bundle of a format that is read no more."""


class RegistryError(LabelwrightError):
    """The tracking server or the model registry does not answer as it should."""


class EngineError(LabelwrightError):
    """A cluster that cannot be reached, or does not do the work it was given."""


class StorageError(LabelwrightError):
    """A file system or store that is full, missing or not permitted."""


class UnreachableError(StorageError):
    """A database that does not answer, or not in time."""


class OverloadedError(LabelwrightError):
    """More work than can be done in time; in `retry_after` seconds there may be room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"the service has more work than it can do in time; retry in {retry_after} seconds"
        )
        self.retry_after = retry_after


class ServiceError(LabelwrightError):
    """A service that refused, or did not answer."""


def reason(error: BaseException) -> str:
    """Why a file system or a store refused, in words a user can act on."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no space is left"
    if number:
        return os.strerror(number)
    if isinstance(error, OSError) and re.search(r"requested and \d+ written", str(error)):
        return "no space is left"  # NumPy reports a write that was cut short without a number
    if isinstance(error.__context__, OSError) and error.__context__.errno:
        return reason(error.__context__)  # what is said without a number came of clearing up
    return str(error).split("\n", 1)[0][:200]


def without_credentials(text: str) -> str:
    """A text whose URLs are shown without the user name and password they may hold."""
    return re.sub(r"//[^/\s@]*@", "//", text)

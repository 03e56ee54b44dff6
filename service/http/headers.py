"""Response headers: headers of all responses, and headers with the identity of the model."""

from urllib.parse import quote

from labelwright.models.registry import Model

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Headers of every response, unless its route sets another value for the same name."""


def model_headers(model: Model) -> dict[str, str]:
    """The headers `X-Model-Name`, `X-Model-Version` and `X-Model-Content`.

    They are for responses whose body does not name the model.
    """
    return {f"X-Model-{part}": quote(value or "") for part, value in model.identity.items()}

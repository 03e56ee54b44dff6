"""Response headers: security headers of every response, and the identity of the model."""

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
"""Headers of every response, unless the route sets one of the same name."""


def model_headers(model: Model) -> dict[str, str]:
    """`X-Model-Name`, `-Version` and `-Content`, for responses that have no field for them."""
    return {f"X-Model-{part}": quote(value or "") for part, value in model.identity.items()}

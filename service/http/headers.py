"""Response headers: security headers of all responses, and headers with the model's identity."""

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
"""Headers of every response; a route may set its own value for a name."""


def model_headers(model: Model) -> dict[str, str]:
    """`X-Model-Name`, `X-Model-Version` and `X-Model-Content`, for bodies without these fields."""
    return {f"X-Model-{part}": quote(value or "") for part, value in model.identity.items()}
